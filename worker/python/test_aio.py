"""Tests of brood.aio. The supervisor is played by a thread-free asyncio peer over the same socketpair."""

import asyncio
import json
import os
import signal
import socket
import unittest

import brood
from brood import aio
from test_brood import (CALL, CANCEL, CHUNK, DRAIN, ERROR, EVENT, GREETING, HELLO, JSON, MORE, PATIENCE, PING, PONG, READY,
                        RESULT, Got, pack)
from test_streams import CREDIT, DATA, RETIRE, WINDOW
import struct


class Peer:
    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)
        self.loop = asyncio.get_running_loop()

    async def bytes(self, data):
        await asyncio.wait_for(self.loop.sock_sendall(self.sock, data), PATIENCE)

    async def send(self, *args, **kwargs):
        await self.bytes(pack(*args, **kwargs))

    async def exactly(self, n):
        got = b""
        while len(got) < n:
            piece = await asyncio.wait_for(self.loop.sock_recv(self.sock, n - len(got)), PATIENCE)
            if not piece:
                raise EOFError
            got += piece
        return got

    async def frame(self):
        head = struct.unpack(">BBBBIIIHBB", await self.exactly(20))
        return Got(head[:8] + (0,) + head[9:], await self.exactly(head[4]))

    async def expect(self, type, id=None):
        got = await self.frame()
        assert got.type == type and id in (None, got.id), (got.type, got.id, got.name, got.payload[:200])
        return got

    async def alive(self):
        await self.send(PING, arg=7)
        return await self.expect(PONG)

    async def failure(self, id):
        got = await self.expect(ERROR, id)
        return got.name, got.json()["started"]


class Aio(unittest.IsolatedAsyncioTestCase):
    async def serving(self, **options):
        ours, theirs = socket.socketpair()
        self.w = w = aio.Worker(theirs, **options)
        self.go, self.begun, self.seen = asyncio.Event(), asyncio.Event(), []

        @w.command()
        async def echo(call):
            return brood.Answer(call.payload, call.codec)

        @w.command()
        def plain(call):
            return call.text

        @w.command()
        async def wait(call):
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.seen.append("canceled")
                raise
            return "went"

        @w.command()
        async def count(call):
            for i in range(int(call.args[0])):
                yield "%d\n" % (i + 1)

        @w.command()
        async def flood(call):
            try:
                while True:
                    yield bytes(980)
            finally:
                self.seen.append("ended")

        @w.command()
        async def parts(call):
            await call.progress(1, 2)
            await call.send(b"x" * (CHUNK + 1))
            return "done"

        @w.command()
        async def fail(call):
            raise brood.Error("no_key", "k", [1])

        @w.command()
        async def wrong(call):
            raise ValueError("bad")

        @w.command()
        async def lookup(call):
            got = await self.w.call("lookup", call.text, timeout=10)
            return got.text

        @w.command()
        async def slow(call):
            await self.w.call("slow", timeout=0.02)

        @w.command()
        async def tail(call):
            return [piece.text async for piece in self.w.call_stream("tail")]

        @w.command()
        async def back(call):
            return brood.Answer(fds=call.fds)

        self.task = asyncio.ensure_future(w.run())
        self.sup = Peer(ours)
        self.addCleanup(ours.close)
        await self.sup.bytes(GREETING[:4] + GREETING[4:])
        self.hello = (await self.sup.expect(HELLO)).json()
        await self.sup.expect(READY)
        return self.sup

    async def ended(self):
        try:
            return await asyncio.wait_for(asyncio.shield(self.task), PATIENCE)
        except brood.ProtocolError as e:
            return e

    async def asyncTearDown(self):
        self.sup.sock.close()
        await self.ended()

    async def test_commands(self):
        sup = await self.serving()
        self.assertEqual(self.hello["pid"], os.getpid())
        for id, name, payload, want in ((1, b"echo", b'["a"]', b'["a"]'), (3, b"plain", b'"h"', b"h")):
            await sup.send(CALL, id=id, codec=JSON, name=name, payload=payload)
            self.assertEqual((await sup.expect(RESULT, id)).payload, want)
        await sup.send(CALL, id=5, name=b"fail")
        self.assertEqual((await sup.expect(ERROR, 5)).json(), {"message": "k", "started": "yes", "details": [1]})
        with self.assertLogs("brood", "ERROR"):
            await sup.send(CALL, id=7, name=b"wrong")
            self.assertEqual((await sup.expect(ERROR, 7)).json()["message"], "ValueError: bad")
        await sup.send(CALL, id=9, name=b"nope")
        self.assertEqual(await sup.failure(9), ("unknown_command", "no"))

    async def test_many_at_once_and_beyond(self):
        sup = await self.serving(max_inflight=2)
        for id in (1, 3, 5):
            await sup.send(CALL, id=id, name=b"wait")
        self.assertEqual(await sup.failure(5), ("overloaded", "no"))
        self.assertEqual((await sup.alive()).json()["inflight"], 2)
        self.go.set()
        await sup.expect(RESULT, 1)
        await sup.expect(RESULT, 3)

    async def test_cancel_and_time(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, name=b"wait")
        await sup.send(CALL, id=3, name=b"wait", arg=30)
        await self.begun.wait()
        self.assertEqual(await sup.failure(3), ("timeout", "yes"))
        await sup.send(CANCEL, id=1)
        self.assertEqual(await sup.failure(1), ("canceled", "yes"))
        self.assertEqual(self.seen, ["canceled", "canceled"])
        await sup.send(CALL, id=1, name=b"wait")
        await sup.send(CANCEL, id=1)
        self.assertEqual((await sup.expect(ERROR, 1)).name, "canceled")

    async def test_streams_and_credit(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, codec=JSON, name=b"count", payload=b'["2"]')
        self.assertEqual([(await sup.expect(DATA, 1)).payload for _ in range(2)], [b"1\n", b"2\n"])
        await sup.expect(RESULT, 1)
        await sup.send(CALL, id=1, name=b"flood")
        for _ in range(CREDIT // 1000):
            await sup.expect(DATA, 1)
        await sup.alive()
        await sup.send(WINDOW, id=1, arg=856)
        await sup.expect(DATA, 1)
        await sup.send(CANCEL, id=1)
        self.assertEqual(await sup.failure(1), ("canceled", "yes"))
        self.assertEqual(self.seen, ["ended"])
        await sup.send(CALL, id=1, name=b"parts")
        self.assertEqual([(await sup.expect(DATA, 1)).length for _ in range(3)][1:], [CHUNK, 1])
        await sup.expect(RESULT, 1)

    async def test_long_messages_and_pings(self):
        sup = await self.serving()
        size = 5 << 20
        await sup.send(CALL, id=1, name=b"echo", payload=b"x" * (CHUNK - 4), flags=MORE)
        sending = asyncio.ensure_future(sup.bytes(
            pack(CALL, id=1, payload=b"x" * CHUNK, flags=MORE) * (size // CHUNK) + pack(CALL, id=1, payload=b"end")))
        got = b""
        while True:
            frame = await sup.expect(RESULT, 1)
            got += frame.payload
            if not frame.flags & MORE:
                break
        await sending
        self.assertEqual(len(got), CHUNK - 4 + size + 3)

    async def test_own_calls(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, codec=2, name=b"lookup", payload=b"key")
        call = await sup.expect(CALL)
        self.assertEqual((call.id, call.name, call.payload), (2, "lookup", b"key"))
        await sup.send(DATA, id=2, codec=2, payload=b"va")
        await sup.send(RESULT, id=2, codec=2, payload=b"lue")
        while (got := await sup.frame()).type == WINDOW:
            pass
        self.assertEqual((got.type, got.payload), (RESULT, b"value"))
        await sup.send(CALL, id=3, name=b"slow")
        id = (await sup.expect(CALL)).id
        await sup.expect(CANCEL, id)
        self.assertEqual(await sup.failure(3), ("timeout", "yes"))
        await sup.send(ERROR, id=id, name=b"canceled")
        await sup.send(CALL, id=5, name=b"tail")
        id = (await sup.expect(CALL)).id
        for word in (b"a", b"b"):
            await sup.send(DATA, id=id, codec=2, payload=word)
        await sup.send(RESULT, id=id, codec=2, payload=b"c")
        while (got := await sup.frame()).type == WINDOW:
            pass
        self.assertEqual(got.json(), ["a", "b", "c"])

    async def test_events(self):
        sup = await self.serving()
        self.w.status("busy")
        self.assertEqual((await sup.expect(EVENT)).payload, b"busy")
        for _ in range(20000):
            self.w.retire("age")
        self.assertEqual((await sup.expect(RETIRE)).payload, b"")
        self.w.beat()
        self.assertEqual(set((await sup.alive()).json()), {"beat_ms", "status"})

    async def test_drain(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, name=b"wait")
        await self.begun.wait()
        await sup.send(DRAIN)
        await sup.send(CALL, id=3, name=b"echo")
        self.assertEqual(await sup.failure(3), ("unavailable", "no"))
        self.assertTrue(self.w.draining.is_set())
        self.go.set()
        await sup.expect(RESULT, 1)
        self.assertIsNone(await self.ended())

    async def test_drain_cancels_after_its_grace(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, name=b"wait")
        await sup.send(DRAIN, arg=10)
        self.assertEqual(await sup.failure(1), ("canceled", "yes"))
        self.assertIsNone(await self.ended())

    async def test_sigterm_drains(self):
        await self.serving()
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertIsNone(await self.ended())

    async def test_supervisor_gone(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, name=b"wait")
        await self.begun.wait()
        sup.sock.close()
        self.assertIsNone(await self.ended())
        self.assertEqual(self.seen, ["canceled"])

    async def test_broken_rules(self):
        sup = await self.serving()
        await sup.send(CALL, id=2, name=b"echo")
        self.assertEqual((await self.ended()).rule, "call-id")

    async def test_answers_that_are_never_read(self):
        sup = await self.serving()
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                await sup.bytes(pack(PING) * 1000)
        self.assertEqual((await self.ended()).rule, "unread")

    async def test_a_grant_that_is_never_read(self):
        sup = await self.serving()
        await sup.send(CALL, id=1, codec=2, name=b"lookup", payload=b"key")
        id = (await sup.expect(CALL)).id
        self.w._core.grant = lambda *_: brood.wire.broke("unread", 0, "as if so much waited")
        await sup.send(DATA, id=id, payload=bytes(CHUNK))
        self.assertEqual((await self.ended()).rule, "unread")
        self.assertTrue(self.w._core.ended)

    async def test_a_call_given_up_while_it_waits(self):
        sup = await self.serving()
        events = 0
        while self.w.event("log", bytes(60000)):
            events += 1
        with self.assertRaises(brood.Error) as caught:
            await self.w.call("late", timeout=0.02)
        self.assertEqual((caught.exception.code, caught.exception.started), ("timeout", "no"))
        for _ in range(events):
            await sup.expect(EVENT)
        await sup.alive()

    async def test_descriptors(self):
        sup = await self.serving(fds=2)
        self.assertEqual(self.hello["fds"], 2)
        sup.sock.setblocking(True)
        with open("/proc/self/stat") as a:
            socket.send_fds(sup.sock, [pack(CALL, id=1, name=b"unknown", nfds=1)], [a.fileno()])
            sup.sock.setblocking(False)
            self.assertEqual((await sup.failure(1))[0], "unknown_command")
            socket.send_fds(sup.sock, [pack(CALL, id=1, name=b"back", nfds=1)], [a.fileno()])
            self.assertIn("the supervisor takes 0", (await sup.expect(ERROR, 1)).json()["message"])


if __name__ == "__main__":
    unittest.main()
