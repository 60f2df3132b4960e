"""Tests of brood.py. The other end of a socketpair plays the supervisor.

Frames are packed and unpacked here by hand, so that the module is not
measured with its own ruler. Nothing sleeps to wait for a state: each test waits
for the frame or the event that tells it.
"""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

import brood

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "python" / "worker.py"
PROTOCOL = HERE.parents[1] / "docs" / "protocol.md"
PATIENCE = 20  # seconds until a test that waits in vain fails

HELLO, READY, PING, PONG, CALL, RESULT, ERROR, CANCEL, EVENT, DRAIN = 1, 2, 3, 4, 5, 7, 8, 9, 11, 12
MORE, MUST = 1, 2
BYTES, JSON, TEXT = 0, 1, 2
CHUNK = 65536


def pack(type, id=0, arg=0, codec=0, name=b"", payload=b"", flags=0, **wrong):
    """A frame; wrong replaces header fields."""
    head = {"magic": 0xBD, "version": 1, "type": type, "flags": flags, "length": len(name) + len(payload),
            "id": id, "arg": arg, "nlen": len(name), "nfds": 0, "codec": codec}
    head.update(wrong)
    return struct.pack(">BBBBIIIHBB", *head.values()) + name + payload


GREETING = pack(HELLO, codec=JSON, payload=b'{"protocol":[1,1],"worker":"web/2","generation":7}')


class Got:
    """A frame that the worker sent."""

    def __init__(self, head, body):
        magic, version, self.type, self.flags, self.length, self.id, self.arg, nlen, nfds, self.codec = head
        assert (magic, version, nfds) == (0xBD, 1, 0), head
        self.name, self.payload = body[:nlen].decode(), body[nlen:]

    def json(self):
        return json.loads(self.payload.decode())


class Supervisor:
    """The peer of one worker, in this process or, with sock, elsewhere."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)

    def send(self, *args, **kwargs):
        self.sock.sendall(pack(*args, **kwargs))

    def call(self, id, name, payload=b"", codec=JSON, arg=0):
        self.send(CALL, id=id, arg=arg, codec=codec if payload else BYTES, name=name.encode(), payload=payload)

    def exactly(self, n):
        got = b""
        while len(got) < n:
            piece = self.sock.recv(n - len(got))
            if not piece:
                raise EOFError
            got += piece
        return got

    def frame(self):
        head = struct.unpack(">BBBBIIIHBB", self.exactly(20))
        return Got(head, self.exactly(head[4]))

    def expect(self, type, id=None):
        got = self.frame()
        assert got.type == type and id in (None, got.id), (got.type, got.id, got.name, got.payload[:200])
        return got

    def greet(self):
        """Take the worker's HELLO and READY, and say HELLO."""
        self.sock.sendall(GREETING)
        self.expect(HELLO)
        self.expect(READY)

    def alive(self, token=77):
        """The connection still works, and nothing else was sent."""
        self.send(PING, arg=token)
        got = self.expect(PONG)
        assert got.arg == token, got.arg
        return got

    def failure(self, id):
        """The one ERROR of a call: code, started."""
        got = self.expect(ERROR, id)
        return got.name, got.json()["started"]

    def at_end(self):
        """The worker closed the connection and had nothing more to say."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:  # it closed without reading everything
            return True


class WorkerCase(unittest.TestCase):
    def worker(self, **options):
        """A worker that is not yet running, and its supervisor."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.sup = Supervisor(ours)
        self.w = brood.Worker(theirs, **options)
        self.release = threading.Event()  # lets busy commands go on
        self.addCleanup(self.release.set)
        self.busy = threading.Semaphore(0)  # released by each busy command that begins
        self.seen = []

        @self.w.command("echo")
        def echo(call):
            return call.payload

        @self.w.command("busy", help="until released")
        def busy(call):
            self.busy.release()
            self.release.wait(PATIENCE)
            return "released"

        @self.w.command("patient")
        def patient(call):
            self.seen.append(call)
            self.busy.release()
            call.canceled.wait(PATIENCE)
            call.check()

        return self.w

    def run_it(self, greet=True):
        """Run the worker in a thread; ended() is what run raised."""
        outcome = []

        def run():
            try:
                outcome.append(self.w.run())
            except Exception as e:
                outcome.append(e)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def ended():
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), "run has not returned")
            return outcome[0]

        def finish():  # no test sees what the one before it has yet to close
            self.release.set()
            self.sup.sock.close()
            thread.join(PATIENCE)

        self.addCleanup(finish)
        self.ended = ended
        if greet:
            self.sup.greet()

    def begun(self):
        self.assertTrue(self.busy.acquire(timeout=PATIENCE), "the command has not begun")

    def serving(self, **options):
        self.worker(**options)
        self.run_it()
        return self.sup


class Conversation(WorkerCase):
    def test_handshake(self):
        self.worker(max_inflight=5)
        self.run_it(greet=False)
        hello = self.sup.expect(HELLO, 0)  # it does not wait for ours
        self.assertEqual(hello.codec, JSON)
        says = hello.json()
        self.assertEqual(says["protocol"], [1, 1])
        self.assertEqual(says["pid"], os.getpid())
        self.assertEqual(says["sdk"], "brood-python/" + brood.__version__)
        self.assertEqual((says["max_message"], says["max_inflight"], says["chunk"]), (16 << 20, 5, CHUNK))
        self.assertIn({"name": "busy", "help": "until released"}, says["commands"])
        ready = self.sup.expect(READY, 0)
        self.assertEqual((ready.length, ready.arg, ready.codec), (0, 0, 0))
        self.sup.sock.sendall(GREETING)
        self.sup.alive()

    def test_hello_comes_before_events_queued_earlier(self):
        self.worker()
        self.w.status("warming up")
        self.w.start()
        self.run_it(greet=False)
        self.sup.expect(HELLO)
        self.assertEqual({self.sup.frame().type, self.sup.frame().type}, {READY, EVENT})
        self.sup.sock.sendall(GREETING)
        self.assertEqual(self.sup.alive().json()["status"], "warming up")

    def test_pings_are_answered_while_commands_are_busy(self):
        sup = self.serving(threads=1)
        self.assertEqual(sup.alive(1).payload, b"")
        sup.call(1, "busy")
        sup.call(3, "busy")
        self.begun()
        says = sup.alive(2).json()
        self.assertEqual(says["inflight"], 2)
        self.assertGreaterEqual(says["oldest_ms"], 0)
        self.assertNotIn("beat_ms", says)
        self.w.beat()
        self.assertGreaterEqual(sup.alive(4294967295).json()["beat_ms"], 0)
        self.release.set()
        self.assertEqual({sup.expect(RESULT).id for _ in range(2)}, {1, 3})

    def test_what_a_command_returns(self):
        self.worker()
        answers = {"none": None, "text": "h\u00e9", "bytes": b"\0\xff", "view": bytearray(b"ab"),
                   "json": {"a": [1, None]}, "number": 7}
        for name, value in answers.items():
            self.w.command(name)(lambda call, value=value: value)
        self.run_it()
        want = {"none": (BYTES, b""), "text": (TEXT, b"h\xc3\xa9"), "bytes": (BYTES, b"\0\xff"), "view": (BYTES, b"ab"),
                "json": (JSON, b'{"a":[1,null]}'), "number": (JSON, b"7")}
        for id, name in zip(range(1, 99, 2), answers):
            self.sup.call(id, name)
            got = self.sup.expect(RESULT, id)
            self.assertEqual((got.codec, got.payload), want[name], name)
            self.assertEqual((got.name, got.arg, got.flags), ("", 0, 0))

    def test_what_a_command_is_given(self):
        self.worker()
        given = {}

        @self.w.command()
        def look(call):
            given.update(args=call.args, json=call.json(), text=call.text, payload=call.payload, left=call.time_left())

        @self.w.command()
        def args(call):
            return call.args

        @self.w.command()
        def text(call):
            return call.text

        self.run_it()
        self.sup.call(1, "look", b'["a","b c"]')
        self.sup.expect(RESULT, 1)
        self.assertEqual(given, {"args": ["a", "b c"], "json": ["a", "b c"], "text": '["a","b c"]',
                                 "payload": b'["a","b c"]', "left": None})
        self.sup.call(3, "look", b'[]', arg=3600000)
        self.sup.expect(RESULT, 3)
        self.assertTrue(3000 < given["left"] <= 3600, given["left"])
        for id, codec, payload in ((15, JSON, ' "h\u00e9"'.encode()), (17, TEXT, b'"h"')):
            self.sup.call(id, "text", payload, codec=codec)
            given[id] = self.sup.expect(RESULT, id).payload.decode()
        self.assertEqual((given[15], given[17]), ("h\u00e9", '"h"'))
        self.sup.call(5, "args")
        self.assertEqual(self.sup.expect(RESULT, 5).payload, b"[]")
        for id, codec, payload in ((7, TEXT, b"words"), (9, JSON, b'{"a":1}'), (11, JSON, b"[1]"), (13, BYTES, b"[]")):
            self.sup.call(id, "args", payload, codec=codec)
            self.assertEqual(self.sup.failure(id), ("error", "yes"))

    def test_what_a_command_raises(self):
        self.worker()
        cases = {
            "own": (brood.Error("no_key", "k", {"key": 1}), "no_key", {"message": "k", "details": {"key": 1}}),
            "plain": (ValueError("bad"), "error", {"message": "ValueError: bad"}),
            "exit": (SystemExit(3), "error", {"message": "SystemExit: 3"}),
            "details": (brood.Error("c", "m", object()), "c", {"message": "m"}),
            "huge": (brood.Error("c", "m", "x" * CHUNK), "c", {"message": "m"}),
            "long": (brood.Error("c", "\u20ac" * CHUNK), "c", {"message": "\u20ac" * 8192}),
            "surrogate": (brood.Error("c", "\udc80"), "c", {"message": "?"}),
        }
        for name, (error, _, _) in cases.items():
            def fail(call, error=error):
                raise error
            self.w.command(name)(fail)
        self.w.command("nan")(lambda call: float("nan"))
        self.run_it()
        with self.assertLogs("brood", "ERROR") as logged:
            for id, (name, (_, code, body)) in zip(range(1, 99, 2), cases.items()):
                self.sup.call(id, name)
                got = self.sup.expect(ERROR, id)
                self.assertEqual((got.name, got.codec, got.json()), (code, JSON, dict(body, started="yes")), name)
            self.sup.call(1, "nan")
            self.assertEqual(self.sup.failure(1), ("error", "yes"))
        self.assertEqual(len(logged.records), 3)

    def test_unknown_command(self):
        sup = self.serving()
        sup.call(1, "nope")
        self.assertEqual(sup.failure(1), ("unknown_command", "no"))
        sup.alive()

    def test_more_calls_than_accepted(self):
        sup = self.serving(threads=1, max_inflight=2)
        for id in (1, 3, 5):
            sup.call(id, "busy")
        self.assertEqual(sup.failure(5), ("overloaded", "no"))
        self.assertEqual(sup.alive().json()["inflight"], 2)
        self.release.set()
        sup.expect(RESULT, 1)
        sup.expect(RESULT, 3)
        sup.call(5, "echo")
        sup.expect(RESULT, 5)

    def test_an_id_may_be_used_again_after_its_answer(self):
        sup = self.serving()
        for _ in range(200):
            sup.call(1, "echo")
            sup.expect(RESULT, 1)

    def test_unknown_types_are_skipped(self):
        sup = self.serving()
        for type in (0, 14, 99, 255):
            sup.send(type, id=9, arg=9, codec=200, name=b"x", payload=b"y" * 1000, flags=MORE)
        sup.alive()

    def test_unknown_fields_and_absent_limits(self):
        self.worker()
        self.run_it(greet=False)
        self.sup.expect(HELLO)
        self.sup.expect(READY)
        self.sup.send(HELLO, codec=JSON, payload=b'{"protocol":[1,9],"future":{"a":[]},"max_message":0}')
        self.sup.send(PONG, arg=5, codec=JSON, payload=b'{"future":1}')  # to a ping that was never sent
        self.sup.alive()

    def test_events(self):
        self.worker()
        self.run_it()
        self.assertTrue(self.w.status("indexing 40%"))
        got = self.sup.expect(EVENT, 0)
        self.assertEqual((got.name, got.codec, got.payload), ("status", TEXT, b"indexing 40%"))
        self.assertTrue(self.w.event("metric", {"rows": 3}))
        got = self.sup.expect(EVENT, 0)
        self.assertEqual((got.name, got.codec, got.payload), ("metric", JSON, b'{"rows":3}'))
        self.w.event("bare")
        self.assertEqual(self.sup.expect(EVENT, 0).length, 4)
        self.assertEqual(self.sup.alive().json()["status"], "indexing 40%")
        with self.assertRaises(ValueError):
            self.w.event("two words")
        with self.assertRaises(ValueError):
            self.w.event("large", b"x" * CHUNK)

    def test_events_never_wait(self):
        self.serving()
        sent = 0
        while self.w.event("large", b"x" * 60000):
            sent += 1
            self.assertLess(sent, 1000, "nothing bounds what waits")
        for _ in range(sent):
            self.sup.expect(EVENT)
        self.sup.alive()

    def test_empty_events_are_bounded_too(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        early, sent = brood.Worker(theirs), 0
        for event in (early.event, self.serving() and self.w.event):
            taken = 0
            while event("log"):
                taken += 1
                self.assertLess(taken * 23, 1 << 20, "nothing bounds what waits")
            sent = taken
        for _ in range(sent):
            self.sup.expect(EVENT)
        self.sup.alive()

    def test_after_the_end_events_are_dropped(self):
        sup = self.serving()
        sup.sock.close()
        self.assertIsNone(self.ended())
        self.assertFalse(self.w.status("anyone there?"))


class LongMessages(WorkerCase):
    def message(self, id, payload, chunk=CHUNK):
        """Send a CALL echo in pieces; yields before each continuation."""
        name = b"echo"
        cut = chunk - len(name)
        self.sup.send(CALL, id=id, name=name, payload=payload[:cut], flags=MORE)
        for at in range(cut, len(payload), chunk):
            yield
            last = at + chunk >= len(payload)
            self.sup.send(CALL, id=id, payload=payload[at:at + chunk], flags=0 if last else MORE)

    def result(self, id):
        """A RESULT put together, and its number of frames."""
        got = self.sup.expect(RESULT, id)
        payload, n = got.payload, 1
        while got.flags & MORE:
            got = self.sup.expect(RESULT, id)
            self.assertLessEqual(got.length, CHUNK)
            self.assertEqual((got.name, got.arg), ("", 0))
            payload += got.payload
            n += 1
        return payload, n

    def test_echo_of_1_MiB(self):
        self.serving()
        payload = os.urandom(1 << 20)
        for _ in self.message(1, payload):
            pass
        self.assertEqual(self.result(1), (payload, 16))

    def test_single_frames_come_between(self):
        sup = self.serving()
        for i, _ in enumerate(self.message(1, b"x" * 5000, chunk=1000)):
            sup.alive(i)
            sup.call(3, "echo", b"short")
            self.assertEqual(sup.expect(RESULT, 3).payload, b"short")
            sup.send(CANCEL, id=1)  # not whole, so not open yet
        self.assertEqual(self.result(1), (b"x" * 5000, 1))

    def test_a_pong_overtakes_a_long_answer(self):
        self.worker()
        self.w.command("long")(lambda call: bytes(8 << 20))
        self.run_it()
        pong, answered = self.w._core._pong, threading.Event()
        self.w._core._pong = lambda token: (pong(token), answered.set())[0]
        self.sup.call(1, "long")
        self.sup.expect(RESULT, 1)
        self.sup.send(PING, arg=5)
        self.assertTrue(answered.wait(PATIENCE))  # what is read from here on was written before, or is the PONG
        rest = 127
        while self.sup.frame().type != PONG:
            rest -= 1
        self.assertGreater(rest, 64, "the ping waited behind the answer")
        for _ in range(rest):
            last = self.sup.expect(RESULT, 1)
        self.assertFalse(last.flags & MORE)

    def test_ends_that_both_only_write(self):
        sup = self.serving(threads=2)
        payload = os.urandom(1 << 18)
        for id in range(1, 129, 2):
            for _ in self.message(id, payload):
                pass
        for _ in range(64):
            self.assertEqual(self.result(None)[0], payload)
        sup.alive()

    def test_an_answer_larger_than_the_caller_takes(self):
        self.worker()
        self.run_it(greet=False)
        self.sup.send(HELLO, codec=JSON, payload=b'{"max_message":1000}')
        self.sup.expect(HELLO)
        self.sup.expect(READY)
        self.sup.call(1, "echo", b"x" * 1000)
        self.assertEqual(self.result(1), (b"x" * 1000, 1))
        self.sup.call(3, "echo", b"x" * 1001)
        self.assertEqual(self.sup.failure(3), ("too_large", "yes"))

    def test_everything_byte_by_byte(self):
        self.serving()
        stream = b"".join((
            pack(PING, arg=1), pack(CALL, id=1, name=b"echo", payload=b"ab", flags=MORE), pack(99, payload=b"skip"),
            pack(PING, arg=2), pack(CALL, id=1, payload=b"cd")))
        for i in range(len(stream)):
            self.sup.sock.sendall(stream[i:i + 1])
        self.assertEqual([self.sup.expect(PONG).arg for _ in range(2)], [1, 2])
        self.assertEqual(self.result(1), (b"abcd", 1))

    def test_parse_needs_the_whole_frame(self):
        frame = pack(CALL, id=1, name=b"echo", payload=b"ab")
        for i in range(len(frame)):
            self.assertEqual(brood.parse(frame[:i]), (None, 0))
        got, size = brood.parse(frame + b"next")
        self.assertEqual(brood.parse(b"before" + frame, at=6), (got, size))
        self.assertEqual((got.name, got.payload, size), ("echo", b"ab", len(frame)))


class Ends(WorkerCase):
    def test_cancel(self):
        sup = self.serving()
        sup.call(1, "patient")
        self.begun()
        sup.send(CANCEL, id=1)
        self.assertEqual(sup.failure(1), ("canceled", "yes"))
        sup.alive()

    def test_cancel_of_a_call_that_waits_for_a_thread(self):
        sup = self.serving(threads=1)
        sup.call(1, "busy")
        self.begun()
        sup.call(3, "busy")
        sup.send(CANCEL, id=3)
        sup.send(CANCEL, id=3)
        self.assertEqual(sup.failure(3), ("canceled", "no"))
        sup.call(3, "echo", b"again")
        self.release.set()
        self.assertEqual(sup.expect(RESULT, 1).payload, b"released")
        self.assertEqual(sup.expect(RESULT, 3).payload, b"again")
        sup.alive()

    def test_cancel_of_a_command_that_finishes_anyway(self):
        sup = self.serving()
        sup.call(1, "busy")
        self.begun()
        sup.send(CANCEL, id=1)
        sup.alive()
        self.release.set()
        self.assertEqual(sup.expect(RESULT, 1).payload, b"released")

    def test_cancel_that_crosses_the_answer(self):
        sup = self.serving()
        sup.call(1, "echo")
        sup.expect(RESULT, 1)
        sup.send(CANCEL, id=1)
        sup.send(CANCEL, id=4)
        sup.alive()

    def test_time_up(self):
        sup = self.serving(threads=1)
        sup.call(1, "patient", arg=30)
        sup.call(3, "patient", arg=1)
        self.assertEqual(sup.failure(3), ("timeout", "no"))
        self.assertEqual(sup.failure(1), ("timeout", "yes"))
        sup.call(5, "echo", arg=4294967295)
        sup.expect(RESULT, 5)

    def test_drain(self):
        sup = self.serving(threads=1)
        sup.call(1, "busy")
        sup.call(3, "echo", b"waiting")
        self.begun()
        self.assertFalse(self.w.draining.is_set())
        sup.send(DRAIN)
        sup.call(5, "echo")
        self.assertEqual(sup.failure(5), ("unavailable", "no"))
        self.assertTrue(self.w.draining.is_set())
        sup.alive()
        sup.send(DRAIN)
        self.release.set()
        self.assertEqual(sup.expect(RESULT, 1).payload, b"released")
        self.assertEqual(sup.expect(RESULT, 3).payload, b"waiting")
        self.assertTrue(sup.at_end())
        self.assertIsNone(self.ended())

    def test_drain_with_nothing_to_do(self):
        sup = self.serving()
        sup.send(DRAIN, arg=5000)
        self.assertTrue(sup.at_end())
        self.assertIsNone(self.ended())

    def test_drain_writes_out_what_came_with_it(self):
        """The reader has acted on all that it read, and run is woken before it writes."""
        sup = self.serving()
        flush = self.w._flush

        def late():
            if threading.current_thread() is self.w._reader and self.w.draining.is_set():
                with self.w._lock:
                    self.w._can_send.wait_for(lambda: self.w._core.ended, PATIENCE)
            flush()

        self.w._flush = late
        sup.sock.sendall(pack(DRAIN) + pack(CALL, id=1, name=b"echo") + pack(PING, arg=5))
        self.assertEqual(sup.failure(1), ("unavailable", "no"))
        self.assertEqual(sup.expect(PONG).arg, 5)
        self.assertTrue(sup.at_end())
        self.assertIsNone(self.ended())

    def test_drain_writes_a_long_answer_out(self):
        self.worker()
        self.w.command("long")(lambda call: bytes(4 << 20))
        self.run_it()
        self.sup.call(1, "long")
        more = self.sup.expect(RESULT, 1).flags
        self.sup.send(DRAIN)
        while more:
            more = self.sup.expect(RESULT, 1).flags
        self.assertTrue(self.sup.at_end())
        self.assertIsNone(self.ended())

    def test_drain_cancels_after_its_grace(self):
        sup = self.serving(threads=1)
        sup.call(1, "patient")
        sup.call(3, "patient")
        self.begun()
        sup.send(DRAIN, arg=1)
        self.assertEqual({sup.failure(None), sup.failure(None)}, {("canceled", "yes"), ("canceled", "no")})
        self.assertTrue(sup.at_end())
        self.assertIsNone(self.ended())

    def test_drain_from_within(self):
        self.worker()
        self.w.command("bye")(lambda call: self.w.drain())
        self.run_it()
        self.sup.call(1, "bye")
        self.sup.expect(RESULT, 1)
        self.assertTrue(self.sup.at_end())
        self.assertIsNone(self.ended())

    def test_supervisor_gone(self):
        sup = self.serving()
        sup.call(1, "patient")
        sup.call(3, "busy")
        self.begun()
        self.begun()
        sup.sock.close()
        self.assertIsNone(self.ended())  # busy commands are not waited for
        self.assertTrue(self.seen[0].canceled.is_set())

    def test_supervisor_gone_before_run(self):
        self.worker()
        self.sup.sock.close()
        self.w.start()
        self.w.ready()
        self.run_it(greet=False)
        self.assertIsNone(self.ended())

    def test_supervisor_gone_while_an_answer_is_written(self):
        self.worker()
        self.w.command("long")(lambda call: bytes(4 << 20))
        self.run_it()
        self.sup.call(1, "long")
        self.sup.expect(RESULT, 1)
        self.sup.sock.close()
        self.assertIsNone(self.ended())

    def test_supervisor_gone_in_mid_frame(self):
        sup = self.serving()
        sup.sock.sendall(pack(PING)[:13])
        sup.sock.close()
        self.assertIsNone(self.ended())

    def test_threads_end_with_the_connection(self):
        sup = self.serving(threads=3)
        for id in (1, 3, 5):
            sup.call(id, "echo")
            sup.expect(RESULT, id)
        threads = self.w._threads + [self.w._reader]
        sup.sock.close()
        self.ended()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), thread.name)


class Rules(WorkerCase):
    """Each rule of docs/protocol.md that a supervisor can break."""

    def breaks(self, rule, offset, *frames, greet=True):
        """The frames end the connection at a byte counted from the first of them."""
        self.worker()
        with self.subTest(rule, offset=offset):
            self.run_it(greet)
            if not greet:
                self.sup.expect(HELLO)
                self.sup.expect(READY)
            try:
                self.sup.sock.sendall(b"".join(frames))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it did not read to the end
            error = self.ended()
            self.assertIsInstance(error, brood.ProtocolError)
            self.assertEqual((error.rule, error.offset - (len(GREETING) if greet else 0)), (rule, offset), error)
            self.assertTrue(self.sup.at_end())

    def test_frames(self):
        self.breaks("magic", 0, b"GET / HTTP/1.1\r\n")
        self.breaks("magic", 20, pack(PING), b"x")
        self.breaks("version", 1, pack(PING, version=2))
        self.breaks("flags", 3, pack(PING, flags=4))
        self.breaks("length", 4, pack(PING, length=CHUNK + 1))
        self.breaks("length", 4, pack(CALL, id=1, length=0xFFFFFFFF))
        self.breaks("length", 4, pack(99, length=CHUNK + 1))
        self.breaks("nlen", 16, pack(CALL, id=1, name=b"a", nlen=2))
        self.breaks("nlen", 16, pack(CALL, id=1, name=b"a" * 256))
        self.breaks("nfds", 18, pack(PING, nfds=1))
        self.breaks("nfds", 18, pack(99, nfds=17))
        self.breaks("must", 2, pack(99, flags=MUST))
        self.breaks("must", 2, pack(14, id=1, flags=MUST))
        self.breaks("id", 8, pack(CALL, name=b"echo"))
        self.breaks("id", 8, pack(PING, id=1))
        self.breaks("name", 16, pack(PING, name=b"x"))
        self.breaks("name", 16, pack(CALL, id=1))
        self.breaks("name", 22, pack(CALL, id=1, name=b"tw o"))
        self.breaks("name", 20, pack(99, name=b"\x7f"))
        self.breaks("payload", 4, pack(PING, payload=b"x"))
        self.breaks("arg", 12, pack(CANCEL, id=1, arg=1))
        self.breaks("more", 3, pack(PING, flags=MORE))
        self.breaks("codec", 19, pack(CALL, id=1, name=b"echo", codec=3))
        self.breaks("codec", 19, pack(PONG, codec=TEXT, payload=b"{}"))

    def test_connection(self):
        self.breaks("hello-first", 2, pack(PING), greet=False)
        self.breaks("hello-first", 2, pack(99), greet=False)
        self.breaks("hello", 2, GREETING)
        self.breaks("hello", 4, pack(HELLO), greet=False)
        for says in ({"protocol": [2, 3]}, {"protocol": [1]}, {"chunk": 1024}, {"max_message": -1},
                     {"max_inflight": -1}):
            self.breaks("hello", 20, pack(HELLO, codec=JSON, payload=json.dumps(says).encode()), greet=False)
        for payload in (b"{", b"[]", b"\xff", b'{"chunk":"big"}', b'{"protocol":1}', b'{"chunk":true}', b"[" * 60000):
            self.breaks("json", 20, pack(HELLO, codec=JSON, payload=payload), greet=False)
        self.breaks("json", 20, pack(PONG, codec=JSON, payload=b"nope"))
        self.breaks("direction", 2, pack(READY))
        self.breaks("direction", 2, pack(EVENT, name=b"status"))

    def test_messages(self):
        start = pack(CALL, id=1, name=b"echo", payload=b"ab", flags=MORE)
        at = len(start)
        self.breaks("interleave", at + 3, start, pack(CALL, id=3, name=b"echo", flags=MORE))
        self.breaks("continuation", at + 12, start, start)
        self.breaks("continuation", at + 12, start, pack(CALL, id=1, arg=1))
        self.breaks("continuation", at + 12, start, pack(CALL, id=1, codec=TEXT))
        long = [pack(CALL, id=1, payload=bytes(CHUNK), flags=MORE)] * 256
        self.breaks("message", at + 255 * (20 + CHUNK) + 4, start, *long)

    def test_calls(self):
        self.breaks("call-id", 8, pack(CALL, id=2, name=b"echo"))
        call = pack(CALL, id=1, name=b"patient")
        self.breaks("call-id", len(call) + 8, call, call)
        self.breaks("answer", 8, pack(RESULT, id=2))
        self.breaks("answer", 8, pack(ERROR, id=2, name=b"error"))

    def test_answers_that_are_never_read(self):
        sup = self.serving()
        try:
            for _ in range(1000):
                sup.sock.sendall(pack(PING) * 1000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertEqual(self.ended().rule, "unread")


class Registering(WorkerCase):
    def test_names(self):
        self.worker()
        for name in ("two words", "h\u00e9", "a" * 256, "echo"):
            with self.assertRaises(ValueError):
                self.w.command(name)(print)
        with self.assertRaises(ValueError):
            brood.Error("two words")

    def test_too_late(self):
        self.serving()
        with self.assertRaises(RuntimeError):
            self.w.command("late")(print)

    def test_a_hello_that_does_not_fit(self):
        self.worker()
        self.w.command("talkative", help="x" * CHUNK)(print)
        with self.assertRaises(ValueError):
            self.w.start()


class Attaching(unittest.TestCase):
    def refused(self, value, saying):
        environ = {} if value is None else {"BROOD_FD": value}
        with self.assertRaisesRegex(brood.NotSupervised, saying):
            brood.attach(environ)
        self.assertEqual(environ, {})

    def test_refusals(self):
        self.refused(None, "brood run")
        for value in ("", "3", "0:5", "2:5", "3:", ":3", "-1:5", "3:5 ", "3:5:7", "\u0663:5", "9999999999:1"):
            self.refused(value, "<fd>:<inode>")
        with tempfile.TemporaryFile() as file:
            self.refused("%d:%d" % (file.fileno(), os.fstat(file.fileno()).st_ino), "another file")
            closed = os.dup(file.fileno())
            os.close(closed)
            self.refused("%d:1" % closed, "Bad file descriptor")
        for pair in (socket.socketpair(type=socket.SOCK_DGRAM), (socket.socket(), socket.socket())):
            with pair[0] as sock, pair[1]:
                inode = os.fstat(sock.fileno()).st_ino
                self.refused("%d:%d" % (sock.fileno(), inode), "stream socket of AF_UNIX")
                self.refused("%d:%d" % (sock.fileno(), inode + 1), "another file")
                os.fstat(sock.fileno())  # and not closed

    def test_attached(self):
        ours, theirs = socket.socketpair()
        fd = theirs.detach()
        os.set_inheritable(fd, True)
        environ = {"BROOD_FD": "%d:%d" % (fd, os.fstat(fd).st_ino), "PATH": "/bin"}
        with ours, brood.attach(environ) as sock:
            self.assertEqual((sock.fileno(), environ), (fd, {"PATH": "/bin"}))
            self.assertFalse(os.get_inheritable(fd))
            ours.sendall(b"x")
            self.assertEqual(sock.recv(1), b"x")


@unittest.skipUnless(EXAMPLE.exists(), "examples/python is not here")
class Example(unittest.TestCase):
    def setUp(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.sup = Supervisor(ours)
        with theirs:
            environ = dict(os.environ, BROOD_WORKER="web/1", PYTHONDONTWRITEBYTECODE="1",
                           BROOD_FD="%d:%d" % (theirs.fileno(), os.fstat(theirs.fileno()).st_ino))
            self.process = subprocess.Popen([sys.executable, str(EXAMPLE)], env=environ, pass_fds=[theirs.fileno()])
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.sup.greet()

    def ask(self, id, name, *words):
        self.sup.call(id, name, json.dumps(words).encode())
        return self.sup.frame()

    def test_commands(self):
        self.assertEqual(self.ask(1, "echo", "a", "b c").payload, b"a b c")
        self.assertEqual(self.ask(3, "pid").payload, str(self.process.pid).encode())
        self.assertEqual(self.ask(5, "sleep", "1ms").payload, b"slept 1ms")
        self.assertEqual(self.ask(7, "sleep", "0.001").payload, b"slept 0.001s")
        self.assertEqual(self.ask(9, "fail").json(), {"message": "failed as asked", "started": "yes"})
        self.assertEqual(self.ask(11, "fail", "on", "purpose").json()["message"], "on purpose")
        self.assertIn("duration", self.ask(13, "sleep", "soon").json()["message"])
        stats = self.ask(15, "stats").json()
        self.assertEqual((stats["calls"], stats["pid"]), (8, self.process.pid))
        self.sup.call(17, "sleep", b'["1h"]')
        self.sup.send(CANCEL, id=17)
        self.assertEqual(self.sup.expect(ERROR, 17).name, "canceled")
        self.sup.sock.close()
        self.assertEqual(self.process.wait(PATIENCE), 0)

    def test_sigterm_drains(self):
        self.sup.call(1, "sleep", b'["50ms"]')
        self.sup.alive()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.sup.expect(RESULT, 1).payload, b"slept 50ms")
        self.assertTrue(self.sup.at_end())
        self.assertEqual(self.process.wait(PATIENCE), 0)

    def test_alone(self):
        environ = {k: v for k, v in os.environ.items() if k != "BROOD_FD"}
        alone = subprocess.run([sys.executable, str(EXAMPLE)], env=environ, stderr=subprocess.PIPE, timeout=PATIENCE)
        self.assertEqual(alone.returncode, 1)
        self.assertIn(b"NotSupervised: BROOD_FD is not set", alone.stderr)


@unittest.skipUnless(PROTOCOL.exists(), "docs/protocol.md is not here")
class Document(unittest.TestCase):
    def test_its_session_is_made_of_frames(self):
        session = re.search(r"```frames\n(.*?)```", PROTOCOL.read_text(), re.S).group(1)
        streams = {"supervisor": b"", "worker": b""}
        for line in session.splitlines():
            if line.startswith(("supervisor", "worker")):
                sender = line.split()[0]
            elif line.strip():
                streams[sender] += bytes.fromhex(line.split("|")[0][6:])
        for stream in streams.values():
            self.assertTrue(stream)
            while stream:
                frame, size = brood.parse(stream)
                name, payload = frame.name.encode(), frame.payload
                again = pack(frame.type, frame.id, frame.arg, frame.codec, name, payload, frame.flags)
                self.assertEqual(stream[:size], again)
                stream = stream[size:]


if __name__ == "__main__":
    unittest.main()
