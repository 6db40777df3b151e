// The other end of bench/peers/subject.py: says what it is, then does what each line asks for.
//
// A line is {"shape", "seconds", "clients"}; its answer {"count", "elapsed_s", "times_ms"}.
// Each client starts a run, waits for its end, and starts the next until the time is over.

import { createInterface } from "node:readline";

const RUNS_MIN = 3; // of one client, however long they take

async function measure(run, { shape, seconds, clients }) {
  const times = [];
  const begun = performance.now();
  const until = begun + seconds * 1000;
  const client = async () => {
    for (let number = 0; number < RUNS_MIN || performance.now() < until; number += 1) {
      const started = performance.now();
      await run(shape);
      times.push(performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { count: times.length, elapsed_s: (performance.now() - begun) / 1000, times_ms: times };
}

// `run(shape)` does one run from its start to its end.
export async function serve(hello, run) {
  const say = (words) => process.stdout.write(`${JSON.stringify(words)}\n`);
  say(hello);
  for await (const line of createInterface({ input: process.stdin })) {
    say(await measure(run, JSON.parse(line)));
  }
}

// "fan_out_100" is a "fan_out" of 100.
export const formOf = (shape) => shape.slice(0, shape.lastIndexOf("_"));
export const widthOf = (shape) => Number(shape.split("_").at(-1));
