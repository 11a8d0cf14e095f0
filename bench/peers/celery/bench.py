"""Celery, as README.md beside this says what each command does."""

import json
import os
import subprocess
import sys
import time

command, url, tasks, option = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.environ["BENCH_REDIS"] = url

import redis  # noqa: E402
from tasks import app, noop  # noqa: E402

DATA = "x" * (100 - 37)


def say(**answer):
    print(json.dumps(answer), flush=True)


def now():
    return time.time() * 1000


def enqueue():
    # There are no batches: one producer, one connection.
    began = now()
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(tasks):
            noop.apply_async((now(), DATA), producer=producer)
    say(seconds=(now() - began) / 1000)


def work():
    server = redis.Redis.from_url(url)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork"]
        + ["--concurrency", str(option), "--loglevel", "ERROR", "--without-gossip", "--without-mingle"],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not app.control.inspect(timeout=1).ping():
            pass
        say(ready=True)
        # Only results expire.
        done = lambda: server.info("keyspace").get("db0", {}).get("expires", 0)
        # What was there before the worker was ready has begun by now: the rate is of the rest.
        before, began = done(), now()
        while (count := done()) < tasks:
            time.sleep(0.05)
        seconds = (now() - began) / 1000
        waits = [json.loads(text)["result"] for text in server.mget(list(server.scan_iter("celery-task-meta-*"))[:1000])]
        say(seconds=seconds, tasks=count - before, waits_ms=waits)
    finally:
        worker.terminate()
        worker.wait()


def trickle():
    for _ in range(tasks):
        time.sleep(option / 1000)
        noop.delay(now(), DATA)
    say()


{"enqueue": enqueue, "work": work, "trickle": trickle}[command]()
