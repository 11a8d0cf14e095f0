// BullMQ, as README.md beside this says what each command does.
import { Queue, Worker } from 'bullmq';

const [, , command, url, tasks_, option_] = process.argv;
const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const [tasks, option] = [Number(tasks_), Number(option_)];
const now = () => performance.timeOrigin + performance.now();
const data = () => ({ sent: now(), data: 'x'.repeat(100 - 37) });
const say = (answer) => console.log(JSON.stringify(answer));

async function enqueue(batch) {
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  const began = now();
  if (batch > 1) {
    for (let done = 0; done < tasks; done += batch) {
      await queue.addBulk(Array.from({ length: batch }, () => ({ name: 'noop', data: data() })));
    }
  } else {
    let left = tasks;
    const lane = async () => {
      while (left-- > 0) await queue.add('noop', data());
    };
    await Promise.all(Array.from({ length: 50 }, lane));
  }
  say({ seconds: (now() - began) / 1000 });
  await queue.close();
}

async function work(concurrency) {
  const waits = [];
  let first, ended;
  const all = new Promise((resolve) => (ended = resolve));
  let done = 0;
  const run = async (job) => {
    const entered = now();
    first ??= entered;
    waits.push(entered - job.data.sent);
    return { entered };
  };
  const worker = new Worker('bench', run, { connection, concurrency });
  worker.on('completed', () => ++done === tasks && ended());
  await worker.waitUntilReady();
  say({ ready: true });
  await all;
  say({ seconds: (now() - first) / 1000, waits_ms: waits.slice(-1000) });
  await worker.close();
}

async function trickle(pause) {
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  for (let sent = 0; sent < tasks; sent++) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    await queue.add('noop', data());
  }
  say({});
  await queue.close();
}

await { enqueue, work, trickle }[command](option);
