#!/usr/bin/env python3
"""A worker in asyncio: fetch HOST PORT [TEXT] says TEXT to a TCP server and streams what it answers."""

import asyncio
import pathlib
import sys

# From a checkout the module is two directories up; installed, it is simply there.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "worker" / "python"))

import brood
from brood import aio

w = aio.Worker()


@w.command("fetch", help="HOST PORT [TEXT]: say TEXT to a TCP server, answer what it says")
async def fetch(call):
    if len(call.args) < 2:
        raise brood.Error("usage", "fetch takes a host, a port and perhaps a text")
    host, port, *text = call.args
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write("".join(text).encode())
        writer.write_eof()
        while piece := await reader.read(1 << 16):
            yield piece
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(w.run())
