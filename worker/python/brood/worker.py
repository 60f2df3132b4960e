"""The worker whose commands run in threads."""

from __future__ import annotations

import contextlib
import inspect
import logging
import queue
import select
import signal
import socket
import threading
import time
import traceback
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

from .base import CLOEXEC, FD_SPACE, NOSIGNAL, Base, check_reason
from .core import Own, close_all
from .request import Answer, Canceled, Error, Piece, Progress, Request, payload_of, piece_of, text_of
from .wire import CHUNK, HEADER, MAX_MESSAGE, NAME, ProtocolError, cost

log = logging.getLogger("brood")
DONTWAIT = socket.MSG_DONTWAIT
READ = HEADER.size + CHUNK


class Call(Request):
    """A command to answer. See Request for what came with it."""

    _worker: Worker

    @property
    def canceled(self) -> threading.Event:
        """Set when the caller gave up, the time is up, or the connection is gone. Wait on it instead of sleeping."""
        event: threading.Event = self.__dict__.setdefault("_event", threading.Event())
        if self._stopped:
            event.set()
        return event

    def send(self, value: Any, name: str = "") -> None:
        """Send a piece of the answer, or with a name something beside it, before the command returns.

        Waits while the caller is slow. bytes may be long, everything else fits
        one frame (64 KiB). Raises Canceled once the call is canceled.
        """
        self._worker._send_piece(self, *piece_of(value, name))

    def progress(self, done: int, total: int = 0, text: str = "") -> None:
        """Tell the caller how far it is."""
        self.send(Progress(done, total, text))


class Result(NamedTuple):
    """What a call of ours has brought. Descriptors are the receiver's to close."""

    codec: int
    payload: bytes
    fds: List[int]

    @property
    def text(self) -> str:
        return text_of(self.codec, self.payload)

    def json(self) -> Any:
        return Piece("", self.codec, self.payload).json()


class Worker(Base):
    """This process as a worker, its commands in threads.

    threads       commands at work at once; others that were accepted wait
    max_inflight  calls accepted at once; more are answered `overloaded`
    max_message   bytes accepted of one message, at least 16 MiB
    fds           descriptors accepted with one message, at most 16; 0: none
    sock          instead of what BROOD_FD names
    """

    def __init__(self, sock: Optional[socket.socket] = None, *, threads: int = 8, max_inflight: int = 64,
                 max_message: int = MAX_MESSAGE, fds: int = 0) -> None:
        if threads < 1:
            raise ValueError("threads is at least 1")
        super().__init__(sock, max_inflight=max_inflight, max_message=max_message, fds=fds)
        self._sock.setblocking(True)
        self.draining = threading.Event()  # no new calls are taken, soon run returns
        self._thread_limit = threads
        self._todo: queue.SimpleQueue[Optional[Call]] = queue.SimpleQueue()  # calls for the threads; None ends one
        self._bell: queue.SimpleQueue[str] = queue.SimpleQueue()  # wakes run; put may be called from a signal handler
        self._lock = lock = threading.Lock()  # guards the core and all below; never held across a read or a write
        self._can_send = threading.Condition(lock)  # there is credit or room
        self._blocked = threading.Condition(lock)  # the writer has something to do
        self._threads: List[threading.Thread] = []
        self._inline: List[Call] = []  # begun by the reader's frames and run by it after them
        self._reader: Optional[threading.Thread] = None
        self._writer: Optional[threading.Thread] = None  # started when a write would first wait
        self._writing = False  # somebody gives out what waits, or the writer has it
        self._rest: Optional[Tuple[bytes, List[int]]] = None  # what the writer goes on with

    # What a program calls.

    def start(self) -> None:
        """Say HELLO and begin to answer. run does it; a slow program does it before it warms up."""
        if self._core:
            return
        self._core = self._make_core()
        self._flush()
        self._reader = threading.Thread(target=self._read, name="brood-reader", daemon=True)
        self._reader.start()

    def ready(self) -> None:
        """Say that this worker serves from now on. run does it, once."""
        self.start()
        self._do(lambda core: core.ready())

    def run(self) -> None:
        """Serve until drained, or until the supervisor is gone.

        In the main thread, and if the program has no handler of its own,
        SIGTERM drains. Raises ProtocolError if the supervisor broke a rule.
        """
        with self._sigterm():
            self.ready()
            while self._bell.get() == "sigterm":
                self.drain()
            self._flush()  # what the reader has queued before it rang, and not yet given out
            with self._lock:
                while self._writing and not self._the_core.ended:
                    self._can_send.wait()  # everything is written, or the connection has ended
            self._end(None)
            if self._reader is not threading.current_thread() and self._reader:
                self._reader.join()
            self._sock.close()
        failure = self._the_core.failure
        if failure:
            raise failure

    def drain(self) -> None:
        """Take no new calls, finish the open ones, then end run."""
        self.start()
        with self._lock:
            self._the_core.drain()

    def retire(self, reason: str, text: str = "") -> None:
        """Ask to be replaced: `count`, `age`, `memory` or a reason of your own. Go on until drained; a second wish is not sent."""
        check_reason(reason)
        self._do(lambda core: core.retire(reason, text))

    def call(self, command: str, value: Any = None, *, timeout: Optional[float] = None,
             piece: Optional[Callable[[Piece], None]] = None) -> Result:
        """Call the supervisor's own handler and wait for its answer. Raises Error.

        piece is given each piece of a streamed answer. Without it, unnamed ones
        are put in front of the answer and named ones dropped. Not to be called by
        an inline command: it waits for the thread that runs those.
        """
        if not NAME.match(command):
            raise ValueError("command %r: 1 to 255 printable ASCII characters without spaces" % command)
        codec, payload, fds = payload_of(value)
        came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        own = Own(lambda *piece: came.put(Piece(*piece)), came.put)
        milliseconds = 0 if timeout is None else min(max(1, int(timeout * 1000)), 0xFFFFFFFF)
        self.start()
        self._do(lambda core: core.call(own, command, codec, payload, milliseconds, fds))
        try:
            return _collect(self, own, came, timeout, piece)
        except BaseException as e:
            if self._do(lambda core: core.abandon(own)) and isinstance(e, Error):
                e.started = "no"
            while not came.empty():
                _close_what_came(came.get())
            raise

    # The reader: reads, checks, answers what needs no command, and keeps the
    # calls' time. It never waits for a write.

    def _read(self) -> None:
        failure: Optional[BaseException] = None
        core = self._the_core
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        try:
            while True:
                if core.next_deadline is not None:
                    wait = core.next_deadline - time.monotonic()
                    if wait <= 0:
                        with self._lock:
                            core.expire()
                        self._flush()
                        continue
                    if not poll.poll(min(int(wait * 1000) + 1, 60000)):
                        continue
                data, fds = self._recv()
                if not data:
                    close_all(fds)
                    break
                with self._lock:
                    core.receive(data, fds)
                if self._inline:
                    self._run_inline()
                self._flush()
        except ProtocolError as e:
            failure = e
        except OSError:
            pass  # reset: the peer closed without reading everything, no different from EOF
        except Exception as e:  # run must not wait for a reader that is gone
            failure = e
        self._end(failure)

    def _recv(self) -> Tuple[bytes, List[int]]:
        if not self._limits["fds"]:
            return self._sock.recv(READ), []
        data, extra, flags, _ = self._sock.recvmsg(READ, FD_SPACE, CLOEXEC)
        fds: List[int] = []
        for level, kind, payload in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.extend(memoryview(payload[:len(payload) // 4 * 4]).cast("i"))
        if flags & socket.MSG_CTRUNC:
            close_all(fds)
            raise ProtocolError("fds", self._the_core._read, "descriptors were lost: this process has no room for them")
        return data, fds

    # The commands.

    def make(self, id: int, command: str, codec: int, payload: bytes, arg: int, fds: List[int]) -> Call:
        call = Call(id, command, codec, payload, arg, fds)
        call._worker = self
        return call

    def begin(self, request: Request) -> None:
        assert isinstance(request, Call)
        if self._commands[request.command].inline:
            request._begun = True
            self._inline.append(request)
            return
        self._todo.put(request)
        if len(self._threads) < min(self._thread_limit, len(self._the_core.open)):
            thread = threading.Thread(target=self._serve, name="brood-command", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run_inline(self) -> None:
        calls, self._inline = self._inline, []
        for call in calls:
            self._answer(call)

    def _serve(self) -> None:
        while True:
            call = self._todo.get()
            if call is None:
                return
            with self._lock:
                if call._stopped:  # and so answered
                    close_all(call.take_fds())
                    continue
                call._begun = True
            self._answer(call)
            del call
            self._flush()

    def _answer(self, call: Call) -> None:
        """Run the command; exactly one answer comes of it."""
        core = self._the_core
        try:
            value = self._commands[call.command].function(call)
            if inspect.isgenerator(value):
                value = self._stream(call, value)
            codec, payload, fds = payload_of(value)
            with self._lock:
                core.answer(call, codec, payload, fds)
        except Error as e:
            code = call._why if isinstance(e, Canceled) else e.code
            with self._lock:
                core.fail(call, code, str(e.message), e.details)
        except BaseException as e:  # even SystemExit: the thread has other calls to answer
            log.exception("command %s failed", call.command)
            with self._lock:
                core.fail(call, "error", traceback.format_exception_only(type(e), e)[-1].strip())
        finally:
            if call.fds:
                close_all(call.take_fds())

    def _stream(self, call: Call, pieces: Any) -> Any:
        """Send what a generator yields; what it returns is the answer."""
        with contextlib.closing(pieces):
            try:
                value = next(pieces)
                while True:
                    try:
                        self._send_piece(call, *piece_of(value, ""))
                    except Error as e:  # Canceled, most likely: the generator is to know
                        value = pieces.throw(e)
                    else:
                        value = next(pieces)
            except StopIteration as end:
                return end.value

    def _send_piece(self, call: Call, name: str, codec: int, payload: bytes, fds: Any) -> None:
        core = self._the_core
        step = CHUNK - len(name) if codec == 0 else max(len(payload), 1)  # bytes may be cut anywhere
        for at in range(0, len(payload) or 1, step):
            piece = payload if len(payload) <= step else payload[at:at + step]
            with self._lock:
                while not core.piece(call, name, codec, piece, fds):
                    if threading.current_thread() is self._reader:
                        raise Error("error", "an inline command has no credit left and may not wait for it")
                    self._can_send.wait()
            fds = ()
            self._flush()

    def stop(self, request: Request) -> None:
        event = request.__dict__.get("_event")
        if event:
            event.set()

    def room(self) -> None:
        self._can_send.notify_all()

    def drain_begins(self) -> None:
        self.draining.set()

    def settled(self) -> None:
        self._bell.put("drained")

    # Writing: whoever has queued something gives out all that waits, unless
    # somebody does so already. What would make it wait goes to the writer.

    def _flush(self) -> None:
        core = self._the_core
        with self._lock:
            if self._writing:
                return
            self._writing = True
        while True:
            with self._lock:
                batch, fds = core.outgoing()
                if not batch:
                    self._writing = False
                    self._can_send.notify_all()
                    return
            try:
                sent = self._send_some(batch, fds, DONTWAIT)
            except BlockingIOError:
                sent = 0
            except OSError:
                close_all(fds)
                self._broken()
                return
            if sent:
                close_all(fds)
                fds = []
            if sent < len(batch):
                self._hand_over(batch[sent:], fds)
                return

    def _hand_over(self, rest: bytes, fds: List[int]) -> None:
        with self._lock:
            if self._the_core.ended:
                close_all(fds)
                return
            self._rest = rest, fds
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="brood-writer", daemon=True)
                self._writer.start()
            self._blocked.notify()

    def _send_some(self, batch: bytes, fds: List[int], flags: int) -> int:
        if not fds:
            return self._sock.send(batch, NOSIGNAL | flags)
        return socket.send_fds(self._sock, [batch], fds, NOSIGNAL | flags)

    def _write(self) -> None:
        """The writer's thread: it may wait, nobody else has to."""
        core = self._the_core
        while True:
            with self._lock:
                while not self._rest and not core.ended:
                    self._blocked.wait()
                if core.ended:
                    if self._rest:
                        close_all(self._rest[1])
                    return
                assert self._rest
                (rest, fds), self._rest = self._rest, None
            try:
                sent = self._send_some(rest, fds, 0)
                close_all(fds)
                if sent < len(rest):
                    self._sock.sendall(memoryview(rest)[sent:], NOSIGNAL)
            except OSError:
                close_all(fds)
                self._broken()
                return
            with self._lock:
                self._writing = False
            self._flush()

    def _broken(self) -> None:
        """A write failed. The reader finds the peer's last words, then the end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # What they share.

    @contextlib.contextmanager
    def _sigterm(self) -> Iterator[None]:
        """Let SIGTERM ring the bell, where that is possible and the program does nothing else with it."""
        ours = threading.current_thread() is threading.main_thread()
        ours = ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if ours:
            signal.signal(signal.SIGTERM, lambda *_: self._bell.put("sigterm"))
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end(self, failure: Optional[BaseException]) -> None:
        """End the connection, once: nothing is written any more and every open call is canceled."""
        core = self._the_core
        with self._lock:
            if core.ended:
                return
            core.end(failure)
            for _ in self._threads:
                self._todo.put(None)
            self._blocked.notify_all()
            self._can_send.notify_all()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._bell.put("ended")


def _collect(worker: Worker, own: Own, came: Any, timeout: Optional[float],
             piece: Optional[Callable[[Piece], None]]) -> Result:
    """Wait for the end of a call of ours, dealing with its pieces on the way."""
    ends = None if timeout is None else time.monotonic() + timeout
    joined, first = bytearray(), None
    while True:
        try:
            got = came.get(timeout=None if ends is None else max(0.0, ends - time.monotonic()))
        except queue.Empty:
            raise Error("timeout", "no answer within %gs" % (timeout or 0), started="unknown") from None
        if isinstance(got, Error):
            raise got
        if isinstance(got, tuple) and not isinstance(got, Piece):
            codec, payload, fds = got
            return Result(first if not payload and first is not None else codec, bytes(joined) + payload, fds)
        if piece:
            piece(got)
        else:
            close_all(got.fds)
            if not got.name:
                first = got.codec if first is None else first
                joined += got.payload
                if len(joined) > worker._limits["max_message"]:
                    raise Error("too_large", "the answer is longer than %(max_message)d bytes" % worker._limits)
        size = cost(got.name, got.payload, len(got.fds))
        worker._do(lambda core: core.grant(own, size))


def _close_what_came(got: Any) -> None:
    if isinstance(got, tuple):
        close_all(got[-1])


__all__ = ["Worker", "Call", "Result", "Answer"]
