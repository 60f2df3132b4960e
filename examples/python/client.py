#!/usr/bin/env python3
"""Send a command to brood's only pool: client.py SOCKET COMMAND [ARGS...]

Nothing but the standard library: http.client over a Unix socket.
"""
import http.client
import json
import socket
import sys


class Brood(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("brood", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def main(path, command, *args):
    brood = Brood(path)
    brood.request("POST", "/" + command, body=json.dumps(args))
    answer = brood.getresponse()
    print(answer.read().decode())
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
