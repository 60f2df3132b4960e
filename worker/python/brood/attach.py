"""What a worker finds in its environment: the connection, and listening sockets."""

from __future__ import annotations

import os
import re
import socket
import stat
from typing import Dict, MutableMapping

_FIRST_LISTEN_FD = 3  # sd_listen_fds(3)


class NotSupervised(RuntimeError):
    """This process was not started as a worker by a brood supervisor."""


def attach(environ: MutableMapping[str, str] = os.environ) -> socket.socket:
    """Take the socket that BROOD_FD names, and the variable with it.

    The inode proves that the descriptor is the supervisor's, not another file
    under the same number in a process that merely inherited the variable.
    """
    value = environ.pop("BROOD_FD", None)
    if value is None:
        raise NotSupervised("BROOD_FD is not set; start this program with `brood run`")
    match = re.match(r"(\d{1,9}):(\d{1,20})\Z", value, re.ASCII)
    if not match or int(match.group(1)) < 3:
        raise NotSupervised("BROOD_FD=%r is not <fd>:<inode>, fd at least 3" % value)
    fd, inode = int(match.group(1)), int(match.group(2))
    try:
        status = os.fstat(fd)
    except OSError as e:
        raise NotSupervised("BROOD_FD=%s: %s; was it closed on the way here?" % (value, e.strerror)) from e
    if not stat.S_ISSOCK(status.st_mode) or status.st_ino != inode:
        raise NotSupervised("BROOD_FD=%s: descriptor %d is another file; it was meant for a parent" % (value, fd))
    sock = socket.socket(fileno=fd)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        sock.detach()  # not ours to close
        raise NotSupervised("BROOD_FD=%s: not a stream socket of AF_UNIX" % value)
    os.set_inheritable(fd, False)
    os.register_at_fork(after_in_child=sock.close)  # a fork would keep the connection open after us
    return sock


def listeners(environ: MutableMapping[str, str] = os.environ) -> Dict[str, socket.socket]:
    """Take the listening sockets that the configuration names under `listen`, by name.

    They come in the manner of sd_listen_fds(3). The variables are removed, so a
    second call finds nothing. A socket without a name has its number, from 0.
    The node of a Unix socket is the supervisor's: close does not remove it.
    """
    pid, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if not count or pid != str(os.getpid()):
        return {}
    if not re.match(r"\d{1,5}\Z", count, re.ASCII):
        raise ValueError("LISTEN_FDS=%r is no number of sockets" % count)
    called = names.split(":")
    found = {}
    for i in range(int(count)):
        fd = _FIRST_LISTEN_FD + i
        os.set_inheritable(fd, False)
        found[called[i] if i < len(called) and called[i] else str(i)] = socket.socket(fileno=fd)
    return found
