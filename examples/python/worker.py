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
w = brood.Worker(fds=16)


def seconds(text):
    """The seconds in 200ms, 2s, 1m30s, or a plain number of seconds."""
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    if re.fullmatch(number, text):
        return float(text)
    if not re.fullmatch("(?:%s(?:ns|us|µs|ms|s|m|h))+" % number, text):
        raise brood.Error("error", "a duration is 200ms or 2s, got %r" % text)
    return sum(float(n) * UNITS[unit] for n, unit in re.findall(number + "(ns|us|µs|ms|s|m|h)", text))


@w.command("echo", help="WORDS…: say them again")
def echo(call):
    next(calls)
    try:
        if call.codec == brood.JSON:
            return " ".join(call.args)
    except (brood.Error, ValueError):
        pass  # it was no list of words
    return brood.Answer(call.payload, call.codec)


@w.command("sleep", help="DURATION: answer after, say, 200ms")
def sleep(call):
    next(calls)
    duration = call.args[0] if call.args else "1s"
    if call.canceled.wait(seconds(duration)):
        raise brood.Canceled("woken up")
    return "slept " + (duration if duration[-1].isalpha() else duration + "s")


@w.command("count", help="N [DURATION]: the numbers from 1 to N as they come, one each DURATION")
def count(call):
    next(calls)
    n, every = int(call.args[0]), seconds(call.args[1]) if len(call.args) > 1 else 0
    for i in range(n):
        if every and call.canceled.wait(every):
            raise brood.Canceled()
        yield "%d\n" % (i + 1)


@w.command("work", help="DURATION: be at it that long, and tell how far it is")
def work(call):
    next(calls)
    steps, duration = 10, call.args[0]
    for step in range(steps):
        yield brood.Progress(step, steps, "step %d" % (step + 1))
        if call.canceled.wait(seconds(duration) / steps):
            raise brood.Canceled("woken up")
    yield brood.Progress(steps, steps, "done")
    return "worked " + duration


@w.command("fds", help="hand the descriptors that came back, in their order")
def fds(call):
    next(calls)
    return brood.Answer(len(call.fds), fds=call.fds)


@w.command("ask", help="TEXT: what the supervisor's own command echo answers")
def ask(call):
    next(calls)
    return w.call("echo", " ".join(call.args), timeout=call.time_left()).text


@w.command("status", help="TEXT: set the worker's status line")
def status(call):
    next(calls)
    w.status(" ".join(call.args))


@w.command("retire", help="[REASON]: ask to be replaced")
def retire(call):
    next(calls)
    w.retire(call.args[0] if call.args else "asked")


@w.command("fail", help="[WORDS…]: say no")
def fail(call):
    next(calls)
    raise brood.Error("error", " ".join(call.args) or "failed as asked")


@w.command("pid", help="the process id", inline=True)
def pid(call):
    next(calls)
    return str(os.getpid())


@w.command("stats", help="calls, uptime and process id, as JSON")
def stats(call):
    return {"calls": next(calls), "uptime_ms": int((time.monotonic() - STARTED) * 1000), "pid": os.getpid()}


if __name__ == "__main__":
    w.run()
