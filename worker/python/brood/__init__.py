"""A worker of a brood supervisor: the other end of its socketpair.

    import brood

    w = brood.Worker()

    @w.command("flush", help="drop the cache")
    def flush(call):
        if call.args == ["all"]:
            return "dropped everything"            # text
        raise brood.Error("bad_args", "what shall I flush?")

    w.run()                                        # until drained, or the supervisor is gone

A command is a function of one :class:`Call`. What it returns is the answer:
None is empty, str is text, bytes are bytes, an :class:`Answer` is as it says,
anything else is sent as JSON. What it raises is the answer too: an
:class:`Error` with its code and details, any other exception with the code
``error`` and a traceback in the log. A generator streams: each value that it
yields is sent at once as a piece of the answer, a :class:`Progress` as progress.

Commands run in a few threads (``Worker(threads=8)``), or as tasks of an event
loop (:mod:`brood.aio`). Pings are answered by a thread of their own, so a busy
command does not look like a dead worker; only an extension module that holds
the interpreter lock can hold them up.

DRAIN and SIGTERM let the open calls finish, then :meth:`Worker.run` returns.
The end of the connection cancels them and ``run`` returns at once. Standard
library only; docs/protocol.md is the specification of the wire.
"""

from .attach import NotSupervised, attach, listeners
from .base import __version__
from .request import Answer, Canceled, Error, Piece, Progress, Request
from .wire import BYTES, JSON, TEXT, Frame, ProtocolError, encode, parse
from .worker import Call, Result, Worker

__all__ = [
    "Worker", "Call", "Request", "Answer", "Progress", "Piece", "Result", "Error", "Canceled", "NotSupervised",
    "ProtocolError", "attach", "listeners", "BYTES", "JSON", "TEXT", "__version__",
]
