#!/usr/bin/env python3
"""Writes a worker's state to a file: dump.py TARGET COMMAND FILE, such as dump.py web/2 stats state.json"""
import os, socket, sys

target, command, path = sys.argv[1:4]
with socket.socket(socket.AF_UNIX) as s, open(path, "wb") as f:
    s.connect(os.environ.get("BROOD_SOCKET", "/run/brood/control.sock"))
    s.sendall(f"@{target} {command}\n".encode())
    s.shutdown(socket.SHUT_WR)  # that is all; the end of the answer is the end of the stream
    while piece := s.recv(65536):
        f.write(piece)
