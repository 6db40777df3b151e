// Chains of three kinds of tasks, a worker for each, while somebody breaks network or server.
//
// Says `done ID` for each task that was worked on, `midst` when all workers are at work, and last
// the runs as JSON. STORM: { runs, leaseSeconds, pauseMs, rounds }.

import { setTimeout as pause } from "node:timers/promises";

import { defineChain, defineTask, eventually, start, waitFor, withWorkers } from "./harness.mjs";

const LIMIT_MS = 50_000;
const KINDS = 3;
const { runs, leaseSeconds, pauseMs, rounds } = JSON.parse(process.env.STORM);
const say = (line) => process.stdout.write(`${line}\n`);

let done = 0;

async function execute(task) {
  await pause(pauseMs);
  done += 1;
  say(`done ${task.taskId}`);
  return { status: "COMPLETED", outputData: { by: task.taskId } };
}

const lasting = { responseTimeoutSeconds: leaseSeconds, retryCount: 10 };
const kinds = [];
while (kinds.length < KINDS) kinds.push(await defineTask("storm", lasting));
const chain = await defineChain([...kinds, ...kinds], {
  outputParameters: { last: "${t5.output.by}" },
});
const workers = kinds.map((taskDefName) => ({ taskDefName, execute, concurrency: 2 }));

const ended = await withWorkers(workers, async () => {
  const started = [];
  for (let round = 0; round < rounds; round += 1) {
    for (let run = 0; run < runs; run += 1) started.push(await start(chain, run));
    const target = done + runs;
    await eventually(() => done >= target, "the workers are at work");
    say("midst");
    // The next round begins when this one has been through whatever happened to it.
    await Promise.all(started.map((run) => waitFor(run, undefined, LIMIT_MS)));
  }
  return Promise.all(started.map((run) => waitFor(run, undefined, LIMIT_MS)));
});

say(JSON.stringify(ended));
