import { report } from "sentinel:job/progress@0.1.0";

// What is returned is the task's result, as JSON. (QuickJS has no console.)
export const handler = {
  run(task) {
    const input = JSON.parse(task.payload);
    // Or { tag: "retryable", val: message }, or { tag: "retry-after", val: [milliseconds, message] }.
    if (!input.name) throw { tag: "permanent", val: "`name` is missing" };
    report(100, "greeted");
    return JSON.stringify({ greeting: `Hello, ${input.name}!` });
  },
};
