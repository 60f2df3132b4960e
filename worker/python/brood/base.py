"""What the worker with threads and the one in asyncio have in common: what a program registers and tells."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Any, Callable, ContextManager, Dict, List, NamedTuple, Optional, Tuple, TypeVar

from .attach import attach
from .core import COMMANDS, LANE, Core, Host
from .request import payload_of
from .wire import CHUNK, MAX_FDS, MAX_MESSAGE, NAME, TEXT, ProtocolError, cost

__version__ = "1.0.0"

F = TypeVar("F", bound=Callable[..., Any])
NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
FD_SPACE = socket.CMSG_LEN(4 * MAX_FDS)


class Command(NamedTuple):
    function: Callable[..., Any]
    help: str
    inline: bool


class Base(Host):
    """This process as a worker. Programs use Worker or aio.Worker."""

    _lock: ContextManager[Any] = contextlib.nullcontext()  # guards the core; threads need another

    def __init__(self, sock: Optional[socket.socket] = None, *, max_inflight: int = 64,
                 max_message: int = MAX_MESSAGE, fds: int = 0) -> None:
        if max_inflight < 1 or max_message < MAX_MESSAGE or not 0 <= fds <= MAX_FDS:
            raise ValueError("max_inflight is at least 1, max_message %d, fds 0 to %d" % (MAX_MESSAGE, MAX_FDS))
        self.name = os.environ.get("BROOD_WORKER", "")  # web/2
        self.generation = int(os.environ.get("BROOD_GENERATION") or 0)
        self._sock = attach() if sock is None else sock
        self._limits = {"max_inflight": max_inflight, "max_message": max_message, "fds": fds}
        self._commands: Dict[str, Command] = {}  # fixed once started
        self._core: Optional[Core] = None  # made by start
        # Status, beat and events from before start.
        self._early: Tuple[str, Optional[float]] = ("", None)
        self._early_events: List[Tuple[str, int, bytes]] = []
        self._early_size = 0

    def command(self, name: Optional[str] = None, help: str = "", *, inline: bool = False) -> Callable[[F], F]:
        """Decorate the function that answers a command; its own name is the default.

        inline: it is quick and never waits, so it needs no thread: it runs in the
        one that reads the connection. Pings wait for it.
        """

        def register(function: F) -> F:
            command = name or function.__name__
            if self._core:
                raise RuntimeError("commands are announced when the worker starts; register %r before" % command)
            if not NAME.match(command) or command in self._commands or len(self._commands) == COMMANDS:
                raise ValueError("command %r: a name is 1 to 255 printable ASCII characters without spaces,"
                                 " there once, and at most %d of them" % (command, COMMANDS))
            self._commands[command] = Command(function, help, inline)
            return function

        return register

    def _make_core(self) -> Core:
        core = Core(self, {name: command.help for name, command in self._commands.items()},
                    sdk="brood-python/" + __version__, **self._limits)
        core.status, core.beat = self._early
        for event in self._early_events:
            core.event(*event)
        return core

    def _keep_early(self, name: str, codec: int, payload: bytes) -> bool:
        size = cost(name, payload, 0)
        if self._early_size + size > LANE:
            return False
        self._early_size += size
        self._early_events.append((name, codec, payload))
        return True

    def beat(self) -> None:
        """Say that work goes on; the age of the last beat is told with each answer to a ping."""
        now = time.monotonic()
        if self._core:
            self._core.beat = now
        else:
            self._early = self._early[0], now

    def _set_status(self, text: str) -> bytes:
        text = text[:1024]
        if self._core:
            self._core.status = text
        else:
            self._early = text, self._early[1]
        return text.encode("utf-8", "replace")

    @property
    def _the_core(self) -> Core:
        assert self._core is not None, "start has been called"
        return self._core

    def _do(self, what: Callable[[Core], Any]) -> Any:
        """Have the core do something and give out what comes of it."""
        core = self._the_core
        try:
            with self._lock:
                result = what(core)
        except ProtocolError as e:  # it reads nothing: rule unread
            self._end(e)
            return None
        self._flush()
        return result

    def _event(self, name: str, codec: int, payload: bytes) -> bool:
        if not self._core:
            return self._keep_early(name, codec, payload)
        return bool(self._do(lambda core: core.event(name, codec, payload)))

    def _flush(self) -> Any:
        """Write what waits, as far as it goes."""
        raise NotImplementedError

    def _end(self, failure: Optional[BaseException]) -> None:
        raise NotImplementedError

    def status(self, text: str) -> bool:
        """Set the line that the supervisor shows for this worker."""
        return self._event("status", TEXT, self._set_status(text))

    def event(self, name: str, obj: Any = None) -> bool:
        """Tell the supervisor something: str, bytes, or anything JSON can say. It fits one frame (64 KiB).

        Never waits. Returns False if it was dropped: the supervisor is gone, or
        does not read.
        """
        if not NAME.match(name):
            raise ValueError("event name %r: 1 to 255 printable ASCII characters without spaces" % name)
        codec, payload, _ = payload_of(obj)
        if len(name) + len(payload) > CHUNK:
            raise ValueError("an event of %d bytes, at most %d fit" % (len(name) + len(payload), CHUNK))
        return self._event(name, codec, payload)


def check_reason(reason: str) -> None:
    if not NAME.match(reason):
        raise ValueError("reason %r: count, age, memory, or a name of your own without spaces" % reason)
