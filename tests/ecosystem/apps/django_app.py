"""A Django site in one file: asynchronous views, synchronous ones, and each calling the other."""

import asyncio
import json
import os

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path


async def name():
    return type(asyncio.get_running_loop()).__module__


async def loop(request):
    return HttpResponse(json.dumps({"loop": await name(), "pid": os.getpid()}))


def sync(request):
    return HttpResponse(async_to_sync(name)())


async def nested(request):
    return HttpResponse(await sync_to_async(async_to_sync(name))())


async def stream(request):
    async def chunks():
        for i in range(50):
            yield b"%d\n" % i * 1000
            await asyncio.sleep(0)

    return StreamingHttpResponse(chunks())


urlpatterns = [path(view.__name__, view) for view in (loop, sync, nested, stream)]

settings.configure(SECRET_KEY="not one", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
application = get_asgi_application()
