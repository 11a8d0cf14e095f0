"""The job of the benchmark, with acknowledgements late and results kept, as Sentinel has them."""

import os
import time

from celery import Celery

url = os.environ["BENCH_REDIS"]
app = Celery("tasks", broker=url, backend=url)
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=64, result_expires=3600)


@app.task
def noop(sent, data):
    return time.time() * 1000 - sent
