#!/usr/bin/env python3
"""A worker in Python with a handful of commands to try a supervisor with."""

import itertools
import os
import pathlib
import re
import sys
import time

# From a checkout the module is two directories up; installed, it is simply there.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "worker" / "python"))

import brood

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
STARTED = time.monotonic()

calls = itertools.count(1)
w = brood.Worker()


def seconds(text):
    """The seconds in 200ms, 2s, 1m30s, or a plain number of seconds."""
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    if re.fullmatch(number, text):
        return float(text)
    if not re.fullmatch("(?:%s(?:ns|us|µs|ms|s|m|h))+" % number, text):
        raise brood.Error("error", "a duration is 200ms or 2s, got %r" % text)
    return sum(float(n) * UNITS[unit] for n, unit in re.findall(number + "(ns|us|µs|ms|s|m|h)", text))


@w.command("echo", help="answer with the words it was given")
def echo(call):
    next(calls)
    return " ".join(call.args)


@w.command("sleep", help="answer after a while: sleep 200ms")
def sleep(call):
    next(calls)
    duration = call.args[0] if call.args else "1s"
    if call.canceled.wait(seconds(duration)):
        raise brood.Canceled("woken up")
    return "slept " + (duration if duration[-1].isalpha() else duration + "s")


@w.command("fail", help="answer with an error")
def fail(call):
    next(calls)
    raise brood.Error("error", " ".join(call.args) or "failed as asked")


@w.command("pid", help="answer with the process id")
def pid(call):
    next(calls)
    return str(os.getpid())


@w.command("stats", help="calls so far, this one included, and the time since the start")
def stats(call):
    return {"calls": next(calls), "uptime_ms": int((time.monotonic() - STARTED) * 1000), "pid": os.getpid()}


if __name__ == "__main__":
    w.run()
