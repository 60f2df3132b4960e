"""The worker whose commands run in an event loop.

    from brood import aio

    w = aio.Worker()

    @w.command("fetch", help="URL: what is there")
    async def fetch(call):
        async with session.get(call.args[0]) as answer:
            return await answer.text()

    asyncio.run(w.run())

A command is a coroutine function, an async generator that yields the pieces of
its answer, or a plain function that never waits. A call that is canceled, or out
of time, cancels its task. What else there is to know is in :mod:`brood`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import signal
import socket
import time
import traceback
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional, Set, Tuple

from .base import CLOEXEC, FD_SPACE, NOSIGNAL, Base, check_reason
from .core import Own, close_all
from .request import Canceled, Error, Piece, Progress, Request, payload_of, piece_of
from .wire import CHUNK, HEADER, MAX_MESSAGE, NAME, ProtocolError, cost
from .worker import Result

log = logging.getLogger("brood")
READ = HEADER.size + CHUNK


@contextlib.asynccontextmanager
async def _closing(generator: Any) -> AsyncIterator[Any]:
    try:
        yield generator
    finally:
        await generator.aclose()


class Call(Request):
    """A command to answer. See Request for what came with it."""

    _worker: Worker

    async def send(self, value: Any, name: str = "") -> None:
        """Send a piece of the answer, or with a name something beside it, before the command returns.

        Waits while the caller is slow. bytes may be long, everything else fits
        one frame (64 KiB).
        """
        await self._worker._send_piece(self, *piece_of(value, name))

    async def progress(self, done: int, total: int = 0, text: str = "") -> None:
        """Tell the caller how far it is."""
        await self.send(Progress(done, total, text))


class Worker(Base):
    """This process as a worker, its commands in an event loop.

    max_inflight  calls at work at once; more are answered `overloaded`
    max_message   bytes accepted of one message, at least 16 MiB
    fds           descriptors accepted with one message, at most 16; 0: none
    sock          instead of what BROOD_FD names
    """

    def __init__(self, sock: Optional[socket.socket] = None, *, max_inflight: int = 64,
                 max_message: int = MAX_MESSAGE, fds: int = 0) -> None:
        super().__init__(sock, max_inflight=max_inflight, max_message=max_message, fds=fds)
        self._sock.setblocking(False)
        self._loop: Optional[asyncio.AbstractEventLoop] = None  # set by start; all else is used in it alone
        self._tasks: Dict[int, asyncio.Task[None]] = {}
        self._waiting: Set[asyncio.Future[None]] = set()  # pieces without credit or room
        self._over: asyncio.Event  # drained, or the connection has ended
        self.draining: asyncio.Event  # made by start: no new calls are taken, soon run returns
        self._rest: Optional[memoryview] = None  # of a batch that the socket did not take
        self._rest_fds: List[int] = []
        self._timer: Optional[asyncio.TimerHandle] = None

    # What a program calls.

    def start(self) -> None:
        """Say HELLO and begin to answer. run does it; a slow program does it before it warms up."""
        if self._core:
            return
        self._loop = asyncio.get_running_loop()
        self._over, self.draining = asyncio.Event(), asyncio.Event()
        self._core = self._make_core()
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._flush()

    def ready(self) -> None:
        """Say that this worker serves from now on. run does it, once."""
        self.start()
        self._do(lambda core: core.ready())

    async def run(self) -> None:
        """Serve until drained, or until the supervisor is gone. Raises ProtocolError if it broke a rule.

        SIGTERM drains, if this is the main thread and the program has no handler of its own.
        """
        with self._sigterm():
            self.ready()
            try:
                await self._over.wait()
                while not self._the_core.ended and (self._rest or self._flush()):
                    await self._room()  # until all is written
            finally:
                self._end(None)
                tasks = list(self._tasks.values())
                if tasks:
                    await asyncio.wait(tasks, timeout=1)
        if self._the_core.failure:
            raise self._the_core.failure

    def drain(self) -> None:
        """Take no new calls, finish the open ones, then end run."""
        self.start()
        self._the_core.drain()

    def retire(self, reason: str, text: str = "") -> None:
        """Ask to be replaced: `count`, `age`, `memory` or a reason of your own. Go on until drained; a second wish is not sent."""
        check_reason(reason)
        self._do(lambda core: core.retire(reason, text))

    async def call(self, command: str, value: Any = None, *, timeout: Optional[float] = None) -> Result:
        """Call the supervisor's own handler and wait for its answer. Raises Error.

        Unnamed pieces of a streamed answer are put in front of it.
        """
        joined, first = bytearray(), None
        async with _closing(self._stream(command, value, timeout)) as stream:
            async for got in stream:
                if isinstance(got, Result):
                    codec = first if not got.payload and first is not None else got.codec
                    return Result(codec, bytes(joined) + got.payload, got.fds)
                close_all(got.fds)
                if not got.name:
                    first = got.codec if first is None else first
                    joined += got.payload
                    if len(joined) > self._limits["max_message"]:
                        raise Error("too_large", "the answer is longer than %(max_message)d bytes" % self._limits)
        raise Error("lost", "the connection has ended", started="unknown")

    async def call_stream(self, command: str, value: Any = None, *,
                          timeout: Optional[float] = None) -> AsyncIterator[Piece]:
        """Call the supervisor's own handler; the pieces of its answer, the answer itself last if it is not empty."""
        async with _closing(self._stream(command, value, timeout)) as stream:
            async for got in stream:
                if isinstance(got, Piece):
                    yield got
                elif got.payload or got.fds:
                    yield Piece("", *got)

    async def _stream(self, command: str, value: Any, timeout: Optional[float]) -> Any:
        if not NAME.match(command):
            raise ValueError("command %r: 1 to 255 printable ASCII characters without spaces" % command)
        codec, payload, fds = payload_of(value)
        came: asyncio.Queue[Any] = asyncio.Queue()
        own = Own(lambda *piece: came.put_nowait(Piece(*piece)), came.put_nowait)
        ends = None if timeout is None else time.monotonic() + timeout
        self.start()
        core = self._the_core
        core.call(own, command, codec, payload, min(max(1, int((timeout or 0) * 1000)), 0xFFFFFFFF) if timeout else 0, fds)
        try:
            while True:
                self._flush()
                try:
                    got = await asyncio.wait_for(came.get(), None if ends is None else max(0.0, ends - time.monotonic()))
                except asyncio.TimeoutError:
                    started = "no" if self._do(lambda core: core.abandon(own)) else "unknown"
                    raise Error("timeout", "no answer within %gs" % (timeout or 0), started=started) from None
                if isinstance(got, Error):
                    raise got
                if not isinstance(got, Piece):
                    yield Result(*got)
                    return
                yield got
                size = cost(got.name, got.payload, len(got.fds))
                self._do(lambda core: core.grant(own, size))
        finally:
            self._do(lambda core: core.abandon(own))
            while not came.empty():
                left = came.get_nowait()
                if isinstance(left, tuple):
                    close_all(left[-1])

    # Reading, in the loop.

    def _readable(self) -> None:
        core = self._the_core
        failure: Optional[BaseException] = None
        try:
            data, fds = self._recv()
            if data:
                core.receive(data, fds)
                self._set_timer()
                self._flush()
                return
        except (BlockingIOError, InterruptedError):
            return
        except ProtocolError as e:
            failure = e
        except OSError:
            pass  # reset: the peer closed without reading everything, no different from EOF
        self._end(failure)

    def _recv(self) -> Tuple[bytes, List[int]]:
        if not self._limits["fds"]:
            return self._sock.recv(READ), []
        data, extra, flags, _ = self._sock.recvmsg(READ, FD_SPACE, CLOEXEC)
        fds: List[int] = []
        for level, kind, payload in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.extend(memoryview(payload[:len(payload) // 4 * 4]).cast("i"))
        if flags & socket.MSG_CTRUNC or not data:
            close_all(fds)
        if flags & socket.MSG_CTRUNC:
            raise ProtocolError("fds", self._the_core._read, "descriptors were lost: this process has no room for them")
        return data, fds

    def _set_timer(self) -> None:
        due = self._the_core.next_deadline
        if due is None or self._core is None or self._core.ended:
            return
        assert self._loop
        when = self._loop.time() + max(0.0, due - time.monotonic())
        if self._timer is None or self._timer.when() > when + 0.001:
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._time_up)

    def _time_up(self) -> None:
        self._timer = None
        core = self._the_core
        if not core.ended:
            if core.next_deadline is not None and core.next_deadline <= time.monotonic():
                core.expire()
                self._flush()
            self._set_timer()

    # The commands.

    def make(self, id: int, command: str, codec: int, payload: bytes, arg: int, fds: List[int]) -> Call:
        call = Call(id, command, codec, payload, arg, fds)
        call._worker = self
        return call

    def begin(self, request: Request) -> None:
        assert isinstance(request, Call) and self._loop
        request._begun = True
        function = self._commands[request.command].function
        if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
            self._loop.call_soon(self._run_plain, request, function)
            return
        task = self._loop.create_task(self._answer(request, function))
        self._tasks[id(task)] = task
        request.__dict__["_task"] = task
        task.add_done_callback(lambda task: self._done(request, task))

    def _done(self, call: Call, task: asyncio.Task[None]) -> None:
        self._tasks.pop(id(task), None)
        if not call._answered and not self._the_core.ended:  # canceled before it began
            self._the_core.fail(call, call._why, "stopped at the caller's word")
        close_all(call.take_fds())
        self._flush()

    def _run_plain(self, call: Call, function: Callable[..., Any]) -> None:
        try:
            value = function(call)
            if inspect.isawaitable(value) or inspect.isasyncgen(value):
                task = asyncio.ensure_future(self._answer(call, lambda _: value))
                self._tasks[id(task)] = task
                call.__dict__["_task"] = task
                task.add_done_callback(lambda task: self._done(call, task))
                return
            self._the_core.answer(call, *payload_of(value))
        except Exception as e:
            self._failed(call, e)
        close_all(call.take_fds())
        self._flush()

    async def _answer(self, call: Call, function: Callable[..., Any]) -> None:
        try:
            value = function(call)
            if inspect.isasyncgen(value):
                async with _closing(value):
                    async for piece in value:
                        await self._send_piece(call, *piece_of(piece, ""))
                value = None
            else:
                value = await value
            self._the_core.answer(call, *payload_of(value))
        except (Exception, asyncio.CancelledError) as e:
            self._failed(call, e)

    def _failed(self, call: Call, e: BaseException) -> None:
        core = self._the_core
        if isinstance(e, asyncio.CancelledError):
            core.fail(call, call._why, "stopped at the caller's word")
        elif isinstance(e, Error):
            core.fail(call, call._why if isinstance(e, Canceled) else e.code, str(e.message), e.details)
        else:
            log.error("command %s failed", call.command, exc_info=e)
            core.fail(call, "error", traceback.format_exception_only(type(e), e)[-1].strip())

    async def _send_piece(self, call: Call, name: str, codec: int, payload: bytes, fds: Any) -> None:
        step = CHUNK - len(name) if codec == 0 else max(len(payload), 1)  # bytes may be cut anywhere
        for at in range(0, len(payload) or 1, step):
            piece = payload if len(payload) <= step else payload[at:at + step]
            while not self._the_core.piece(call, name, codec, piece, fds):
                await self._room()
            fds = ()
            self._flush()

    async def _room(self) -> None:
        """Wait until there is credit or room somewhere."""
        assert self._loop
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def stop(self, request: Request) -> None:
        task = request.__dict__.get("_task")
        if task:
            task.cancel()

    def room(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def drain_begins(self) -> None:
        self.draining.set()

    def settled(self) -> None:
        self._over.set()

    # Writing, in the loop.

    def _flush(self) -> bool:
        """Write what waits; True: some of it has to wait on."""
        core = self._the_core
        while not self._rest:
            batch, self._rest_fds = core.outgoing()
            if not batch:
                return False
            self._rest = memoryview(batch)
            if self._write_some():
                return True
        return True

    def _write_some(self) -> bool:
        """Write of the rest what the socket takes; True: not all."""
        assert self._rest is not None and self._loop
        try:
            if self._rest_fds:
                sent = socket.send_fds(self._sock, [self._rest], self._rest_fds, NOSIGNAL)
            else:
                sent = self._sock.send(self._rest, NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._forget()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # the reader finds the peer's last words, then the end
            return False
        if sent:
            close_all(self._rest_fds)
            self._rest_fds = []
        self._rest = self._rest[sent:] if sent < len(self._rest) else None
        if self._rest:
            self._loop.add_writer(self._sock.fileno(), self._writable)
            return True
        return False

    def _writable(self) -> None:
        assert self._loop
        if self._rest and self._write_some():
            return
        self._loop.remove_writer(self._sock.fileno())
        self._flush()
        self.room()

    def _forget(self) -> None:
        close_all(self._rest_fds)
        self._rest, self._rest_fds = None, []

    # What they share.

    @contextlib.contextmanager
    def _sigterm(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if ours:
            try:
                loop.add_signal_handler(signal.SIGTERM, self.drain)
            except (ValueError, RuntimeError, NotImplementedError):
                ours = False  # not the main thread
        try:
            yield
        finally:
            if ours:
                loop.remove_signal_handler(signal.SIGTERM)

    def _end(self, failure: Optional[BaseException]) -> None:
        core = self._the_core
        if core.ended:
            return
        assert self._loop
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        if self._timer:
            self._timer.cancel()
        core.end(failure)
        self._forget()
        self._sock.close()
        self._over.set()
