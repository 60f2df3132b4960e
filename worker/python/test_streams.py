"""Tests of streamed answers, descriptors, calls of the worker's own and listening sockets."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

import brood
from brood.core import Core, Host, Own
from brood.wire import parse
from test_brood import (BYTES, CALL, CANCEL, CHUNK, ERROR, EVENT, GREETING, JSON, MORE, PATIENCE, RESULT, TEXT, HERE, Supervisor,
                        WorkerCase, pack)

DATA, WINDOW, RETIRE = 6, 10, 13
CREDIT = 262144


class Streams(WorkerCase):
    def stream(self, **options):
        self.worker(**options)

        @self.w.command()
        def count(call):
            for i in range(int(call.args[0])):
                yield "%d\n" % (i + 1)

        @self.w.command()
        def flood(call):
            size = int(call.args[0])
            try:
                while True:
                    self.busy.release()
                    yield bytes(size)
            except brood.Canceled:
                self.seen.append("canceled")
                raise

        @self.w.command()
        def mixed(call):
            call.progress(1, 3, "begun")
            call.send({"a": 1}, "note")
            call.send(b"x" * (CHUNK + 1))
            yield None
            yield brood.Progress(3, 3)
            return "done"

        @self.w.command()
        def late(call):
            self.seen.append(call)

        self.run_it()
        return self.sup

    def test_pieces_come_in_order_before_the_answer(self):
        sup = self.stream()
        sup.call(1, "count", b'["3"]')
        for i in range(3):
            got = sup.expect(DATA, 1)
            self.assertEqual((got.name, got.codec, got.arg, got.payload), ("", TEXT, 0, b"%d\n" % (i + 1)))
        self.assertEqual(sup.expect(RESULT, 1).payload, b"")

    def test_all_kinds_of_pieces(self):
        sup = self.stream()
        sup.call(1, "mixed")
        got = [sup.expect(DATA, 1) for _ in range(6)]
        self.assertEqual([g.name for g in got], ["progress", "note", "", "", "", "progress"])
        self.assertEqual(got[0].json(), {"done": 1, "total": 3, "text": "begun"})
        self.assertEqual(got[1].json(), {"a": 1})
        self.assertEqual([got[2].length, got[3].length, got[4].length], [CHUNK, 1, 0])
        self.assertEqual(sup.expect(RESULT, 1).payload, b"done")

    def test_credit(self):
        sup = self.stream()
        sup.call(1, "flood", b'["980"]')  # 1000 with its header
        for _ in range(CREDIT // 1000):
            sup.expect(DATA, 1)
        sup.alive()  # no more comes
        sup.send(WINDOW, id=1, arg=855)  # with the 144 left, a byte short of a piece
        sup.alive()
        sup.send(WINDOW, id=1, arg=1)
        sup.expect(DATA, 1)
        sup.alive()
        sup.send(CANCEL, id=1)  # it waits for credit, and is told
        self.assertEqual(sup.failure(1), ("canceled", "yes"))
        self.assertEqual(self.seen, ["canceled"])
        sup.send(WINDOW, id=1, arg=1000)  # it crossed the end
        sup.alive()

    def test_time_ends_a_stream_that_waits(self):
        sup = self.stream()
        sup.call(1, "flood", b'["60000"]', arg=100)
        pieces = 0
        while (got := sup.frame()).type == DATA:
            pieces += 1
        self.assertLessEqual(pieces, 4)  # fewer if it was slow
        self.assertEqual((got.type, got.id, got.name), (ERROR, 1, "timeout"))

    def test_credit_without_end_fills_no_memory(self):
        sup = self.stream()
        sup.call(1, "flood", b'["65000"]')
        sup.send(WINDOW, id=1, arg=0x7FFFFFFF - CREDIT)
        for _ in range(1000):
            if not self.busy.acquire(timeout=0.3):
                break
        else:
            self.fail("nothing bounds what waits")
        sup.sock.close()
        self.ended()

    def test_after_the_answer_nothing_is_sent(self):
        sup = self.stream()
        sup.call(1, "late")
        sup.expect(RESULT, 1)
        with self.assertRaises(RuntimeError):
            self.seen[0].send("too late")

    def test_a_long_answer_goes_behind_its_pieces(self):
        self.worker()

        @self.w.command()
        def both(call):
            for _ in range(3):
                yield bytes(50000)
            return bytes(5 << 20)

        self.run_it()
        self.sup.call(1, "both")
        for _ in range(3):
            self.sup.expect(DATA, 1)
        while self.sup.expect(RESULT, 1).flags & MORE:
            pass

    def test_retire(self):
        sup = self.stream()
        self.w.retire("memory", "512 MiB")
        got = sup.expect(RETIRE, 0)
        self.assertEqual((got.name, got.json()), ("memory", {"text": "512 MiB"}))
        for _ in range(20000):  # a second changes nothing, and so is not sent
            self.w.retire("age")
        sup.call(1, "echo", b"still here")
        sup.expect(RESULT, 1)
        with self.assertRaises(ValueError):
            self.w.retire("two words")

    def test_inline(self):
        self.worker(threads=1)
        here = []

        @self.w.command(inline=True)
        def quick(call):
            here.append(threading.current_thread().name)
            return call.payload

        self.run_it()
        self.sup.call(1, "busy")
        self.begun()
        self.sup.call(3, "quick", b"now")
        self.assertEqual(self.sup.expect(RESULT, 3).payload, b"now")
        self.assertEqual(here, ["brood-reader"])
        self.release.set()
        self.sup.expect(RESULT, 1)


class OwnCalls(WorkerCase):
    def calling(self, *args, **kwargs):
        """Make a call in a thread; outcome() is what came of it."""
        got = []

        def run():
            try:
                got.append(self.w.call(*args, **kwargs))
            except brood.Error as e:
                got.append(e)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def outcome():
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive())
            return got[0]

        return outcome

    def test_answers(self):
        sup = self.serving()
        outcome = self.calling("lookup", {"key": 1}, timeout=60)
        call = sup.expect(CALL)
        self.assertEqual((call.id, call.name, call.json()), (2, "lookup", {"key": 1}))
        self.assertTrue(59000 < call.arg <= 60000, call.arg)
        sup.send(RESULT, id=2, codec=TEXT, payload=b"found")
        self.assertEqual(outcome().text, "found")
        outcome = self.calling("lookup")
        sup.send(ERROR, id=sup.expect(CALL).id, codec=JSON, name=b"no_key",
                 payload=b'{"message":"m","details":[1],"started":"no"}')
        e = outcome()
        self.assertEqual((e.code, e.message, e.details, e.started), ("no_key", "m", [1], "no"))
        outcome = self.calling("lookup")
        sup.expect(CALL)
        sup.sock.close()
        self.assertEqual((outcome().code, outcome().started), ("lost", "unknown"))
        with self.assertRaises(brood.Error) as caught:
            self.w.call("lookup")
        self.assertEqual((caught.exception.code, caught.exception.started), ("lost", "no"))

    def test_long_answers_both_ways(self):
        sup = self.serving()
        outcome = self.calling("lookup", bytes(200000))
        got = sup.expect(CALL, 2)
        size = len(got.payload)
        while got.flags & MORE:
            got = sup.expect(CALL, 2)
            self.assertEqual((got.name, got.arg), ("", 0))
            size += len(got.payload)
        self.assertEqual(size, 200000)
        sup.send(RESULT, id=2, payload=b"a" * CHUNK, flags=MORE)
        sup.alive()
        sup.send(RESULT, id=2, payload=b"b")
        self.assertEqual(outcome().payload, b"a" * CHUNK + b"b")

    def test_streams(self):
        sup = self.serving()
        outcome = self.calling("tail")
        id = sup.expect(CALL).id
        for piece in (b"a", b"b"):
            sup.send(DATA, id=id, codec=TEXT, payload=piece)
        sup.send(DATA, id=id, name=b"progress", codec=JSON, payload=b"{}")
        sup.send(RESULT, id=id)
        got = outcome()
        self.assertEqual((got.codec, got.payload), (TEXT, b"ab"))
        outcome = self.calling("tail")
        id = sup.expect(CALL).id
        for _ in range(3):
            sup.send(DATA, id=id, payload=bytes(CHUNK))
            self.assertEqual(sup.expect(WINDOW, id).arg, 20 + CHUNK)
        sup.send(RESULT, id=id, payload=b"end")
        self.assertEqual(len(outcome().payload), 3 * CHUNK + 3)
        pieces = []
        outcome = self.calling("tail", piece=pieces.append)
        id = sup.expect(CALL).id
        sup.send(DATA, id=id, name=b"progress", codec=JSON, payload=b'{"done":1}')
        sup.send(RESULT, id=id, payload=b"end")
        self.assertEqual((outcome().payload, pieces[0].name, pieces[0].json()), (b"end", "progress", {"done": 1}))

    def test_a_call_out_of_time_is_canceled(self):
        sup = self.serving()
        outcome = self.calling("slow", timeout=0.05)
        id = sup.expect(CALL).id
        sup.expect(CANCEL, id)
        self.assertEqual((outcome().code, outcome().started), ("timeout", "unknown"))
        sup.send(DATA, id=id, payload=b"dropped")
        sup.send(ERROR, id=id, name=b"canceled")
        sup.alive()

    def test_given_up_while_it_waits(self):
        """Neither CALL nor CANCEL goes."""
        sup = self.serving()
        events = 0
        while self.w.event("log", b"x" * 60000):
            events += 1
        with self.assertRaises(brood.Error) as caught:
            self.w.call("late", b"x" * 100000, timeout=0.02)
        self.assertEqual((caught.exception.code, caught.exception.started), ("timeout", "no"))
        for _ in range(events):
            sup.expect(EVENT)
        sup.alive()
        self.assertEqual(self.w._core._own, {})

    def test_given_up_at_any_time(self):
        """CANCEL follows the last frame of its call."""
        for given in range(6):
            for size in (10, 200000):
                with self.subTest(given=given, size=size):
                    core = Core(Host(), {}, sdk="")
                    core.outgoing()
                    core.receive(GREETING)
                    own = Own(print, print)
                    core.call(own, "x", BYTES, bytes(size))
                    frames = []

                    def take():
                        batch = core.outgoing()[0]
                        while batch:
                            frame, n = parse(batch)
                            frames.append((frame.type, frame.id, frame.flags))
                            batch = batch[n:]

                    for _ in range(given):
                        take()
                    self.assertEqual(core.abandon(own), not given)
                    for _ in range(10):
                        take()
                    calls = [(CALL, 2, MORE)] * 3 + [(CALL, 2, 0)] if size > CHUNK else [(CALL, 2, 0)]
                    self.assertEqual(frames, calls + [(CANCEL, 2, 0)] if given else [])
                    self.assertEqual(bool(core._own), bool(given))

    def test_an_answer_before_the_call_is_whole(self):
        for answer in (pack(RESULT, id=2), pack(RESULT, id=2, flags=MORE), pack(DATA, id=2), pack(ERROR, id=2, name=b"no")):
            core = Core(Host(), {}, sdk="")
            core.receive(GREETING)
            core.outgoing()
            core.call(Own(print, print), "x", BYTES, bytes(200000))
            core.outgoing()
            with self.assertRaises(brood.ProtocolError) as caught:
                core.receive(answer)
            self.assertEqual((caught.exception.rule, caught.exception.offset), ("answer", len(GREETING) + 8))

    def test_cancels_are_not_the_peers_fault(self):
        core = Core(Host(), {}, sdk="")
        core.receive(pack(1, codec=JSON, payload=b'{"max_inflight":65536}'))
        own = [Own(print, print) for _ in range(14000)]
        for each in own:
            core.call(each, "x", BYTES, b"")
        while core.outgoing()[0]:
            pass
        for each in own:
            core.abandon(each)
        core.receive(pack(3))
        got = core.outgoing()[0]
        self.assertEqual(len(got), 20 * len(own) + 20)
        self.assertEqual(parse(got[-20:])[0].type, 4)

    def test_too_many(self):
        self.worker()
        self.run_it(greet=False)
        self.sup.sock.sendall(pack(1, codec=JSON, payload=b'{"max_inflight":1,"max_message":10}'))
        self.sup.expect(1)
        self.sup.expect(2)
        self.sup.alive()
        outcome = self.calling("one")
        id = self.sup.expect(CALL).id
        with self.assertRaises(brood.Error) as caught:
            self.w.call("two")
        self.assertEqual(caught.exception.code, "overloaded")
        with self.assertRaises(brood.Error) as caught:
            self.w.call("two", b"eleven bytes")
        self.assertEqual(caught.exception.code, "too_large")
        self.sup.send(RESULT, id=id)
        outcome()


class StreamRules(WorkerCase):
    def breaks(self, rule, at, *frames, **options):
        """The last frame breaks the rule at its byte at."""
        self.worker(**options)
        self.run_it()
        with self.subTest(rule, at=at):
            self.sup.sock.sendall(b"".join(frames))
            error = self.ended()
            self.assertIsInstance(error, brood.ProtocolError)
            start = len(GREETING) + sum(map(len, frames[:-1]))
            self.assertEqual((error.rule, error.offset - start), (rule, at), error)

    def test_rules(self):
        call = pack(CALL, id=1, name=b"patient")
        self.breaks("window", 12, pack(WINDOW, id=1))
        self.breaks("window", 12, pack(WINDOW, id=1, arg=0x80000000))
        self.breaks("window", 12, call, pack(WINDOW, id=1, arg=0x7FFFFFFF))
        self.breaks("id", 8, pack(WINDOW, arg=1))
        self.breaks("answer", 8, pack(DATA, id=2))
        self.breaks("answer", 8, pack(DATA, id=1, payload=b"x"))
        self.breaks("direction", 2, pack(RETIRE, name=b"age"))
        self.breaks("more", 3, pack(DATA, id=2, flags=MORE))
        self.breaks("nfds", 18, pack(ERROR, id=1, name=b"x", nfds=1))
        self.breaks("fds", 18, pack(CALL, id=1, name=b"echo", nfds=1))
        self.breaks("fds", 18, pack(CALL, id=1, name=b"echo", flags=MORE), pack(CALL, id=1, nfds=1))

    def test_data_beyond_credit(self):
        sup = self.serving()
        threading.Thread(target=lambda: self.assertRaises(brood.Error, self.w.call, "x", piece=lambda p: self.release.wait()),
                         daemon=True).start()
        id = sup.expect(CALL).id
        piece = pack(DATA, id=id, payload=bytes(CHUNK - 20))
        sup.sock.sendall(piece * 4)
        sup.alive()
        sup.sock.sendall(pack(DATA, id=id))
        self.assertEqual(self.ended().rule, "credit")


class Descriptors(WorkerCase):
    def passing(self):
        self.worker(fds=4)

        @self.w.command()
        def back(call):
            return brood.Answer(len(call.fds), fds=call.fds)

        @self.w.command()
        def keep(call):
            self.seen += call.take_fds()

        @self.w.command()
        def pieces(call):
            for fd in call.fds:
                yield brood.Answer(fds=[fd])

        self.run_it(greet=False)
        self.assertEqual(self.sup.expect(1).json()["fds"], 4)
        self.sup.expect(2)
        self.sup.send(1, codec=JSON, payload=b'{"fds":16}')
        self.files = [os.memfd_create("f%d" % i) for i in range(4)]
        for fd in self.files:
            self.addCleanup(os.close, fd)
        self.addCleanup(lambda: self.sup.sock.close())
        return self.sup

    def give(self, frame, fds):
        socket.send_fds(self.sup.sock, [frame], fds)

    def take(self):
        """The next frame, and the inodes of what came with it."""
        head, fds, _, _ = socket.recv_fds(self.sup.sock, 20, 16)
        inodes = [os.fstat(fd).st_ino for fd in fds]
        for fd in fds:
            os.close(fd)
        head = struct.unpack(">BBBBIIIHBB", head)
        return head[2], head[8], self.sup.exactly(head[4]), inodes

    def inodes(self, *which):
        return [os.fstat(self.files[i]).st_ino for i in which]

    def count(self):
        return len(os.listdir("/proc/self/fd"))

    def wait_for_count(self, want):
        """What is closed behind an answer is closed soon."""
        ends = time.monotonic() + PATIENCE
        while self.count() != want and time.monotonic() < ends:
            time.sleep(0.001)
        self.assertEqual(self.count(), want)

    def test_there_and_back(self):
        sup = self.passing()
        before = self.count()
        for id in range(1, 201, 2):
            self.give(pack(CALL, id=id, name=b"back", nfds=3), [self.files[i] for i in (2, 0, 1)])
            self.assertEqual(self.take(), (RESULT, 3, b"3", self.inodes(2, 0, 1)))
        self.wait_for_count(before)
        self.give(pack(CALL, id=1, name=b"pieces", nfds=2), self.files[:2])
        self.assertEqual([self.take()[3] for _ in range(3)], [self.inodes(0), self.inodes(1), []])
        self.give(pack(CALL, id=1, name=b"keep", nfds=1), self.files[:1])
        self.take()
        self.assertEqual([os.fstat(fd).st_ino for fd in self.seen], self.inodes(0))
        self.assertFalse(os.get_inheritable(self.seen[0]))
        os.close(self.seen[0])
        self.give(pack(CALL, id=1, name=b"unknown", nfds=2), self.files[:2])
        sup.expect(ERROR, 1)
        self.wait_for_count(before)

    def test_frames_behind_each_other(self):
        sup = self.passing()
        self.give(pack(CALL, id=1, name=b"back", nfds=1), self.files[:1])
        sup.sock.sendall(pack(3))
        self.give(pack(CALL, id=3, name=b"back", nfds=2) + pack(3), self.files[1:3])
        got = sorted(inodes for _, _, _, inodes in (self.take() for _ in range(4)))
        self.assertEqual(got, sorted([[], [], self.inodes(0), self.inodes(1, 2)]))

    def test_wrong_counts(self):
        for frame, fds in ((pack(CALL, id=1, name=b"back", nfds=2), 1), (pack(CALL, id=1, name=b"back", nfds=1), 2),
                           (pack(3), 1), (pack(CALL, id=1, name=b"back", nfds=5), 4)):
            before = self.count()
            sup = self.passing()
            self.give(frame + pack(3), self.files[:fds] + self.files[:1] * (fds - 4))
            error = self.ended()
            self.assertIsInstance(error, brood.ProtocolError)
            self.assertEqual(error.rule, "fds", frame)
            sup.sock.close()
            self.wait_for_count(before + 4)  # the files

    def test_descriptors_of_an_earlier_frame(self):
        """What came with half a PING does not belong to the CALL behind it."""
        before = self.count()
        sup = self.passing()
        self.give(pack(3)[:10], self.files[:1])
        sup.sock.sendall(pack(3)[10:] + pack(CALL, id=1, name=b"back", nfds=1))
        error = self.ended()
        self.assertIsInstance(error, brood.ProtocolError)
        self.assertEqual(error.rule, "fds")
        sup.sock.close()
        self.wait_for_count(before + 4)  # the files

    def test_half_a_frame_with_descriptors(self):
        self.passing()
        before = self.count()
        self.give(pack(CALL, id=1, name=b"back", nfds=2)[:10], self.files[:2])
        self.sup.sock.close()
        self.ended()
        self.wait_for_count(before - 2)  # nor the connection's ends

    def test_more_than_the_supervisor_takes(self):
        self.worker()
        self.w.command("give")(lambda call: brood.Answer(fds=[0]))
        self.run_it()
        self.sup.call(1, "give")
        self.assertIn("descriptors", self.sup.expect(ERROR, 1).json()["message"])


class Listeners(unittest.TestCase):
    def test_listeners(self):
        program = ("import brood, os; found = brood.listeners(); again = brood.listeners()\n"
                   "print({k: v.getsockname() for k, v in sorted(found.items())}, again, os.get_inheritable(3))\n"
                   "assert 'LISTEN_FDS' not in os.environ")
        with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
            script = ("exec 3<&%d 4<&%d; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:; exec '%s' -c \"$0\""
                      % (a.fileno(), b.fileno(), sys.executable))
            out = subprocess.run(["bash", "-c", script, program], cwd=HERE, pass_fds=[a.fileno(), b.fileno()],
                                 capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(out.stdout.strip(),
                             "%r {} False" % {"1": b.getsockname(), "http": a.getsockname()}, out.stderr)

    def test_none(self):
        self.assertEqual(brood.listeners({"LISTEN_PID": "1", "LISTEN_FDS": "1"}), {})
        self.assertEqual(brood.listeners({}), {})
        with self.assertRaises(ValueError):
            brood.listeners({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})


if __name__ == "__main__":
    unittest.main()
