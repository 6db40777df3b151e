// What cannot be done is an error of the SDK with our message, by Conductor's status.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import {
  client,
  defineChain,
  defineTask,
  metadata,
  poll,
  refused,
  report,
  start,
  tasks,
  wire,
  workflows,
} from "./harness.mjs";

const NOBODY = "01a1f82b-0000-7000-8000-000000000000";
const unheard = { name: "unheard_of", version: 1 };

let kind;
let chain;

before(async () => {
  kind = await defineTask("step");
  chain = await defineChain([kind, kind]);
});

for (const [what, call] of [
  ["getWorkflow", (run) => workflows.getWorkflow(run, true)],
  ["getExecution", (run) => workflows.getExecution(run)],
  ["getWorkflowStatus", (run) => workflows.getWorkflowStatus(run, true, true)],
  ["pause", (run) => workflows.pause(run)],
  ["resume", (run) => workflows.resume(run)],
  ["terminate", (run) => workflows.terminate(run, "x")],
  ["restart", (run) => workflows.restart(run, false)],
  ["retry", (run) => workflows.retry(run, false)],
  ["reRun", (run) => workflows.reRun(run, {})],
  ["skipTasksFromWorkflow", (run) => workflows.skipTasksFromWorkflow(run, "t1", {})],
  ["deleteWorkflow", (run) => workflows.deleteWorkflow(run)],
  ["signal", (run) => workflows.signal(run, "COMPLETED", {})],
  ["signalAsync", (run) => workflows.signalAsync(run, "COMPLETED", {})],
  ["updateTask", (run) => workflows.updateTask("no-such-task", run, "COMPLETED", {})],
  ["updateTaskSync", (run) => workflows.updateTaskSync("t0", run, "COMPLETED", {})],
  ["decide", (run) => client.workflowResource.decide(run)],
  ["resetWorkflow", (run) => client.workflowResource.resetWorkflow(run)],
]) {
  test(`${what} of an unknown run is not found`, () => refused(() => call(NOBODY), 404, NOBODY));
}

for (const [what, call, word] of [
  ["startWorkflow", () => workflows.startWorkflow(unheard), "unheard_of"],
  ["startWorkflowByName", () => workflows.startWorkflowByName("unheard_of", {}), "unheard_of"],
  ["executeWorkflow", () => workflows.executeWorkflow(unheard, "unheard_of", 1, "r"), "unheard_of"],
  ["getWorkflowDef", () => metadata.getWorkflowDef("unheard_of", 1), "unheard_of"],
  ["unregisterWorkflow", () => metadata.unregisterWorkflow("unheard_of", 1), "unheard_of"],
  ["getTask", () => metadata.getTask("unheard_of"), "unheard_of"],
  ["updateTask", () => metadata.updateTask({ name: "unheard_of" }), "unheard_of"],
  ["unregisterTask", () => metadata.unregisterTask("unheard_of"), "unheard_of"],
  ["getTask by id", () => tasks.getTask("no-such-task"), "no-such-task"],
]) {
  test(`${what} of what nobody registered is not found`, () => refused(call, 404, word));
}

test("what the state of a run does not allow is a conflict", async () => {
  const own = await defineTask("own");
  const runId = await start(await defineChain([own]));

  await refused(() => workflows.resume(runId), 409, runId);
  await refused(() => workflows.restart(runId, false), 409, runId);
  await refused(() => workflows.reRun(runId, {}), 409, runId);
  await report(await poll(own));
  await refused(() => workflows.pause(runId), 409, runId);
  await refused(() => workflows.terminate(runId, "late"), 409, runId);
  await refused(() => workflows.retry(runId, false), 409, runId);

  assert.equal((await workflows.getWorkflow(runId, false)).status, "COMPLETED");
});

test("a definition that exists is replaced only when that was said", async () => {
  const found = await metadata.getWorkflowDef(chain, 1);

  await refused(() => metadata.registerWorkflowDef(found, false), 409, chain);
});

test("what cannot be meant is a bad request that names it", async () => {
  const runId = await start(chain);
  const faulty = { name: "x", version: 1, tasks: [], schemaVersion: 2 };
  const unnamed = { name: "", retryCount: -1 };

  await refused(() => workflows.search(0, 5, "colour=red", "*"), 400, "unknown field 'colour'");
  await refused(() => tasks.search(0, 5, "", "*", "colour=red"), 400, "unknown field 'colour'");
  await refused(() => workflows.updateTaskByRefName("t0", runId, "DONE", {}), 400, "DONE");
  await refused(() => workflows.updateTask("x", runId, "DONE", {}), 400, "DONE");
  await refused(() => workflows.signal(runId, "COMPLETED", {}, "ALL"), 400, "returnStrategy");
  await refused(() => workflows.skipTasksFromWorkflow(runId, "t9", {}), 400, "t9");
  await refused(() => workflows.deleteWorkflow(runId), 400, "archiveWorkflow");
  await refused(() => metadata.registerWorkflowDef(faulty, true), 400, "Validation failed");
  await refused(() => metadata.registerTask(unnamed), 400, "Validation failed");
  await refused(
    () => workflows.executeWorkflow({ name: chain }, chain, 1, "r", "typo"),
    400,
    "typo",
  );
});

test("an error of the resources is Conductor's body with its numbers", async () => {
  const call = () => client.workflowResource.getExecutionStatus(NOBODY);

  await assert.rejects(call, (body) => {
    assert.deepEqual([body.status, body.retryable], [404, false]);
    assert.match(body.message, new RegExp(NOBODY));
    return true;
  });
});

test("a call that only the commercial server answers is not found", async () => {
  const runId = await start(chain);
  const before = wire.length;

  await assert.rejects(() => workflows.updateVariables(runId, { a: 1 }));
  await assert.rejects(() => metadata.getTaskTags(kind));

  assert.deepEqual(wire.slice(before).map((one) => one.status), [404, 404]);
});
