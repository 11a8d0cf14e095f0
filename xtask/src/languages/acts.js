// What a job in JavaScript may do, well and badly: `cargo xtask languages` asks for one at a time.
import { load, save } from "sentinel:job/checkpoint@0.1.0";
import { submit } from "sentinel:job/outbox@0.1.0";
import { get, increment } from "sentinel:job/state@0.1.0";
import { get as setting } from "wasi:config/store@0.2.0-draft";
import { decode, encode, job } from "./sentinel.js";

const deeper = (depth) => 1 + deeper(depth + 1);

const acts = {
  count() {
    increment("n", 1);
    return Number(decode(get("n")));
  },
  resume() {
    const saved = decode(load());
    if (saved) return saved;
    save(encode("gr\u00fc\u00dfe"));
    throw { tag: "retryable", val: "after the checkpoint" };
  },
  child: (task) => submit(JSON.stringify({ payload: { job: task.job, do: "count" } })),
  "bad-child": () => submit("{"),
  config: () => setting("size") ?? null,
  secret: () => setting("secret.key")?.length ?? null,
  permanent() {
    throw { tag: "permanent", val: "never" };
  },
  later() {
    throw { tag: "retry-after", val: [5000, "later"] };
  },
  throw() {
    throw new Error("boom");
  },
  loop() {
    for (;;);
  },
  recurse: () => deeper(0),
  grow() {
    const all = [];
    for (;;) all.push(new Uint8Array(1 << 20).fill(1));
  },
  big: () => "x".repeat(2 << 20),
};

export const { describe, handler } = job({ summary: "Does what it is told." }, (task, input) =>
  acts[input.do](task),
);
