"""The golden vectors of docs/vectors, held against the package."""

import json
import pathlib
import threading
import unittest

import brood
from brood import core, wire
from test_brood import EVENT, HELLO, READY, WorkerCase, pack

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "vectors"


def load(name):
    return json.loads((VECTORS / name).read_text())


@unittest.skipUnless(VECTORS.exists(), "docs/vectors is not here")
class Vectors(WorkerCase):
    def test_frames(self):
        for v in load("frames.json"):
            with self.subTest(v["about"]):
                data, payload = bytes.fromhex(v["hex"]), bytes.fromhex(v["payload"])
                frame, size = brood.parse(data)
                self.assertEqual(size, len(data))
                self.assertEqual(frame, (v["type"], v["flags"], v["id"], v["arg"], v["nfds"], v["codec"], v["name"], payload))
                self.assertEqual(brood.encode(v["type"], v["id"], v["arg"], v["codec"], v["name"], payload, v["flags"],
                                              v["nfds"]), data)
                self.assertEqual(v["type_name"] != "", v["type"] in wire.SHAPES)
                for i in range(len(data)):
                    self.assertEqual(brood.parse(data[:i]), (None, 0))

    def test_breaches(self):
        for v in load("breaches.json"):
            with self.subTest(v["about"]):
                with self.assertRaises(brood.ProtocolError) as broken:
                    brood.parse(bytes.fromhex(v["hex"]))
                self.assertEqual((broken.exception.rule, broken.exception.offset), (v["rule"], v["at"]))

    def test_breaches_a_byte_at_a_time(self):
        greeting = pack(HELLO, codec=brood.JSON, payload=b"{}")
        for v in load("breaches.json"):
            with self.subTest(v["about"]):
                machine = core.Core(core.Host(), {})
                machine.receive(greeting)
                with self.assertRaises(brood.ProtocolError) as broken:
                    for byte in bytes.fromhex(v["hex"]):
                        machine.receive(bytes([byte]))
                self.assertEqual((broken.exception.rule, broken.exception.offset), (v["rule"], v["at"] + len(greeting)))

    def test_sessions(self):
        for session in load("sessions.json"):
            with self.subTest(session["name"]):
                self.play(session)

    def play(self, session):
        w = self.worker()
        w._commands.clear()

        @w.command()
        def echo(call):
            try:
                return " ".join(call.args)
            except (brood.Error, ValueError):
                return brood.Answer(call.payload, call.codec)

        @w.command()
        def sleep(call):
            call.canceled.wait({"1h": 3600, "300ms": 0.3}[call.args[0]])
            call.check()

        @w.command()
        def fail(call):
            raise brood.Error("asked", " ".join(call.args))

        @w.command()
        def count(call):
            for i in range(int(call.args[0])):
                yield "%d\n" % (i + 1)

        self.run_it(greet=False)
        sup = self.sup
        sup.expect(HELLO)
        for step in session["steps"]:
            if "expect" in step:
                self.check(step["expect"])
            elif "ends" in step:
                self.ends(step["ends"])
            elif step.get("close"):
                sup.sock.close()
                self.assertIsNone(self.ended())
            else:
                data = bytes.fromhex(step["send"])
                try:
                    for _ in range(step.get("times", 1)):
                        for piece in ([data] if not step.get("bytewise") else (bytes([b]) for b in data)):
                            sup.sock.sendall(piece)
                except (BrokenPipeError, ConnectionResetError):
                    pass

    def said(self):
        while True:
            got = self.sup.frame()
            if got.type not in (READY, EVENT):
                return got

    def check(self, want):
        got = self.said()
        for field in ("type", "id", "name", "arg", "flags", "codec"):
            if field in want:
                self.assertEqual(getattr(got, field), want[field], field)
        if "payload" in want:
            self.assertEqual(got.payload.hex(), want["payload"])
        if "json" in want:
            self.assertEqual({key: got.json().get(key) for key in want["json"]}, want["json"])

    def ends(self, want):
        with self.assertRaises((EOFError, ConnectionResetError)):
            self.said()
        error = self.ended()
        if "rule" in want:
            self.assertEqual((error.rule, error.offset), (want["rule"], want.get("at", 0)), error)
        else:
            self.assertIsNone(error)


if __name__ == "__main__":
    unittest.main()
