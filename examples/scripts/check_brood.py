#!/usr/bin/env python3
"""A Nagios check: check_brood.py [TARGET]. Exits 0 ok, 1 degraded, 2 critical or no supervisor, 3 unknown."""
import os, socket, sys

try:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(os.environ.get("BROOD_SOCKET", "/run/brood/control.sock"))
        s.sendall(" ".join(["health", *sys.argv[1:2]]).encode() + b"\n")
        s.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: s.recv(4096), b"")).decode().strip()
except (FileNotFoundError, ConnectionRefusedError) as e:
    answer = f"critical: no supervisor: {e}"
except OSError as e:
    answer = f"error: {e}"
level, name = {"ok": (0, "OK"), "degraded": (1, "WARNING"), "critical": (2, "CRITICAL")}.get(answer.partition(":")[0], (3, "UNKNOWN"))
print(f"BROOD {name} - {answer.partition(': ')[2]}")
sys.exit(level)
