"""multiprocessing.Pipe: a parent and its child, send_bytes and recv_bytes.

Lines on stdin and stdout as in floor.c.
"""
import multiprocessing
import sys
import threading
import time


def echo(conn):
    try:
        while True:
            conn.send_bytes(conn.recv_bytes())
    except (EOFError, KeyboardInterrupt):
        pass


def run(conn, payload, n, ms):
    """Keeps n messages under way for ms milliseconds."""
    until = time.monotonic_ns() + ms * 1_000_000
    calls = 0
    if n > 1 and n * len(payload) > 65536:
        return run_threads(conn, payload, n, until)
    for _ in range(n):
        conn.send_bytes(payload)
    while time.monotonic_ns() < until:
        conn.recv_bytes()
        conn.send_bytes(payload)
        calls += 1
    for _ in range(n):
        last = conn.recv_bytes()
        calls += 1
    assert last == payload
    return calls


def run_threads(conn, payload, n, until):
    """The same where both buffers would fill: one thread writes, one reads."""
    room = threading.Semaphore(n)
    sent = threading.Semaphore(0)
    done = []

    def send():
        count = 0
        while time.monotonic_ns() < until:
            room.acquire()
            conn.send_bytes(payload)
            sent.release()
            count += 1
        done.append(count)
        sent.release()

    thread = threading.Thread(target=send)
    thread.start()
    calls = 0
    while True:
        sent.acquire()
        if done and calls == done[0]:
            break
        last = conn.recv_bytes()
        calls += 1
        room.release()
    thread.join()
    assert last == payload
    return calls


def main():
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=echo, args=(theirs,), daemon=True)
    child.start()
    theirs.close()
    while line := sys.stdin.readline():
        size, n, warm_ms, ms = map(int, line.split())
        payload = b"x" * size
        run(ours, payload, n, warm_ms)
        print("warm", child.pid, flush=True)
        sys.stdin.readline()
        begin = time.monotonic_ns()
        calls = run(ours, payload, n, ms)
        print(calls, time.monotonic_ns() - begin, flush=True)
        sys.stdin.readline()


main()
