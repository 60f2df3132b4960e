"""Frames: 20 bytes of header, then the name, then the payload. docs/protocol.md is the specification."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple, NoReturn, Optional, Tuple, Union

HEADER = struct.Struct(">BBBBIIIHBB")  # magic version type flags length id arg nlen nfds codec
MAGIC, VERSION = 0xBD, 1

HELLO, READY, PING, PONG, CALL, DATA, RESULT = 1, 2, 3, 4, 5, 6, 7
ERROR, CANCEL, WINDOW, EVENT, DRAIN, RETIRE = 8, 9, 10, 11, 12, 13
MORE, MUST = 1, 2  # flags
BYTES, JSON, TEXT = 0, 1, 2  # codecs

CHUNK = 64 << 10  # bytes of a frame's body that every end accepts
MAX_MESSAGE = 16 << 20
MAX_NAME = 255
MAX_FDS = 16
CREDIT = 256 << 10  # bytes of DATA that may be on their way when a call begins
MAX_CREDIT = (1 << 31) - 1
FD_COST = 4 << 10  # of credit, for each descriptor

NAME = re.compile(r"[!-~]{1,255}\Z")
_BAD_IN_NAME = re.compile(rb"[^!-~]")

# What a frame of a known type may have; "worker" and "supervisor" say who alone
# may send it. Other types are skipped, or refused if they have MUST.
SHAPES = {
    HELLO: {"payload", "json"},
    READY: {"worker"},
    PING: {"arg"},
    PONG: {"arg", "payload", "json"},
    CALL: {"call", "name", "payload", "arg", "more", "fds"},
    DATA: {"call", "name", "payload", "fds"},
    RESULT: {"call", "payload", "more", "fds"},
    ERROR: {"call", "name", "payload", "json"},
    CANCEL: {"call"},
    WINDOW: {"call", "arg"},
    EVENT: {"worker", "name", "payload"},
    DRAIN: {"supervisor", "arg"},
    RETIRE: {"worker", "name", "payload", "json"},
}
# The same as a row each, for the parser: in the order of the checks in _check.
_ROWS = {t: tuple(what in s for what in ("call", "name", "payload", "arg", "more", "fds", "json"))
         for t, s in SHAPES.items()}

Buffer = Union[bytes, bytearray, memoryview]


class ProtocolError(Exception):
    """The peer broke a rule of docs/protocol.md; offset counts from its first byte."""

    def __init__(self, rule: str, offset: int, detail: str) -> None:
        super().__init__(rule, offset, detail)
        self.rule, self.offset, self.detail = rule, offset, detail

    def __str__(self) -> str:
        return "protocol violation at byte %d: rule %s: %s" % (self.offset, self.rule, self.detail)


class Frame(NamedTuple):
    type: int
    flags: int
    id: int
    arg: int
    nfds: int
    codec: int
    name: str
    payload: bytes


def cost(name: str, payload: Buffer, nfds: int) -> int:
    """What a DATA takes of its call's credit."""
    return HEADER.size + len(name) + len(payload) + FD_COST * nfds


def encode(type: int, id: int = 0, arg: int = 0, codec: int = BYTES, name: str = "", payload: Buffer = b"",
           flags: int = 0, nfds: int = 0) -> bytes:
    """One frame's bytes."""
    head = HEADER.pack(MAGIC, VERSION, type, flags, len(name) + len(payload), id, arg, len(name), nfds, codec)
    if not name:
        return head if not payload else b"".join((head, payload))
    return b"".join((head, name.encode("ascii"), payload))


def broke(rule: str, offset: int, detail: str, *args: object) -> NoReturn:
    raise ProtocolError(rule, offset, detail % args)


def parse(buf: Buffer, chunk: int = CHUNK, at: int = 0) -> Tuple[Optional[Frame], int]:
    """The frame at buf[at:] and its size; (None, 0) if it is not whole yet.

    Raises ProtocolError with the offset within the frame. The length is checked
    as soon as the header is there.
    """
    have = len(buf) - at
    if have < HEADER.size:
        if have > 0 and buf[at] != MAGIC:
            broke("magic", 0, "a frame starts with 0xBD, got 0x%02X", buf[at])
        if have > 1 and buf[at + 1] != VERSION:
            broke("version", 1, "only version 1 is spoken here, got %d", buf[at + 1])
        return None, 0
    magic, version, type, flags, length, id, arg, nlen, nfds, codec = HEADER.unpack_from(buf, at)
    if magic != MAGIC:
        broke("magic", 0, "a frame starts with 0xBD, got 0x%02X", magic)
    if version != VERSION:
        broke("version", 1, "only version 1 is spoken here, got %d", version)
    if flags > MORE | MUST:
        broke("flags", 3, "unknown flag bits in 0x%02X", flags)
    if length > chunk:
        broke("length", 4, "a frame of %d bytes, at most %d are accepted", length, chunk)
    if nlen > length or nlen > MAX_NAME:
        broke("nlen", 16, "a name of %d bytes in a body of %d", nlen, length)
    if nfds > MAX_FDS:
        broke("nfds", 18, "%d descriptors on one frame, at most %d are accepted", nfds, MAX_FDS)
    row = _ROWS.get(type)
    if row is not None:
        _check(row, type, flags, length, id, arg, nlen, nfds, codec)
    elif flags & MUST:
        broke("must", 2, "type %d is not known here and says it must be", type)
    size = HEADER.size + length
    if have < size:
        return None, 0
    body = at + HEADER.size
    name = ""
    if nlen:
        raw = bytes(buf[body:body + nlen])
        bad = _BAD_IN_NAME.search(raw)
        if bad:
            broke("name", HEADER.size + bad.start(), "a name is printable ASCII, got 0x%02X", raw[bad.start()])
        name = raw.decode("ascii")
    payload = bytes(buf[body + nlen:at + size]) if length > nlen else b""
    return Frame(type, flags, id, arg, nfds, codec, name, payload), size


def _check(row: Tuple[bool, ...], type: int, flags: int, length: int, id: int, arg: int, nlen: int, nfds: int,
           codec: int) -> None:
    """Hold the header of a known type against what the type may have."""
    call, named, payload, has_arg, more, fds, json = row
    if call != (id != 0):
        broke("id", 8, "type %d with id %d", type, id)
    if nlen and not named:
        broke("name", 16, "type %d takes no name", type)
    if length > nlen and not payload:
        broke("payload", 4, "type %d takes no payload", type)
    if arg and not has_arg:
        broke("arg", 12, "type %d takes no arg, got %d", type, arg)
    if flags & MORE and not more:
        broke("more", 3, "type %d fits one frame", type)
    if nfds and not fds:
        broke("nfds", 18, "type %d takes no descriptors", type)
    if type == WINDOW and not 0 < arg <= MAX_CREDIT:
        broke("window", 12, "WINDOW grants 1 to %d bytes, got %d", MAX_CREDIT, arg)
    if codec > TEXT:
        broke("codec", 19, "unknown codec %d", codec)
    if json and length > nlen and codec != JSON:
        broke("codec", 19, "type %d carries JSON", type)
    if length > CHUNK and (type == HELLO or type == DATA):
        broke("length", 4, "type %d of %d bytes, at most %d are accepted", type, length, CHUNK)
