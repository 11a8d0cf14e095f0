import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.describe import Description
from wit_world.imports import progress, state, types

# Of the payload without its `job`. One that does not fit is refused when it is submitted.
PAYLOAD = {
    "type": "object",
    "properties": {"name": {"type": "string", "description": "Who is greeted."}},
    "required": ["name"],
}


class Handler(exports.Handler):
    # What is printed is kept as the attempt's log; what is returned is the task's result, as JSON.
    def run(self, task: types.Task) -> str:
        input = json.loads(task.payload)
        print(f"attempt {task.attempt} of {task.max_attempts}")
        if not input.get("name"):
            # Or Failure_Retryable(message), or Failure_RetryAfter((milliseconds, message)).
            raise Err(types.Failure_Permanent("`name` is missing"))
        # Kept for all tasks of this job, if this one completes.
        state.increment("greetings", 1)
        progress.report(100, "greeted")
        return json.dumps({"greeting": f"Hello, {input['name']}!"})


class Describe(exports.Describe):
    def describe(self) -> Description:
        return Description("Greets somebody.", json.dumps(PAYLOAD), None)
