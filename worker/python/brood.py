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
None is empty, str is text, bytes are bytes, anything else is sent as JSON. What
it raises is the answer too: an :class:`Error` with its code and details, any
other exception with the code ``error`` and a traceback in the log.

Commands run in a few threads (``Worker(threads=8)``). Pings are answered by a
thread of their own, so a busy command does not look like a dead worker; only
an extension module that holds the interpreter lock can hold them up.

DRAIN and SIGTERM let the open calls finish, then :meth:`Worker.run` returns.
The end of the connection cancels them and ``run`` returns at once. Standard
library only; docs/protocol.md is the specification of the wire.
"""

import collections
import contextlib
import json
import logging
import os
import queue
import re
import select
import signal
import socket
import stat
import struct
import threading
import time
import traceback

__all__ = ["Worker", "Call", "Error", "Canceled", "NotSupervised", "ProtocolError", "attach"]
__version__ = "1.0.0"

# The wire: 20 bytes of header, then the name, then the payload.
HEADER = struct.Struct(">BBBBIIIHBB")  # magic version type flags length id arg nlen nfds codec
MAGIC, VERSION = 0xBD, 1
HELLO, READY, PING, PONG, CALL = 1, 2, 3, 4, 5
RESULT, ERROR, CANCEL, EVENT, DRAIN = 7, 8, 9, 11, 12
MORE, MUST = 1, 2
BYTES, JSON, TEXT = 0, 1, 2
CHUNK = 64 << 10  # bytes of a frame's body that every end accepts
MAX_MESSAGE = 16 << 20
LANE = 256 << 10  # bytes of short frames, and of events, that may wait to be written

# What a frame of each known type may have; "worker" and "supervisor" say who
# alone may send it. Other types are skipped, or refused if they have MUST.
SHAPES = {
    HELLO: {"payload", "json"},
    READY: {"worker"},
    PING: {"arg"},
    PONG: {"arg", "payload", "json"},
    CALL: {"call", "name", "payload", "arg", "more"},
    RESULT: {"call", "payload", "more"},
    ERROR: {"call", "name", "payload", "json"},
    CANCEL: {"call"},
    EVENT: {"worker", "name", "payload"},
    DRAIN: {"supervisor", "arg"},
}
NAME = re.compile(r"[!-~]{1,255}\Z")
NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)

log = logging.getLogger("brood")
Frame = collections.namedtuple("Frame", "type flags id arg codec name payload")


class NotSupervised(RuntimeError):
    """This process was not started as a worker by a brood supervisor."""


class ProtocolError(Exception):
    """The peer broke a rule of docs/protocol.md; offset counts from its first byte."""

    def __init__(self, rule, offset, detail):
        super().__init__(rule, offset, detail)
        self.rule, self.offset, self.detail = rule, offset, detail

    def __str__(self):
        return "protocol violation at byte %d: rule %s: %s" % (self.offset, self.rule, self.detail)


class Error(Exception):
    """Raised by a command: it failed, with a code (a name) that programs can read."""

    def __init__(self, code="error", message="", details=None):
        if not NAME.match(code):
            raise ValueError("an error code is 1 to 255 printable ASCII characters without spaces, got %r" % code)
        super().__init__(code, message, details)
        self.code, self.message, self.details = code, message, details

    def __str__(self):
        return "%s: %s" % (self.code, self.message) if self.message else self.code


class Canceled(Error):
    """Raised by a command that stopped because call.canceled was set."""

    def __init__(self, message="stopped at the caller's word"):
        super().__init__("canceled", message)


class Call:
    """A command to answer.

    command   its name
    payload   bytes, as they came; codec says how to read them
    canceled  threading.Event: the caller gave up, the time is up, or the
              connection is gone. Wait on it instead of sleeping.
    """

    def __init__(self, id, command, codec, payload, arg):
        self.id, self.command, self.codec, self.payload = id, command, codec, payload
        self.canceled = threading.Event()
        self._received = time.monotonic()
        self._deadline = self._received + arg / 1000 if arg else None
        self._begun = False  # a thread has it; guarded by the worker's lock
        self._why = "canceled"  # or "timeout"

    @property
    def text(self):
        """The payload as str; a JSON string is the string itself."""
        value = self.json() if self.codec == JSON and self.payload.lstrip().startswith(b'"') else None
        return self.payload.decode("utf-8") if value is None else value

    def json(self):
        """The payload as what its JSON stands for."""
        return json.loads(self.payload.decode("utf-8"))

    @property
    def args(self):
        """The words after the command's name: the payload is a JSON list of strings, or empty."""
        words = []
        if self.payload:
            words = self.json() if self.codec == JSON else None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Error("error", "%s takes a JSON list of strings" % self.command)
        return words

    def time_left(self):
        """Seconds until the caller's time is up, never below 0; None: there is no limit."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self):
        """Raise Canceled if the call is canceled."""
        if self.canceled.is_set():
            raise Canceled()


def attach(environ=os.environ):
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


def encode(type, id=0, arg=0, codec=BYTES, name="", payload=b"", flags=0):
    """One frame's bytes."""
    head = HEADER.pack(MAGIC, VERSION, type, flags, len(name) + len(payload), id, arg, len(name), 0, codec)
    return b"".join((head, name.encode("ascii"), payload))


def parse(buf, chunk=CHUNK):
    """The frame at the front of buf and its size; (None, 0) if it is not whole yet.

    Raises ProtocolError with the offset within the frame. The length is checked
    as soon as the header is there.
    """

    def require(ok, rule, at, detail, *args):
        if not ok:
            raise ProtocolError(rule, at, detail % args)

    if len(buf) > 0:
        require(buf[0] == MAGIC, "magic", 0, "a frame starts with 0xBD, got 0x%02X", buf[0])
    if len(buf) > 1:
        require(buf[1] == VERSION, "version", 1, "only version 1 is spoken here, got %d", buf[1])
    if len(buf) < HEADER.size:
        return None, 0
    _, _, type, flags, length, id, arg, nlen, nfds, codec = HEADER.unpack_from(buf)
    require(not flags & ~(MORE | MUST), "flags", 3, "unknown flag bits in 0x%02X", flags)
    require(length <= chunk, "length", 4, "a frame of %d bytes, at most %d are accepted", length, chunk)
    require(nlen <= min(255, length), "nlen", 16, "a name of %d bytes in a body of %d", nlen, length)
    require(nfds <= 16, "nfds", 18, "%d descriptors on one frame, at most 16 are accepted", nfds)
    shape = SHAPES.get(type)
    if shape is None:
        require(not flags & MUST, "must", 2, "type %d is not known here and says it must be", type)
    else:
        require(("call" in shape) == (id != 0), "id", 8, "type %d with id %d", type, id)
        require("name" in shape or nlen == 0, "name", 16, "type %d takes no name", type)
        require("payload" in shape or length == nlen, "payload", 4, "type %d takes no payload", type)
        require("arg" in shape or arg == 0, "arg", 12, "type %d takes no arg, got %d", type, arg)
        require("more" in shape or not flags & MORE, "more", 3, "type %d fits one frame", type)
        require(nfds == 0, "nfds", 18, "type %d takes no descriptors", type)
        require(codec <= TEXT, "codec", 19, "unknown codec %d", codec)
        require("json" not in shape or length == nlen or codec == JSON, "codec", 19, "type %d carries JSON", type)
    size = HEADER.size + length
    if len(buf) < size:
        return None, 0
    name = bytes(buf[HEADER.size:HEADER.size + nlen])
    for i, c in enumerate(name):
        require(0x21 <= c <= 0x7E, "name", HEADER.size + i, "a name is printable ASCII, got 0x%02X", c)
    return Frame(type, flags, id, arg, codec, name.decode("ascii"), bytes(buf[HEADER.size + nlen:size])), size


def _json(value, errors="strict"):
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", errors)


def _error(call_id, code, message, started, details=None):
    """The one ERROR frame of a call, with what does not fit left out."""
    body = {"message": message[:8192], "started": started}
    try:
        payload = _json(dict(body, details=details), "replace") if details is not None else None
    except (TypeError, ValueError, RecursionError):
        payload = None
    if payload is None or len(payload) + len(code) > CHUNK:
        payload = _json(body, "replace")
    return _Outgoing(ERROR, call_id, JSON, code, payload)


class _Outgoing:
    """A message on its way out, in as many frames as it takes."""

    def __init__(self, type, id, codec, name, payload):
        self.type, self.id, self.codec, self.name = type, id, codec, name
        self.payload, self.sent, self.whole = memoryview(payload), 0, False

    def frame(self, chunk=CHUNK):
        name = self.name if not self.sent else ""
        piece = self.payload[self.sent:self.sent + chunk - len(name)]
        self.sent += len(piece)
        self.whole = self.sent == len(self.payload)
        return encode(self.type, self.id, 0, self.codec, name, piece, 0 if self.whole else MORE)


class Worker:
    """This process as a worker.

    threads       commands at work at once; others that were accepted wait
    max_inflight  calls accepted at once; more are answered `overloaded`
    max_message   bytes accepted of one message, at least 16 MiB
    sock          instead of what BROOD_FD names
    """

    def __init__(self, sock=None, *, threads=8, max_inflight=64, max_message=MAX_MESSAGE):
        if threads < 1 or max_inflight < 1 or max_message < MAX_MESSAGE:
            raise ValueError("threads and max_inflight are at least 1, max_message %d" % MAX_MESSAGE)
        self.name = os.environ.get("BROOD_WORKER", "")  # web/2
        self.draining = threading.Event()  # no new calls are taken, soon run returns
        self._sock = attach() if sock is None else sock
        self._sock.setblocking(True)
        self._limits = {"max_message": max_message, "max_inflight": max_inflight, "chunk": CHUNK}
        self._thread_limit = threads
        self._commands = {}  # name: (function, help); fixed once started
        self._todo = queue.SimpleQueue()  # calls for the threads; None ends one
        self._bell = queue.SimpleQueue()  # wakes run; put may be called from a signal handler
        # Owned by the reader.
        self._greeted = False
        self._grace_ends = None  # then a drain cancels what is still open
        self._partial = None  # [first frame, bytearray] of the one CALL that is coming in pieces
        # Guarded by _lock. It is never held across a read or a write.
        self._lock = threading.Condition()  # notified when the writer has something to do
        self._started = self._ready = self._closing = self._ended = False
        self._failure = None  # the ProtocolError that ended the connection
        self._threads = []
        self._open = {}  # id: Call, until its last frame is about to be written
        self._urgent, self._urgent_size = [], 0  # encoded frames that go ahead of messages
        self._messages = collections.deque()  # _Outgoing
        self._events_size = 0  # bytes of events among _messages
        self._peer_max, self._peer_chunk = MAX_MESSAGE, CHUNK
        self._status, self._beat = "", None

    # What a program calls.

    def command(self, name=None, help=""):
        """Decorate the function that answers a command; its own name is the default."""

        def register(function):
            command = name or function.__name__
            if self._started:
                raise RuntimeError("commands are announced when the worker starts; register %r before" % command)
            if not NAME.match(command) or command in self._commands or len(self._commands) == 256:
                raise ValueError("command %r: a name is 1 to 255 printable ASCII characters without spaces,"
                                 " there once, and at most 256 of them" % command)
            self._commands[command] = (function, help)
            return function

        return register

    def start(self):
        """Say HELLO and begin to answer. run does it; a slow program does it before it warms up."""
        if self._started:
            return
        commands = [{"name": name, "help": help} for name, (_, help) in self._commands.items()]
        hello = _json(dict(protocol=[VERSION, VERSION], pid=os.getpid(), sdk="brood-python/" + __version__,
                           commands=commands, **self._limits))
        if len(hello) > CHUNK:
            raise ValueError("the help texts make a HELLO of %d bytes, at most %d fit" % (len(hello), CHUNK))
        with self._lock:
            self._started = True
            self._push(encode(HELLO, codec=JSON, payload=hello))
        self._reader = threading.Thread(target=self._read, name="brood-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="brood-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def ready(self):
        """Say that this worker serves from now on. run does it, once."""
        self.start()
        with self._lock:
            if not self._ready and not self._ended:
                self._push(encode(READY))
            self._ready = True

    def run(self):
        """Serve until drained, or until the supervisor is gone.

        In the main thread, and if the program has no handler of its own,
        SIGTERM drains. Raises ProtocolError if the supervisor broke a rule.
        """
        with self._sigterm():
            self.start()
            self.ready()
            while self._bell.get() == "sigterm":
                self.drain()
            with self._lock:
                self._closing = True
                self._lock.notify_all()
            self._writer.join()  # it has written everything, or the connection has ended
            self._end(None)
            self._reader.join()
            self._sock.close()
        if self._failure:
            raise self._failure

    def drain(self):
        """Take no new calls, finish the open ones, then end run."""
        with self._lock:
            self.draining.set()
            self._settle()

    def status(self, text):
        """Set the line that the supervisor shows for this worker."""
        self._status = text[:1024]
        return self._event("status", TEXT, self._status.encode("utf-8", "replace"))

    def event(self, name, obj=None):
        """Tell the supervisor something: str, bytes, or anything JSON can say. It fits one frame (64 KiB).

        Never waits. Returns False if it was dropped: the supervisor is gone, or does not read.
        """
        if not NAME.match(name):
            raise ValueError("event name %r: 1 to 255 printable ASCII characters without spaces" % name)
        codec, payload = _payload(obj)
        if len(name) + len(payload) > CHUNK:
            raise ValueError("an event of %d bytes, at most %d fit" % (len(name) + len(payload), CHUNK))
        return self._event(name, codec, payload)

    def beat(self):
        """Say that work goes on; the age of the last beat is told with each answer to a ping."""
        self._beat = time.monotonic()

    # The reader: reads, checks, answers what needs no command, and keeps the
    # calls' time. It never waits for a write.

    def _read(self):
        failure, buf, start = None, bytearray(), 0
        ready = select.poll()
        ready.register(self._sock, select.POLLIN)
        try:
            while True:
                wait = self._expire()
                if wait is not None and not ready.poll(wait):
                    continue
                piece = self._sock.recv(CHUNK)
                if not piece:
                    break
                buf += piece
                while True:
                    frame, size = parse(buf)
                    if not size:
                        break
                    self._take(frame)
                    del buf[:size]
                    start += size
        except ProtocolError as e:
            e.offset += start
            failure = e
        except OSError:
            pass  # reset: the peer closed without reading everything, no different from EOF
        except Exception as e:  # run must not wait for a reader that is gone
            failure = e
        self._end(failure)

    def _expire(self):
        """Cancel what is out of time; returns the milliseconds to wait before looking again, or None."""
        now = time.monotonic()
        nearest = None
        with self._lock:
            for call in list(self._open.values()):
                ends = call._deadline
                if self._grace_ends is not None and (ends is None or self._grace_ends < ends):
                    ends = self._grace_ends
                if ends is None or call.canceled.is_set():
                    continue
                if ends <= now:
                    self._cancel(call, "timeout" if ends == call._deadline else "canceled")
                elif nearest is None or ends < nearest:
                    nearest = ends
        return None if nearest is None else min(int((nearest - now) * 1000) + 1, 60000)

    def _take(self, frame):
        """Act on one frame."""
        kind = frame.type
        if not self._greeted and kind != HELLO:
            raise ProtocolError("hello-first", 2, "the first frame is HELLO, got type %d" % kind)
        if kind not in SHAPES:
            return
        if "worker" in SHAPES[kind]:
            raise ProtocolError("direction", 2, "type %d is not the supervisor's to send" % kind)
        if kind == CALL:
            self._take_part(frame)
        elif kind == PING:
            with self._lock:
                self._push(self._pong(frame.arg))
        elif kind == CANCEL:
            with self._lock:
                call = self._open.get(frame.id)
                if call and not call.canceled.is_set():
                    self._cancel(call, "canceled")
        elif kind == DRAIN:
            if frame.arg:
                self._grace_ends = time.monotonic() + frame.arg / 1000
            self.drain()
        elif kind == HELLO:
            self._take_hello(frame)
        elif kind == PONG:
            _object(frame)
        else:  # RESULT or ERROR, but no calls are made here
            raise ProtocolError("answer", 8, "an answer to call %d, which is not open" % frame.id)

    def _take_hello(self, frame):
        if self._greeted:
            raise ProtocolError("hello", 2, "HELLO comes once")
        if not frame.payload:
            raise ProtocolError("hello", 4, "HELLO carries JSON")
        hello = _object(frame)
        limits = [hello.get(key) or default for key, default in
                  (("max_message", MAX_MESSAGE), ("max_inflight", 64), ("chunk", CHUNK))]
        protocol = hello.get("protocol") or [VERSION, VERSION]
        if not isinstance(protocol, list) or not all(type(n) is int for n in limits + protocol):
            raise ProtocolError("json", HEADER.size, "HELLO: a limit or a version that is not a number")
        if len(protocol) != 2 or not protocol[0] <= VERSION <= protocol[1]:
            raise ProtocolError("hello", HEADER.size, "it speaks versions %s, this end speaks 1" % protocol)
        if limits[0] < 0 or limits[1] < 0 or limits[2] < CHUNK:
            raise ProtocolError("hello", HEADER.size, "limits %s" % limits)
        with self._lock:
            self._peer_max, _, self._peer_chunk = limits
        self._greeted = True

    def _take_part(self, frame):
        """Put a CALL together. One at a time may be unfinished, so one buffer is all a peer can fill."""
        more = frame.flags & MORE
        if self._partial and self._partial[0].id == frame.id:
            first, body = self._partial
            if frame.name or frame.arg or frame.codec != first.codec:
                raise ProtocolError("continuation", 12, "the next frame of a message has its type, id and codec only")
            if len(body) + len(frame.payload) > self._limits["max_message"]:
                raise ProtocolError("message", 4, "a message longer than %(max_message)d bytes" % self._limits)
            body += frame.payload
            if not more:
                self._partial = None
                self._accept(first, bytes(body))
            return
        if not frame.name:
            raise ProtocolError("name", 16, "CALL needs a name")
        if not more:
            self._accept(frame, frame.payload)
        elif self._partial:
            raise ProtocolError("interleave", 3, "call %d begins before another is whole" % frame.id)
        else:
            self._partial = [frame, bytearray(frame.payload)]

    def _accept(self, first, payload):
        """Take a whole call, or answer at once why not."""
        if first.id % 2 == 0:
            raise ProtocolError("call-id", 8, "the supervisor's calls have odd ids, got %d" % first.id)
        with self._lock:
            if first.id in self._open:
                raise ProtocolError("call-id", 8, "call %d is still open" % first.id)
            if self.draining.is_set():
                refusal = "unavailable", "draining"
            elif len(self._open) >= self._limits["max_inflight"]:
                refusal = "overloaded", "%d calls are at work" % len(self._open)
            elif first.name not in self._commands:
                refusal = "unknown_command", "there is no command %s here" % first.name
            else:
                call = self._open[first.id] = Call(first.id, first.name, first.codec, payload, first.arg)
                self._todo.put(call)
                if len(self._threads) < min(self._thread_limit, len(self._open)):
                    thread = threading.Thread(target=self._serve, name="brood-command", daemon=True)
                    self._threads.append(thread)
                    thread.start()
                return
            self._push(_error(first.id, *refusal, "no").frame())

    # The command threads.

    def _serve(self):
        while True:
            call = self._todo.get()
            if call is None:
                return
            with self._lock:
                if call.canceled.is_set():  # and so answered
                    continue
                call._begun = True
            answer = self._answer(call)
            with self._lock:
                if not self._ended:
                    self._messages.append(answer)
                    self._lock.notify_all()

    def _answer(self, call):
        """Run the command; exactly one message comes of it."""
        try:
            codec, payload = _payload(self._commands[call.command][0](call))
            if len(payload) > self._peer_max:
                raise Error("too_large", "the answer is %d bytes, %d are accepted" % (len(payload), self._peer_max))
            return _Outgoing(RESULT, call.id, codec, "", payload)
        except Error as e:
            code = call._why if isinstance(e, Canceled) else e.code
            return _error(call.id, code, str(e.message), "yes", e.details)
        except BaseException as e:  # even SystemExit: the thread has other calls to answer
            log.exception("command %s failed", call.command)
            return _error(call.id, "error", traceback.format_exception_only(type(e), e)[-1].strip(), "yes")

    # The writer: urgent frames first, then messages a chunk at a time.

    def _write(self):
        try:
            while True:
                with self._lock:
                    while not (self._urgent or self._messages or self._closing or self._ended):
                        self._lock.wait()
                    batch = self._batch()
                if not batch:
                    return
                self._sock.sendall(batch, NOSIGNAL)
        except OSError:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # the reader finds the peer's last words, then the end

    def _batch(self):
        """What one write carries. The caller holds the lock."""
        batch = bytearray().join(self._urgent)
        self._urgent, self._urgent_size = [], 0
        while self._messages and len(batch) < CHUNK:
            message = self._messages[0]
            batch += message.frame(self._peer_chunk)
            if not message.whole:
                continue
            self._messages.popleft()
            if message.type == EVENT:
                self._events_size -= len(message.payload)
            else:  # once its last frame is written the peer may use the id again
                del self._open[message.id]
                self._settle()
        return batch

    # What they share.

    @contextlib.contextmanager
    def _sigterm(self):
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

    def _push(self, frame):
        """Queue a short frame ahead of all messages. The caller holds the lock."""
        if self._ended:
            return
        if self._urgent and self._urgent_size + len(frame) > LANE:
            raise ProtocolError("unread", 0, "%d bytes of answers wait and the peer reads none" % self._urgent_size)
        self._urgent.append(frame)
        self._urgent_size += len(frame)
        self._lock.notify_all()

    def _event(self, name, codec, payload):
        with self._lock:
            if self._ended or self._events_size + len(payload) > LANE:
                return False
            self._events_size += len(payload)
            self._messages.append(_Outgoing(EVENT, 0, codec, name, payload))
            self._lock.notify_all()
            return True

    def _pong(self, token):
        """The caller holds the lock."""
        now, says = time.monotonic(), {}
        if self._open:
            says["inflight"] = len(self._open)
            says["oldest_ms"] = int((now - min(call._received for call in self._open.values())) * 1000)
        if self._beat is not None:
            says["beat_ms"] = int((now - self._beat) * 1000)
        if self._status:
            says["status"] = self._status
        return encode(PONG, arg=token, codec=JSON, payload=_json(says, "replace")) if says else encode(PONG, arg=token)

    def _cancel(self, call, why):
        """Tell the command, or answer for it if it has not begun. The caller holds the lock."""
        call._why = why
        call.canceled.set()
        if not call._begun:
            self._messages.append(_error(call.id, why, "it had not begun", "no"))
            self._lock.notify_all()

    def _settle(self):
        """Wake run if there is nothing left to do. The caller holds the lock."""
        if self.draining.is_set() and not self._open:
            self._bell.put("drained")

    def _end(self, failure):
        """End the connection, once: nothing is written any more and every open call is canceled."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._failure = True, failure
            for call in self._open.values():
                call.canceled.set()
            self._open.clear()
            self._urgent, self._urgent_size = [], 0
            self._messages.clear()
            for _ in self._threads:
                self._todo.put(None)
            self._lock.notify_all()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._bell.put("ended")


def _payload(value):
    """What a program returned as a codec and bytes."""
    if value is None:
        return BYTES, b""
    if isinstance(value, str):
        return TEXT, value.encode("utf-8")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return BYTES, bytes(value)
    return JSON, _json(value)


def _object(frame):
    """A frame's JSON object; {} if there is no payload."""
    try:
        value = json.loads(frame.payload.decode("utf-8")) if frame.payload else {}
        if isinstance(value, dict):
            return value
        detail = "not an object"
    except (ValueError, RecursionError) as e:
        detail = str(e)
    raise ProtocolError("json", HEADER.size + len(frame.name), "type %d: %s" % (frame.type, detail))
