#!/usr/bin/env python3
"""Writes a worker's state to a file, as JSON: dump.py TARGET COMMAND FILE, such as dump.py web/2 stats state.json"""
import json, os, socket, sys

target, command, path = sys.argv[1:4]
with socket.socket(socket.AF_UNIX) as s:
    s.connect(os.environ.get("BROOD_SOCKET", "/run/brood/control.sock"))
    s.sendall(f"json @{target} {command}\n".encode())
    s.shutdown(socket.SHUT_WR)  # that is all; the end of the answer is the end of the stream
    (answer,) = map(json.loads, s.makefile(encoding="utf-8"))  # one line, where it does not come in pieces
if answer["outcome"] != "ok":
    sys.exit(f"{target}: {answer['outcome']}: {answer.get('detail', '')}")  # with exit code 1; the file is as it was
with open(path, "w") as f:
    json.dump(answer.get("result"), f)
