// One-step runs, ten-step chains and fan-outs by BullMQ; run by bench/peers/subject.py.
//
// The worker and the clients are this process, the Redis server is another one. A chain is a flow
// of ten jobs, each the only child of the next; a fan-out is a flow of one job with many children.
// A run has ended when its last job has, which the worker says once the server has written it.
// Arguments: the server's port.

import { createRequire } from "node:module";
import { FlowProducer, Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { serve, widthOf } from "./protocol.mjs";

const connection = { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null };
const QUEUE = "bench";
const STEPS = 10;
const CONCURRENCY = 200; // of the worker, as of ours

const queue = new Queue(QUEUE, { connection });
const flows = new FlowProducer({ connection });
const worker = new Worker(QUEUE, async (job) => ({ v: job.data.x }), {
  connection,
  concurrency: CONCURRENCY,
});
const ends = new Map(); // job id -> what to do when it has ended
let runs = 0;

worker.on("completed", (job) => {
  ends.get(job.id)?.resolve();
  ends.delete(job.id);
});
worker.on("failed", (job, error) => ends.get(job?.id)?.reject(error));

const job = (more) => ({ name: "step", queueName: QUEUE, data: { x: 1 }, ...more });

function chain(length, opts) {
  let found = job();
  for (let number = 1; number < length; number += 1) found = job({ children: [found] });
  return { ...found, opts };
}

async function run(shape) {
  const jobId = `run-${(runs += 1)}`;
  const ended = new Promise((resolve, reject) => ends.set(jobId, { resolve, reject }));
  if (shape === "one_step") await queue.add("step", { x: 1 }, { jobId });
  else if (shape === "ten_steps") await flows.add(chain(STEPS, { jobId }));
  else {
    const children = Array.from({ length: widthOf(shape) }, () => job());
    await flows.add(job({ children, opts: { jobId } }));
  }
  await ended;
}

await worker.waitUntilReady();
const asking = new Redis(connection);
const [, appendonly] = await asking.config("GET", "appendonly");
const [, fsync] = await asking.config("GET", "appendfsync");
const version = createRequire(import.meta.url)("bullmq/package.json").version;
const durability = `appendonly ${appendonly}, appendfsync ${fsync}`;
await serve({ version, durability, clients: [16, 64, 200] }, run);
await worker.close();
process.exit(0);
