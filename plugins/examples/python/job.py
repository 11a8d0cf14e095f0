import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import progress, types


class Handler(exports.Handler):
    # What is printed is kept as the attempt's log; what is returned is the task's result, as JSON.
    def run(self, task: types.Task) -> str:
        input = json.loads(task.payload)
        print(f"attempt {task.attempt} of {task.max_attempts}")
        if not input.get("name"):
            # Or Failure_Retryable(message), or Failure_RetryAfter((milliseconds, message)).
            raise Err(types.Failure_Permanent("`name` is missing"))
        progress.report(100, "greeted")
        return json.dumps({"greeting": f"Hello, {input['name']}!"})
