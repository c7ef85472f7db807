"""What a pidfd tells of a process that somebody has reaped: how it ended, from Linux 6.15 on."""

from __future__ import annotations

import fcntl
import select
import struct

# From linux/pidfd.h, which Python does not offer. `struct pidfd_info` as first published,
# PIDFD_INFO_SIZE_VER0: mask, cgroupid, eleven numbers from pid to fsgid, exit_code.
_INFO = struct.Struct("=QQ11Ii")
_PIDFD_INFO_EXIT = 1 << 3

# _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info), where _IOC_READ and _IOC_WRITE are 2 and 1. On
# an architecture with others the kernel knows no such call, as an older kernel does not.
_PIDFS_IOCTL_MAGIC = 0xFF
_PIDFD_GET_INFO = (2 | 1) << 30 | _INFO.size << 16 | _PIDFS_IOCTL_MAGIC << 8 | 11

# How long somebody may take who is in the midst of reaping it, the kernel or another thread.
_REAPED_MS = 100


def exit_status(pidfd: int) -> int | None:
    """The status of a process that was reaped, as of waitpid(); None if the kernel does not tell.

    Only a descriptor that was opened before it was reaped has it.
    """
    try:
        status = _ask(pidfd)
        if status is None and _poll(pidfd, select.POLLIN, 0):  # it has ended
            _poll(pidfd, 0, _REAPED_MS)  # POLLHUP: and is reaped
            status = _ask(pidfd)
    except OSError:
        return None
    return status


def _ask(pidfd: int) -> int | None:
    """None until it is reaped. OSError if the kernel has no such call."""
    info = bytearray(_INFO.size)
    _INFO.pack_into(info, 0, _PIDFD_INFO_EXIT, *[0] * 13)
    fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    mask, *_, status = _INFO.unpack(info)
    return int(status) if mask & _PIDFD_INFO_EXIT else None


def _poll(fd: int, events: int, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(milliseconds))
