"""The worker's end of a connection as a machine: bytes in, bytes out, no I/O, no threads.

What reads and writes the socket owns a Core and calls it from one thread at a
time. The Core keeps the rules of docs/protocol.md, the calls of both ends, their
time and their credit, and what waits to be written; it tells a Host what to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NoReturn, Optional, Sequence, Tuple

from . import wire
from .request import Canceled, Error, Request, dump
from .wire import (BYTES, CALL, CANCEL, CHUNK, CREDIT, DATA, DRAIN, ERROR, EVENT, HEADER, HELLO, JSON, MAX_CREDIT,
                   MAX_MESSAGE, MORE, PING, PONG, READY, RESULT, RETIRE, SHAPES, TEXT, VERSION, WINDOW, Frame,
                   broke, encode)

LANE = 256 << 10  # bytes of short frames, of events, and of pieces, that may wait to be written
COMMANDS = 256
GRANT = 64 << 10  # bytes of pieces dealt with that are worth a WINDOW; what is left has room for any piece


class Host:
    """What runs the commands. Called by the Core, and so under whatever guards it."""

    def make(self, id: int, command: str, codec: int, payload: bytes, arg: int, fds: List[int]) -> Request:
        raise NotImplementedError

    def begin(self, request: Request) -> None:
        """Run it."""

    def stop(self, request: Request) -> None:
        """It is canceled, out of time, or nobody is there any more."""

    def room(self) -> None:
        """There is credit, or room, for pieces that found none."""

    def drain_begins(self) -> None:
        """No new calls are taken."""

    def settled(self) -> None:
        """Draining, and nothing is left to do."""


class Own:
    """A call of ours. The functions are called by the Core: data with each piece, end with the one outcome."""

    def __init__(self, data: Callable[[str, int, bytes, List[int]], None],
                 end: Callable[[Any], None]) -> None:
        self.message: Optional[Outgoing] = None  # until its last frame is given out
        self.id = 0
        self.data, self.end = data, end
        self.credit, self.owed = CREDIT, 0  # bytes of pieces: that may come; dealt with and not granted again
        self.offered = False  # bytes of it were given out to be written
        self.abandoned = False  # CANCEL is sent, or follows its last frame; what comes is dropped


class Outgoing:
    """A message on its way out, in as many frames as it takes. Its descriptors are its own."""

    def __init__(self, type: int, id: int, codec: int, name: str, payload: bytes, arg: int = 0,
                 fds: Sequence[int] = ()) -> None:
        self.type, self.id, self.codec, self.name, self.arg = type, id, codec, name, arg
        self.payload = payload
        self.sent, self.whole, self.seq = 0, False, 0
        self.fds = list(fds)

    def frame(self, chunk: int) -> bytes:
        first = not self.sent
        size = len(self.payload)
        name = self.name if first else ""
        if first and size + len(name) <= chunk:
            self.sent, self.whole = size, True
            return encode(self.type, self.id, self.arg, self.codec, name, self.payload, 0, len(self.fds))
        piece = memoryview(self.payload)[self.sent:self.sent + chunk - len(name)]
        self.sent += len(piece)
        self.whole = self.sent == size
        return encode(self.type, self.id, self.arg if first else 0, self.codec, name, piece,
                      0 if self.whole else MORE, len(self.fds) if first else 0)


class Core:
    def __init__(self, host: Host, commands: Dict[str, str], *, max_inflight: int = 64,
                 max_message: int = MAX_MESSAGE, fds: int = 0, sdk: str = "") -> None:
        self._host, self._names, self._max_fds = host, commands, fds
        self._max_inflight, self._max_message = max_inflight, max_message
        self.ended = False
        self.draining = False
        self.failure: Optional[BaseException] = None  # what ended the connection; None: end of file
        self.status, self.beat = "", None  # type: str, Optional[float]
        self.next_deadline: Optional[float] = None  # the earliest, or earlier than that
        self._grace_ends: Optional[float] = None  # then a drain cancels what is still open
        self._ready = self._retired = False
        # What came in.
        self._greeted = False
        self._read = 0  # bytes before those held
        self._held = bytearray()  # the beginning of a frame
        self._fds: Deque[Tuple[int, int]] = deque()  # descriptors that came, and the end of the read they came with
        self._partial: Optional[Tuple[Frame, bytearray, List[int]]] = None  # the one message coming in pieces
        # The calls, theirs and ours, until their last frame is given out or has come.
        self.open: Dict[int, Request] = {}
        self._own: Dict[int, Own] = {}
        self._next_id = 2
        # What goes out.
        self._urgent: List[bytes] = []
        self._urgent_size = 0
        self._asked_size = 0  # bytes among them that answer what came
        self._short: Deque[Outgoing] = deque()  # each fits one frame
        self._long: Deque[Outgoing] = deque()
        self._seq = 0
        self._events_size = self._pieces_size = 0  # bytes of each among those that wait
        self.peer_max, self.peer_chunk, self.peer_inflight, self.peer_fds = MAX_MESSAGE, CHUNK, 64, 0
        self._hello(sdk, commands)

    def _hello(self, sdk: str, commands: Dict[str, str]) -> None:
        says: Dict[str, Any] = dict(
            protocol=[VERSION, VERSION], pid=os.getpid(), sdk=sdk,
            commands=[{"name": name, "help": help} for name, help in commands.items()],
            max_message=self._max_message, max_inflight=self._max_inflight, chunk=CHUNK)
        if self._max_fds:
            says["fds"] = self._max_fds
        payload = dump(says)
        if len(payload) > CHUNK:
            raise ValueError("the help texts make a HELLO of %d bytes, at most %d fit" % (len(payload), CHUNK))
        self._push(encode(HELLO, codec=JSON, payload=payload))

    # What goes out.

    def outgoing(self) -> Tuple[bytes, List[int]]:
        """What to write now, and the descriptors that ride on its first byte and are then to be closed."""
        parts, size, fds = self._urgent, self._urgent_size, []  # type: List[bytes], int, List[int]
        self._urgent, self._urgent_size, self._asked_size = [], 0, 0
        while size < CHUNK:
            queue = self._queue(size)
            if not queue:
                break
            message = queue[0]
            if message.fds:
                if parts:
                    break
                fds = message.fds
            frame = message.frame(self.peer_chunk)
            message.fds = []
            parts.append(frame)
            size += len(frame)
            if message.type == CALL:
                self._offered(message, parts)
            if message.whole:
                queue.popleft()
                self._written(message)
        return parts[0] if len(parts) == 1 else b"".join(parts), fds

    def _offered(self, message: Outgoing, parts: List[bytes]) -> None:
        """A frame of a call of ours is given out. The CANCEL of one given up meanwhile goes behind its last."""
        own = self._own[message.id]
        own.offered = True
        if message.whole:
            own.message = None
            if own.abandoned:
                parts.append(encode(CANCEL, own.id))

    def _queue(self, size: int) -> Optional[Deque[Outgoing]]:
        """Whose turn it is: short messages go ahead of long ones, but not without end.

        A long one does not begin before what was queued earlier: its call's
        pieces are among that.
        """
        if not self._long:
            return self._short or None
        first = self._long[0]
        if not self._short or size >= CHUNK // 2 and (first.sent or self._short[0].seq > first.seq):
            return self._long
        return self._short

    def _written(self, message: Outgoing) -> None:
        """The last of a message is given out."""
        kind = message.type
        if kind == DATA:
            self._pieces_size -= HEADER.size + len(message.name) + len(message.payload)
            self._host.room()
        elif kind == EVENT:
            self._events_size -= HEADER.size + len(message.name) + len(message.payload)
        elif kind != CALL:  # the peer may use the id again
            self.open.pop(message.id, None)
            self._settle()

    def _send(self, message: Outgoing) -> None:
        self._seq += 1
        message.seq = self._seq
        fits = len(message.name) + len(message.payload) <= self.peer_chunk
        (self._short if fits else self._long).append(message)

    def _push(self, frame: bytes) -> None:
        """Queue a short frame ahead of all messages."""
        self._urgent.append(frame)
        self._urgent_size += len(frame)

    def _reply(self, frame: bytes) -> None:
        """Queue a short answer to what came; of those a peer that does not read has only so many."""
        if self._asked_size and self._asked_size + len(frame) > LANE:
            broke("unread", 0, "%d bytes of answers wait and the peer reads none", self._asked_size)
        self._asked_size += len(frame)
        self._push(frame)

    def ready(self) -> None:
        if not self._ready and not self.ended:
            self._push(encode(READY))
        self._ready = True

    def event(self, name: str, codec: int, payload: bytes) -> bool:
        """Queue an event; False: dropped."""
        size = HEADER.size + len(name) + len(payload)
        if self.ended or self._events_size + size > LANE:
            return False
        self._events_size += size
        self._send(Outgoing(EVENT, 0, codec, name, payload))
        return True

    def retire(self, reason: str, text: str) -> None:
        if not self._retired and not self.ended:
            self._retired = True
            body = dump({"text": text[:8192]}, "replace") if text else b""
            self._push(encode(RETIRE, codec=JSON if body else BYTES, name=reason, payload=body))

    def drain(self) -> None:
        """Take no new calls; the host is told when the open ones are done."""
        if not self.draining:
            self.draining = True
            self._host.drain_begins()
        self._settle()

    def _settle(self) -> None:
        if self.draining and not self.open:
            self._host.settled()

    def end(self, failure: Optional[BaseException]) -> None:
        """End the connection, once: nothing is given out any more and every open call ends."""
        if self.ended:
            return
        self.ended, self.failure = True, failure
        stopped, self.open = list(self.open.values()), {}
        own, self._own = list(self._own.values()), {}
        left = [fd for fd, _ in self._fds]
        for message in (*self._short, *self._long):
            left += message.fds
        if self._partial:
            left += self._partial[2]
        close_all(left)
        self._urgent, self._urgent_size, self._asked_size, self._partial = [], 0, 0, None
        self._fds.clear()
        self._short.clear()
        self._long.clear()
        for request in stopped:
            request._stopped = True
            self._host.stop(request)
        for call in own:
            call.end(Error("lost", "the connection has ended", started="unknown" if call.offered else "no"))
        self._host.room()

    # What comes in.

    def receive(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Act on bytes as they came, with the descriptors that came with them. Raises ProtocolError."""
        held, at = self._held, 0
        self._fds.extend((fd, self._read + len(held) + len(data)) for fd in fds)
        if held:
            held += data
        buf = held or data
        try:
            while True:
                frame, size = wire.parse(buf, CHUNK, at)
                if not frame:
                    break
                self._take(frame, self._declared(frame, self._read + at))
                at += size
            if self._fds and (at == len(buf) or len(self._fds) > wire.MAX_FDS):
                broke("fds", 0, "%d descriptors that no frame has declared", len(self._fds))
        except wire.ProtocolError as e:
            e.offset += self._read + at
            raise
        self._read += at
        if buf is held:
            del held[:at]
        elif at < len(buf):
            self._held = bytearray(memoryview(buf)[at:])

    def _declared(self, frame: Frame, start: int) -> List[int]:
        """Take the descriptors that a frame declares out of those that came."""
        if self._fds and self._fds[0][1] <= start:
            broke("fds", 18, "%d descriptors that no frame has declared", len(self._fds))
        if not frame.nfds:
            return []
        if frame.nfds > self._max_fds:
            broke("fds", 18, "%d descriptors, %d are accepted", frame.nfds, self._max_fds)
        if frame.nfds > len(self._fds):
            broke("fds", 18, "%d descriptors are declared, %d came", frame.nfds, len(self._fds))
        return [self._fds.popleft()[0] for _ in range(frame.nfds)]

    def _take(self, frame: Frame, fds: List[int]) -> None:
        try:
            self._act(frame, fds)
        except wire.ProtocolError:
            close_all(fds)
            raise

    def _act(self, frame: Frame, fds: List[int]) -> None:
        """Act on one frame."""
        kind = frame.type
        if not self._greeted and kind != HELLO:
            broke("hello-first", 2, "the first frame is HELLO, got type %d", kind)
        if kind == CALL or kind == RESULT:
            self._take_part(frame, fds)
        elif kind == PING:
            self._reply(self._pong(frame.arg))
        elif kind not in SHAPES:
            close_all(fds)
        elif "worker" in SHAPES[kind]:
            broke("direction", 2, "type %d is not the supervisor's to send", kind)
        elif kind == CANCEL:
            request = self.open.get(frame.id)
            if request and not request._stopped:
                self._stop(request, "canceled")
        elif kind == WINDOW:
            self._take_window(frame)
        elif kind == DATA:
            self._take_data(frame, fds)
        elif kind == ERROR:
            self._take_error(frame)
        elif kind == DRAIN:
            if frame.arg:
                self._grace_ends = time.monotonic() + frame.arg / 1000
                self._due(self._grace_ends)
            self.drain()
        elif kind == HELLO:
            self._take_hello(frame)
        else:
            _object(frame)  # PONG

    def _take_hello(self, frame: Frame) -> None:
        if self._greeted:
            broke("hello", 2, "HELLO comes once")
        if not frame.payload:
            broke("hello", 4, "HELLO carries JSON")
        hello = _object(frame)
        said = [(hello.get(key), default) for key, default in
                (("max_message", MAX_MESSAGE), ("max_inflight", 64), ("chunk", CHUNK), ("fds", 0))]
        limits = [default if limit is None or type(limit) is int and not limit else limit for limit, default in said]
        protocol = hello.get("protocol")
        if protocol is None:
            protocol = [VERSION, VERSION]
        if not isinstance(protocol, list) or not all(type(n) is int for n in limits + protocol):
            broke("json", HEADER.size, "HELLO: a limit or a version that is not a number")
        if len(protocol) != 2 or not protocol[0] <= VERSION <= protocol[1]:
            broke("hello", HEADER.size, "it speaks versions %s, this end speaks 1", protocol)
        if min(limits) < 0 or limits[2] < CHUNK or limits[3] > wire.MAX_FDS:
            broke("hello", HEADER.size, "limits %s", limits)
        self.peer_max, self.peer_inflight = limits[0], limits[1]
        self.peer_chunk = min(limits[2], 1 << 20)
        self.peer_fds = limits[3]
        self._greeted = True

    def _take_part(self, frame: Frame, fds: List[int]) -> None:
        """Put a CALL or a RESULT together. One at a time may be unfinished, so one buffer is all a peer can fill."""
        more = frame.flags & MORE
        partial = self._partial
        if partial and partial[0].id == frame.id and partial[0].type == frame.type:
            first, body, came = partial
            if frame.name or frame.arg or frame.nfds or frame.codec != first.codec:
                broke("continuation", 12, "the next frame of a message has its type, id and codec only")
            if len(body) + len(frame.payload) > self._max_message:
                broke("message", 4, "a message longer than %d bytes", self._max_message)
            body += frame.payload
            if not more:
                self._partial = None
                self._take_message(first, bytes(body), came)
            return
        if frame.type == CALL:
            self._check_call(frame)
        else:
            self._open_own(frame.id)
        if not more:
            self._take_message(frame, frame.payload, fds)
        elif partial:
            broke("interleave", 3, "message %d begins before another is whole", frame.id)
        else:
            self._partial = (frame, bytearray(frame.payload), fds)

    def _check_call(self, frame: Frame) -> None:
        if not frame.name:
            broke("name", 16, "CALL needs a name")
        if frame.id % 2 == 0:
            broke("call-id", 8, "the supervisor's calls have odd ids, got %d", frame.id)
        if frame.id in self.open:
            broke("call-id", 8, "call %d is still open", frame.id)

    def _take_message(self, first: Frame, payload: bytes, fds: List[int]) -> None:
        if first.type == RESULT:
            own = self._open_own(first.id)
            del self._own[first.id]
            if own.abandoned:
                close_all(fds)
                fds = []
            own.end((first.codec, payload, fds))
            return
        if first.id in self.open:
            broke("call-id", 8, "call %d is still open", first.id)
        refusal = self._refusal(first.name)
        if refusal:
            close_all(fds)
            self._reply(error_message(first.id, *refusal, "no").frame(CHUNK))
            return
        request = self._host.make(first.id, first.name, first.codec, payload, first.arg, fds)
        request._credit = CREDIT
        self.open[first.id] = request
        if request._deadline is not None:
            self._due(request._deadline)
        self._host.begin(request)

    def _refusal(self, command: str) -> Optional[Tuple[str, str]]:
        if self.draining:
            return "unavailable", "draining"
        if len(self.open) >= self._max_inflight:
            return "overloaded", "%d calls are at work" % len(self.open)
        if command not in self._names:
            return "unknown_command", "there is no command %s here" % command
        return None

    def _take_window(self, frame: Frame) -> None:
        request = self.open.get(frame.id)
        if request is None:
            return
        if request._credit + frame.arg > MAX_CREDIT:
            broke("window", 12, "the credit of call %d would be %d bytes", frame.id, request._credit + frame.arg)
        request._credit += frame.arg
        self._host.room()

    def _open_own(self, id: int) -> Own:
        """The call of ours that something is said for: it was given out whole and is not answered."""
        own = self._own.get(id)
        if own is None or own.message is not None:
            broke("answer", 8, "an answer to call %d, which is not open", id)
        return own

    def _take_data(self, frame: Frame, fds: List[int]) -> None:
        own = self._open_own(frame.id)
        own.credit -= wire.cost(frame.name, frame.payload, frame.nfds)
        if own.credit < 0:
            broke("credit", 4, "%d bytes of pieces beyond the credit of call %d", -own.credit, frame.id)
        if own.abandoned:
            close_all(fds)
        else:
            own.data(frame.name, frame.codec, frame.payload, fds)

    def _take_error(self, frame: Frame) -> None:
        if not frame.name:
            broke("name", 16, "ERROR needs a name")
        said = _object(frame)
        message, started = said.get("message") or "", said.get("started") or "unknown"
        if not isinstance(message, str) or not isinstance(started, str):
            broke("json", HEADER.size + len(frame.name), "ERROR: message and started are strings")
        own = self._open_own(frame.id)
        del self._own[frame.id]
        own.end(Error(frame.name if frame.name != "lost" else "error", message, said.get("details"), started))

    def _pong(self, token: int) -> bytes:
        if not self.open and not self.status and self.beat is None:
            return encode(PONG, arg=token)
        now, says = time.monotonic(), {}  # type: float, Dict[str, Any]
        if self.open:
            says["inflight"] = len(self.open)
            says["oldest_ms"] = int((now - next(iter(self.open.values()))._received) * 1000)
        if self.beat is not None:
            says["beat_ms"] = int((now - self.beat) * 1000)
        if self.status:
            says["status"] = self.status
        return encode(PONG, arg=token, codec=JSON, payload=dump(says, "replace"))

    # The supervisor's calls.

    def _due(self, when: float) -> None:
        if self.next_deadline is None or when < self.next_deadline:
            self.next_deadline = when

    def expire(self) -> None:
        """Cancel what is out of time, and find the next that will be. Call it when next_deadline is past."""
        now = time.monotonic()
        self.next_deadline = None
        for request in list(self.open.values()):
            ends = request._deadline
            if self._grace_ends is not None and (ends is None or self._grace_ends < ends):
                ends = self._grace_ends
            if ends is None or request._stopped or request._answered:
                continue
            if ends <= now:
                self._stop(request, "timeout" if ends == request._deadline else "canceled")
            else:
                self._due(ends)

    def _stop(self, request: Request, why: str) -> None:
        """Tell the command, or answer for it if it has not begun."""
        if request._answered:
            return
        request._why = why
        request._stopped = True
        if not request._begun:
            self.fail(request, why, "it had not begun", started="no")
        self._host.stop(request)

    def answer(self, request: Request, codec: int, payload: bytes, fds: Sequence[int] = ()) -> None:
        """Queue the RESULT of a call. fds stay the caller's."""
        if self.ended or request._answered:
            return
        if len(payload) > self.peer_max:
            self.fail(request, "too_large",
                      "the answer is %d bytes, %d are accepted" % (len(payload), self.peer_max))
            return
        message = Outgoing(RESULT, request.id, codec, "", payload, fds=self._copies(fds))
        request._answered = True
        self._send(message)

    def fail(self, request: Request, code: str, message: str, details: Any = None, started: str = "yes") -> None:
        """Queue the ERROR of a call."""
        if not self.ended and not request._answered:
            request._answered = True
            self._send(error_message(request.id, code, message, started, details))

    def piece(self, request: Request, name: str, codec: int, payload: bytes, fds: Sequence[int] = ()) -> bool:
        """Queue a DATA of a call; False: there is no credit or no room for it now, the host will hear of it."""
        if request._answered:
            raise RuntimeError("call %d is answered: nothing more can be sent for it" % request.id)
        if request._stopped or self.ended:
            raise Canceled()
        cost, size = wire.cost(name, payload, len(fds)), len(name) + len(payload)
        if size > CHUNK:
            raise ValueError("a piece of %d bytes, at most %d fit" % (size, CHUNK))
        if cost > request._credit or self._pieces_size and self._pieces_size + HEADER.size + size > LANE:
            return False
        message = Outgoing(DATA, request.id, codec, name, payload, fds=self._copies(fds))
        request._credit -= cost
        self._pieces_size += HEADER.size + size
        self._send(message)
        return True

    def _copies(self, fds: Sequence[int]) -> List[int]:
        if len(fds) > self.peer_fds:
            raise Error("error", "%d descriptors to send, the supervisor takes %d" % (len(fds), self.peer_fds))
        copies: List[int] = []
        try:
            for fd in fds:
                copies.append(os.dup(fd))
        except OSError:
            close_all(copies)
            raise
        return copies

    # Our own calls.

    def call(self, own: Own, command: str, codec: int, payload: bytes, milliseconds: int = 0,
             fds: Sequence[int] = ()) -> None:
        """Queue a CALL. own hears of what comes of it."""
        if self.ended:
            raise Error("lost", "the connection has ended", started="no")
        if len(payload) > self.peer_max:
            raise Error("too_large", "%d bytes, %d are accepted" % (len(payload), self.peer_max), started="no")
        if len(self._own) >= self.peer_inflight:
            raise Error("overloaded", "%d calls are open" % len(self._own), started="no")
        copies = self._copies(fds)
        while self._next_id in self._own:
            self._step()
        own.id = self._next_id
        self._step()
        self._own[own.id] = own
        own.message = Outgoing(CALL, own.id, codec, command, payload, milliseconds, copies)
        self._send(own.message)

    def _step(self) -> None:
        self._next_id = self._next_id + 2 if self._next_id < 0xFFFFFFFE else 2

    def abandon(self, own: Own) -> bool:
        """Hear nothing of the call any more but its end. True: it is withdrawn, nothing of it was given out."""
        if self._own.get(own.id) is not own or own.abandoned:
            return False
        own.abandoned = True
        if own.message is None:
            self._push(encode(CANCEL, own.id))
        elif not own.offered:
            del self._own[own.id]
            (self._short if own.message in self._short else self._long).remove(own.message)
            close_all(own.message.fds)
            return True
        return False

    def grant(self, own: Own, size: int) -> None:
        """Give credit for pieces of so many bytes, header included, that were dealt with."""
        own.owed += size
        if own.owed >= GRANT and self._own.get(own.id) is own and not own.abandoned:
            own.credit += own.owed
            self._reply(encode(WINDOW, own.id, own.owed))
            own.owed = 0


def error_message(call_id: int, code: str, message: str, started: str, details: Any = None) -> Outgoing:
    """The one ERROR of a call, with what does not fit left out."""
    body = {"message": message[:8192], "started": started}
    payload = None
    if details is not None:
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            payload = dump(dict(body, details=details), "replace")
    if payload is None or len(payload) + len(code) > CHUNK:
        payload = dump(body, "replace")
    return Outgoing(ERROR, call_id, JSON, code, payload)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _no_number(text: str) -> NoReturn:
    raise ValueError("%s is not JSON" % text)


def _object(frame: Frame) -> Dict[str, Any]:
    """A frame's JSON object; {} if there is no payload."""
    try:
        value = json.loads(frame.payload.decode("utf-8"), parse_constant=_no_number) if frame.payload else {}
        if isinstance(value, dict):
            return value
        detail = "not an object"
    except (ValueError, RecursionError) as e:
        detail = str(e)
    broke("json", HEADER.size + len(frame.name), "type %d: %s", frame.type, detail)
