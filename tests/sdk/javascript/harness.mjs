// The SDK's clients of one server, and the few steps that all tests share.
//
// What went over the wire is noted from undici's own diagnostics, without a change to the SDK, and
// written at the end for the test that compares it with the SDK's list of calls.

import assert from "node:assert/strict";
import diagnostics from "node:diagnostics_channel";
import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import {
  MetadataClient,
  TaskClient,
  TaskManager,
  WorkflowExecutor,
  createConductorClient,
  noopLogger,
} from "@io-orkes/conductor-javascript";

const LOOK_MS = 20;
const LIMIT_MS = 20_000;
const ENDED = ["COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"];

/** Every answered request of this process: { method, path, query, status }. */
export const wire = [];

diagnostics.subscribe("undici:request:headers", ({ request, response }) => {
  const [path, query = ""] = request.path.split("?");
  wire.push({ method: request.method, path, query, status: response.statusCode });
});
process.on("exit", () => {
  const lines = wire.map((one) => `${JSON.stringify(one)}\n`);
  if (process.env.BATUTA_LEDGER) appendFileSync(process.env.BATUTA_LEDGER, lines.join(""));
});

// The SDK says at each call that its resources are old; they are its only way to some of them.
console.warn = () => {};

export const client = await createConductorClient({ logger: noopLogger });
export const workflows = new WorkflowExecutor(client);
export const tasks = new TaskClient(client);
export const metadata = new MetadataClient(client);

let names = 0;

/** Give a name that no other test of the server uses. */
export function unique(stem) {
  names += 1;
  return `${stem}_js_${process.pid}_${names}`;
}

/** Look again and again until there is something; fail, saying what, after the limit. */
export async function eventually(look, what, limitMs = LIMIT_MS) {
  for (const end = Date.now() + limitMs; ; ) {
    const seen = await look();
    if (seen) return seen;
    assert.ok(Date.now() < end, `not within ${limitMs} ms: ${what}`);
    await pause(LOOK_MS);
  }
}

/** Register a task definition whose attempts follow each other at once; give its name. */
export async function defineTask(stem, more = {}) {
  const name = unique(stem);
  const often = { retryCount: 3, retryDelaySeconds: 0, responseTimeoutSeconds: 60 };
  await metadata.registerTask({ name, timeoutSeconds: 120, ...often, ...more });
  return name;
}

/** Register a workflow of these tasks; give its name. */
export async function define(stem, list, more = {}) {
  const name = unique(stem);
  const fixed = { version: 1, schemaVersion: 2, ownerEmail: "sdk@batuta.example" };
  const rest = { inputParameters: [], timeoutSeconds: 0, ...fixed, ...more };
  await metadata.registerWorkflowDef({ name, tasks: list, ...rest }, true);
  return name;
}

/** Register a workflow of SIMPLE tasks t0, t1, ... of these types, in a row; give its name. */
export function defineChain(kinds, more = {}) {
  const list = kinds.map((kind, number) => ({
    name: kind,
    taskReferenceName: `t${number}`,
    type: "SIMPLE",
    inputParameters: { number, given: "${workflow.input.given}" },
  }));
  return define("chain", list, more);
}

export function start(name, given, more = {}) {
  return workflows.startWorkflow({ name, version: 1, input: { given }, ...more });
}

/** Wait until a run has one of the statuses, by default until it has ended; give it. */
export function waitFor(runId, statuses = ENDED, limitMs = LIMIT_MS) {
  const look = async () => {
    const run = await workflows.getWorkflow(runId, true);
    return statuses.includes(run.status) ? run : undefined;
  };
  return eventually(look, `run ${runId} is one of ${statuses}`, limitMs);
}

/** Wait until the newest task of a reference name has a status; give it. */
export function waitForTask(runId, reference, status) {
  const look = async () => {
    const run = await workflows.getWorkflow(runId, true);
    const task = run.tasks.filter((one) => one.referenceTaskName === reference).at(-1);
    return task?.status === status ? task : undefined;
  };
  return eventually(look, `task ${reference} of ${runId} is ${status}`);
}

/** Poll one task by hand. */
export function poll(kind) {
  return client.taskResource.poll(kind, "hand");
}

/** Report on a polled task by hand. */
export function report(task, status = "COMPLETED", output = {}) {
  return workflows.updateTask(task.taskId, task.workflowInstanceId, status, output);
}

/** Do something while the SDK's workers poll. */
export async function withWorkers(workers, act, config = {}) {
  const options = { pollInterval: 20, concurrency: 1, ...config.options };
  const manager = new TaskManager(client, workers, { logger: noopLogger, ...config, options });
  manager.startPolling();
  try {
    return await act(manager);
  } finally {
    await manager.stopPolling();
  }
}

/** Fail unless a call of a client is refused with this status, and its error says the word. */
export async function refused(call, status, word) {
  const before = wire.length;
  await assert.rejects(call, (error) => {
    assert.match(String(error.message), new RegExp(word.replace(/[$()]/g, "\\$&")));
    return true;
  });
  assert.deepEqual(
    wire.slice(before).map((one) => one.status),
    [status],
  );
}
