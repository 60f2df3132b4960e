"""What a command is given, and what may come of it."""

from __future__ import annotations

import json as _json_module
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from .wire import BYTES, JSON, NAME, TEXT


class Error(Exception):
    """A command failed, with a code (a name) that programs can read.

    Raised by a command it is the answer; raised by Worker.call it is what the
    supervisor said, or `lost`, `timeout`, `canceled`, `overloaded`. started is
    "yes", "no" or "unknown": whether the command had begun.
    """

    def __init__(self, code: str = "error", message: str = "", details: Any = None, started: str = "yes") -> None:
        if not NAME.match(code):
            raise ValueError("an error code is 1 to 255 printable ASCII characters without spaces, got %r" % code)
        super().__init__(code, message, details)
        self.code, self.message, self.details, self.started = code, message, details, started

    def __str__(self) -> str:
        return "%s: %s" % (self.code, self.message) if self.message else self.code


class Canceled(Error):
    """Raised by a command that stopped because it was canceled or its time was up."""

    def __init__(self, message: str = "stopped at the caller's word") -> None:
        super().__init__("canceled", message)


class Answer(NamedTuple):
    """An answer, or a piece of one, with more to say than its value.

    codec   how to read value, which is bytes then; None: by value's type
    fds     descriptors to hand over: duplicates are sent, these stay yours
    """

    value: Any = None
    codec: Optional[int] = None
    fds: Sequence[int] = ()


class Progress(NamedTuple):
    """Yielded by a command: how far it is. total is 0 if nobody knows."""

    done: int
    total: int = 0
    text: str = ""


class Piece(NamedTuple):
    """A piece of a streamed answer of the supervisor's. Its descriptors are the receiver's to close."""

    name: str
    codec: int
    payload: bytes
    fds: Sequence[int] = ()

    @property
    def text(self) -> str:
        return text_of(self.codec, self.payload)

    def json(self) -> Any:
        return _json_module.loads(self.payload.decode("utf-8"))


class Request:
    """A command to answer, as it came.

    command   its name
    payload   bytes; codec says how to read them: brood.BYTES, JSON or TEXT
    fds       descriptors that came with it. They are closed when the command has
              ended, but for those that it has made its own with take_fds.
    """

    def __init__(self, id: int, command: str, codec: int, payload: bytes, arg: int, fds: List[int]) -> None:
        self.id, self.command, self.codec, self.payload, self.fds = id, command, codec, payload, fds
        self._received = time.monotonic()
        self._deadline = self._received + arg / 1000 if arg else None
        self._credit = 0  # bytes of DATA that the caller still takes; the core's
        self._begun = False  # somebody runs it; the core's
        self._answered = False  # its terminal frame is queued; the core's
        self._stopped = False  # canceled, out of time, or the connection is gone
        self._why = "canceled"  # or "timeout"

    @property
    def text(self) -> str:
        """The payload as str; a JSON string is the string itself."""
        return text_of(self.codec, self.payload)

    def json(self) -> Any:
        """The payload as what its JSON stands for."""
        return _json_module.loads(self.payload.decode("utf-8"))

    @property
    def args(self) -> List[str]:
        """The words after the command's name: the payload is a JSON list of strings, or empty."""
        words: Any = []
        if self.payload:
            words = self.json() if self.codec == JSON else None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Error("error", "%s takes a JSON list of strings" % self.command)
        return words

    def take_fds(self) -> List[int]:
        """The descriptors that came; from now on they are yours to close."""
        fds, self.fds = self.fds, []
        return fds

    def time_left(self) -> Optional[float]:
        """Seconds until the caller's time is up, never below 0; None: there is no limit."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Raise Canceled if the call is canceled."""
        if self._stopped:
            raise Canceled()


def text_of(codec: int, payload: bytes) -> str:
    if codec == JSON and payload.lstrip().startswith(b'"'):
        value = _json_module.loads(payload.decode("utf-8"))
        return str(value)
    return payload.decode("utf-8")


def dump(value: Any, errors: str = "strict") -> bytes:
    """value as JSON."""
    text = _json_module.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", errors)


def payload_of(value: Any) -> Tuple[int, bytes, Sequence[int]]:
    """What a program returned as a codec, bytes and descriptors."""
    fds: Sequence[int] = ()
    if isinstance(value, Answer):
        fds = value.fds
        if value.codec is not None:
            if not BYTES <= value.codec <= TEXT:
                raise ValueError("codec %r is none of BYTES, JSON and TEXT" % (value.codec,))
            return value.codec, bytes(value.value or b""), fds
        value = value.value
    if value is None:
        return BYTES, b"", fds
    if isinstance(value, str):
        return TEXT, value.encode("utf-8"), fds
    if isinstance(value, (bytes, bytearray, memoryview)):
        return BYTES, bytes(value), fds
    return JSON, dump(value), fds


def piece_of(value: Any, name: str) -> Tuple[str, int, bytes, Sequence[int]]:
    """What a program yielded or sent as a DATA's name, codec, bytes and descriptors."""
    if isinstance(value, Progress):
        return "progress", JSON, dump({"done": value.done, "total": value.total, "text": value.text}), ()
    if name and not NAME.match(name):
        raise ValueError("a piece's name %r: printable ASCII characters without spaces, at most 255" % name)
    return (name, *payload_of(value))
