"""asyncpg: transactions, prepared statements, cursors, COPY, notifications, cancels, a pool."""

import asyncio
import datetime
import io
import ssl

import asyncpg
import pytest


async def transactions(connection):
    await connection.execute("CREATE TABLE thing (id serial PRIMARY KEY, name text UNIQUE)")
    async with connection.transaction():
        await connection.executemany(
            "INSERT INTO thing (name) VALUES ($1)", [(f"name {i}",) for i in range(1000)]
        )
    with pytest.raises(asyncpg.UniqueViolationError):
        async with connection.transaction():
            await connection.execute("INSERT INTO thing (name) VALUES ('rolled back')")
            await connection.execute("INSERT INTO thing (name) VALUES ('name 1')")
    assert await connection.fetchval("SELECT count(*) FROM thing") == 1000
    async with connection.transaction():
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():  # a savepoint
                await connection.execute("DELETE FROM thing")
                raise ZeroDivisionError
        assert await connection.fetchval("SELECT count(*) FROM thing") == 1000
        cursor = connection.cursor("SELECT name FROM thing ORDER BY id", prefetch=17)
        assert [row["name"] async for row in cursor] == [f"name {i}" for i in range(1000)]
    statement = await connection.prepare("SELECT $1::timestamptz, $2::numeric, $3::bytea")
    when = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    assert tuple(await statement.fetchrow(when, 7, b"x" * 500_000)) == (when, 7, b"x" * 500_000)


async def copies(connection):
    await connection.execute("CREATE TABLE copied (a int, b text)")
    rows = [(i, f"{i}" * 20) for i in range(30_000)]
    assert await connection.copy_records_to_table("copied", records=rows) == "COPY 30000"
    out = io.BytesIO()
    await connection.copy_from_table("copied", output=out, format="csv")
    assert out.getvalue().count(b"\n") == 30_000
    out.seek(0)
    assert await connection.copy_to_table("copied", source=out, format="csv") == "COPY 30000"

    async def broken():
        yield b"1,x\n"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.copy_to_table("copied", source=broken(), format="csv")
    assert await connection.fetchval("SELECT count(*) FROM copied") == 60_000


async def cancels(connection):
    """A cancelled query is cancelled in the server, over a connection of its own."""
    task = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(asyncio.TimeoutError):
        await connection.execute("SELECT pg_sleep(60)", timeout=0.05)
    assert await connection.fetchval("SELECT 1") == 1


async def notifications(connection, other):
    found = asyncio.Queue()
    await connection.add_listener("news", lambda *args: found.put_nowait(args[-1]))
    for i in range(20):
        await other.execute(f"NOTIFY news, '{i}'")
    assert [await asyncio.wait_for(found.get(), 10) for _ in range(20)] == [
        str(i) for i in range(20)
    ]
    await connection.reset()


async def pools(address):
    async with asyncpg.create_pool(**address, min_size=2, max_size=5) as pool:

        async def query(number):
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_sleep(0.001)")
                return await connection.fetchval("SELECT $1::int", number)

        assert await asyncio.gather(*(query(n) for n in range(100))) == list(range(100))


async def lost(connection, other):
    """A connection that the server ends."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda *_: lost.set())
    query = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.01)
    assert await other.fetchval("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
        await query
    await asyncio.wait_for(lost.wait(), 10)
    assert connection.is_closed()


async def use(**address):
    connection = await asyncpg.connect(**address)
    other = await asyncpg.connect(**address)
    try:
        await connection.execute("DROP TABLE IF EXISTS thing, copied")
        await transactions(connection)
        await copies(connection)
        await cancels(connection)
        await notifications(connection, other)
        await lost(connection, other)
    finally:
        await connection.close()
        await other.close()
    await pools(address)


async def main(directory, port, certificate=None):
    account = {"user": "moodloop", "database": "postgres", "port": port}
    if certificate is not None:
        await use(host="127.0.0.1", ssl=ssl.create_default_context(cafile=certificate), **account)
    else:
        await use(host=str(directory), ssl=False, **account)
        await use(host="127.0.0.1", ssl=False, **account)
