# What a job in Python may do, well and badly: `cargo xtask languages` asks for one at a time.
import json
import os

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.describe import Description
from wit_world.imports import checkpoint, outbox, state, store, types


def count(task):
    state.increment("n", 1)
    return int(state.get("n"))


def resume(task):
    saved = checkpoint.load()
    if saved:
        return saved.decode()
    checkpoint.save("gr\u00fc\u00dfe".encode())
    raise Err(types.Failure_Retryable("after the checkpoint"))


def child(task):
    return outbox.submit(json.dumps({"payload": {"job": task.job, "do": "count"}}))


def bad_child(task):
    try:
        return outbox.submit("{")
    except Err as refused:
        raise Err(types.Failure_Retryable(refused.value))


def config(task):
    return store.get("size")


def secret(task):
    value = store.get("secret.key")
    return value and len(value)


def region(task):
    return os.environ.get("REGION")


def scratch(task):
    with open("/scratch/file", "w") as file:
        file.write("kept")
    with open("/scratch/file") as file:
        return file.read()


def permanent(task):
    raise Err(types.Failure_Permanent("never"))


def later(task):
    raise Err(types.Failure_RetryAfter((5000, "later")))


def throw(task):
    raise ValueError("boom")


def loop(task):
    while True:
        pass


def recurse(task):
    return 1 + recurse(task)


def grow(task):
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def big(task):
    return "x" * (2 << 20)


class Handler(exports.Handler):
    def run(self, task: types.Task) -> str:
        act = globals()[json.loads(task.payload)["do"].replace("-", "_")]
        return json.dumps(act(task))


class Describe(exports.Describe):
    def describe(self) -> Description:
        return Description("Does what it is told.", None, None)
