// What a job needs and QuickJS does not have.
import { getStderr } from "wasi:cli/stderr@0.2.0";

// Makes of a function what a job exports: its input is the payload, its result becomes JSON.
export function job({ summary, payload, result }, run) {
  const text = (schema) => schema && JSON.stringify(schema);
  return {
    describe: {
      describe: () => ({ summary, payloadSchema: text(payload), resultSchema: text(result) }),
    },
    handler: {
      run(task) {
        try {
          return JSON.stringify(run(task, JSON.parse(task.payload)) ?? null);
        } catch (error) {
          // A failure on purpose has a tag. Of an error, the end of the attempt tells the stack.
          if (error?.tag || (error instanceof Error && !("payload" in error))) throw error;
          // Of anything else the text would be lost, as of what `submit` refuses with.
          throw { tag: "retryable", val: String(error) };
        }
      },
    },
  };
}

// Writes a line to the attempt's log.
export function log(...words) {
  const bytes = encode(`${words.join(" ")}\n`);
  for (let at = 0; at < bytes.length; at += 4096) {
    getStderr().blockingWriteAndFlush(bytes.subarray(at, at + 4096));
  }
}

// A text as UTF-8, for state and checkpoints.
export function encode(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));
}

// And back; nothing stays nothing.
export function decode(bytes) {
  return bytes && decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
}
