"""What the package says of bytes, for the fuzz targets that hold it against the Go implementation.

Standard input has questions, standard output an answer to each: a byte `f` (a frame) or `c` (all that a supervisor
sends), four bytes of length, and the bytes. The answer is a line: `more`, `frame SIZE`, `ok`, or `RULE OFFSET`.
"""

import struct
import sys

from brood import ProtocolError, parse
from brood.core import Core, Host
from brood.request import Request


class Everything(dict):
    """Commands of every name, none of them announced."""

    def __contains__(self, name):
        return True


class Busy(Host):
    """Begins each command and ends none."""

    def make(self, id, command, codec, payload, arg, fds):
        request = Request(id, command, codec, payload, arg, fds)
        request._begun = True
        return request


def frame(data):
    _, size = parse(data)
    return "frame %d" % size if size else "more"


def conversation(data):
    core = Core(Busy(), Everything())
    core.outgoing()
    core.receive(data)
    return "ok"


def main():
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        head = questions.read(5)
        if len(head) < 5:
            return
        data = questions.read(struct.unpack(">I", head[1:])[0])
        try:
            answer = (frame if head[:1] == b"f" else conversation)(data)
        except ProtocolError as e:
            answer = "%s %d" % (e.rule, e.offset)
        except Exception as e:  # whatever it is, the other side has none
            answer = "raised %r" % e
        answers.write(answer.encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
