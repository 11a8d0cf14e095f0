import { report } from "sentinel:job/progress@0.1.0";
import { increment } from "sentinel:job/state@0.1.0";
import { job, log } from "./sentinel.js";

// Of the payload without its `job`. One that does not fit is refused when it is submitted.
const payload = {
  type: "object",
  properties: { name: { type: "string", description: "Who is greeted." } },
  required: ["name"],
};

function greet(task, input) {
  log(`attempt ${task.attempt} of ${task.maxAttempts}`);
  // Or { tag: "retryable", val: message }, or { tag: "retry-after", val: [milliseconds, message] }.
  if (!input.name) throw { tag: "permanent", val: "`name` is missing" };
  // Kept for all tasks of this job, if this one completes.
  increment("greetings", 1);
  report(100, "greeted");
  return { greeting: `Hello, ${input.name}!` };
}

export const { describe, handler } = job({ summary: "Greets somebody.", payload }, greet);
