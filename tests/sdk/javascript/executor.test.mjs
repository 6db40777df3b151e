// WorkflowExecutor: start, wait, signal, search and steer.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { ConductorWorkflow, simpleTask, waitTaskDuration } from "@io-orkes/conductor-javascript";

import {
  define,
  defineChain,
  defineTask,
  poll,
  report,
  start,
  unique,
  waitFor,
  waitForTask,
  withWorkers,
  workflows,
} from "./harness.mjs";

let kind;
let chain;

before(async () => {
  kind = await defineTask("step");
  chain = await defineChain([kind, kind], { outputParameters: { end: "${t1.output.n}" } });
});

const wait = (name) => ({
  name,
  taskReferenceName: name,
  type: "WAIT",
  inputParameters: { of: name },
});
const status = async (runId) => (await workflows.getWorkflow(runId, false)).status;

/** Begin a chain of a task type of its own, so that tests do not take each other's tasks. */
async function begun(given) {
  const own = await defineTask("own");
  const name = await defineChain([own, own], { outputParameters: { end: "${t1.output.n}" } });
  return { own, name, runId: await start(name, given) };
}

/** Bring a chain of two to its end. */
async function ended(given) {
  const run = await begun(given);
  await report(await poll(run.own), "COMPLETED", { n: 0 });
  await report(await poll(run.own), "COMPLETED", { n: 1 });
  assert.equal(await status(run.runId), "COMPLETED");
  return run;
}

test("a start carries all its fields", async () => {
  const input = { given: { deep: [1, null, 2.5, "ä"] } };

  const runId = await workflows.startWorkflow({
    name: chain,
    version: 1,
    input,
    correlationId: "order-1",
    priority: 7,
  });
  const run = await workflows.getExecution(runId);

  assert.deepEqual([run.status, run.correlationId, run.priority], ["RUNNING", "order-1", 7]);
  assert.deepEqual(run.input, input);
  assert.deepEqual(run.tasks[0].inputData, { number: 0, ...input });
});

test("a start by name and many at once give their ids", async () => {
  const byName = await workflows.startWorkflowByName(chain, { given: 1 }, 1, "order-2", 3);
  const many = await Promise.all(workflows.startWorkflows([{ name: chain }, { name: chain }]));

  const run = await workflows.getWorkflow(byName, false);
  assert.deepEqual([run.correlationId, run.priority, run.input], ["order-2", 3, { given: 1 }]);
  assert.equal(run.tasks?.length ?? 0, 0);
  assert.equal(new Set([byName, ...many]).size, 3);
});

test("a workflow built in code is registered, executed and awaited", async () => {
  const own = await defineTask("add");
  const flow = new ConductorWorkflow(workflows, unique("built"), 1)
    .ownerEmail("sdk@batuta.example")
    .add(simpleTask("first", own, { n: "${workflow.input.n}" }))
    .fork([
      [simpleTask("left", own, { n: "${first.output.n}" })],
      [waitTaskDuration("rest", "1 seconds")],
    ])
    .outputParameters({ n: "${left.output.n}" });
  await flow.register();
  const execute = async (task) => ({
    status: "COMPLETED",
    outputData: { n: task.inputData.n + 1 },
  });

  const run = await withWorkers([{ taskDefName: own, execute }], () => flow.execute({ n: 40 }));

  assert.deepEqual([run.status, run.output], ["COMPLETED", { n: 42 }]);
  assert.equal(run.workflowId, run.targetWorkflowId);
});

test("an execution waits for the end, for a task, or for its time", async () => {
  const { own, name } = await begun();
  const request = { name, version: 1, input: { given: 1 } };
  const late = await workflows.executeWorkflow(request, name, 1, "r-1", "", 1);
  const execute = async () => ({ status: "COMPLETED", outputData: { n: 5 } });

  const [first, whole] = await withWorkers([{ taskDefName: own, execute }], async () => [
    await workflows.executeWorkflow(
      request, name, 1, "r-2", "t0", 10, "DURABLE", "BLOCKING_TASK",
    ),
    await workflows.executeWorkflow(request, name, 1, "r-3", "", 10),
  ]);

  assert.deepEqual([late.status, late.signalTimeout], ["RUNNING", true]);
  assert.deepEqual([first.referenceTaskName, first.status], ["t0", "COMPLETED"]);
  assert.ok(first.isBlockingTask());
  assert.deepEqual([whole.status, whole.output], ["COMPLETED", { end: 5 }]);
});

for (const [strategy, reference] of [
  ["TARGET_WORKFLOW", undefined],
  ["BLOCKING_WORKFLOW", undefined],
  ["BLOCKING_TASK", "second"],
  ["BLOCKING_TASK_INPUT", "second"],
]) {
  test(`a signal answers by ${strategy}`, async () => {
    const inner = await define("inner", [wait("first"), wait("second")]);
    const child = {
      name: "child",
      taskReferenceName: "child",
      type: "SUB_WORKFLOW",
      subWorkflowParam: { name: inner, version: 1 },
    };
    const runId = await start(await define("outer", [child, wait("last")]));
    const { subWorkflowId } = await waitForTask(runId, "child", "IN_PROGRESS");
    await waitForTask(subWorkflowId, "first", "IN_PROGRESS");

    const answer = await workflows.signal(runId, "COMPLETED", { by: "signal" }, strategy);

    assert.deepEqual([answer.responseType, answer.targetWorkflowId], [strategy, runId]);
    const shown = strategy === "TARGET_WORKFLOW" ? runId : subWorkflowId;
    assert.deepEqual([answer.workflowId, answer.referenceTaskName], [shown, reference]);
    // The SDK wraps what it is given in a field of its own.
    const first = await waitForTask(subWorkflowId, "first", "COMPLETED");
    assert.deepEqual(first.outputData, { taskOutput: { by: "signal" } });
  });
}

test("signals without waiting end one wait after the other", async () => {
  const runId = await start(await define("waits", [wait("one"), wait("two")]));

  for (const reference of ["one", "two"]) {
    await waitForTask(runId, reference, "IN_PROGRESS");
    await workflows.signalAsync(runId, "COMPLETED", { of: reference });
  }

  assert.equal((await waitFor(runId)).status, "COMPLETED");
});

test("tasks are updated by id, by reference and with the run as the answer", async () => {
  const { own, runId } = await begun();
  const task = await poll(own);

  await workflows.updateTask(task.taskId, runId, "IN_PROGRESS", { half: true });
  const half = await workflows.getTask(task.taskId);
  const taskId = await workflows.updateTaskByRefName("t0", runId, "COMPLETED", { n: 0 });
  const run = await workflows.updateTaskSync("t1", runId, "COMPLETED", { n: 1 }, "hand");

  assert.deepEqual(half.outputData, { half: true });
  assert.equal(taskId, task.taskId);
  assert.equal(run.workflowId, runId);
  assert.equal(await status(runId), "COMPLETED");
});

test("a run is paused, resumed and terminated with a reason", async () => {
  const { own, runId } = await begun();

  await workflows.pause(runId);
  await report(await poll(own));
  const paused = await workflows.getWorkflow(runId, true);
  await workflows.resume(runId);
  const resumed = await workflows.getWorkflow(runId, true);
  await workflows.terminate(runId, "changed our mind");
  const gone = await workflows.getWorkflow(runId, true);

  assert.deepEqual([paused.status, paused.tasks.length], ["PAUSED", 1]);
  assert.deepEqual([resumed.status, resumed.tasks.length], ["RUNNING", 2]);
  assert.deepEqual([gone.status, gone.reasonForIncompletion], ["TERMINATED", "changed our mind"]);
  assert.equal(gone.tasks[1].status, "CANCELED");
});

test("a failed run is retried, and an ended one restarted", async () => {
  const { own, runId } = await begun();
  await report(await poll(own), "FAILED_WITH_TERMINAL_ERROR");
  assert.equal(await status(runId), "FAILED");

  await workflows.retry(runId, true);
  await report(await poll(own));
  await report(await poll(own));
  assert.equal(await status(runId), "COMPLETED");
  await workflows.restart(runId, true);

  const run = await workflows.getWorkflow(runId, true);
  assert.deepEqual([run.status, run.tasks.length], ["RUNNING", 1]);
});

test("an ended run is rerun from a task, found by hand or by its type", async () => {
  const { own, runId } = await ended(1);
  const second = (await workflows.getWorkflow(runId, true)).tasks[1];

  const answer = await workflows.reRun(runId, {
    reRunFromTaskId: second.taskId,
    taskInput: { number: 9 },
  });
  const again = await poll(own);
  await report(again);
  await workflows.goBackToFirstTaskMatchingType(runId, own);
  const last = await poll(own);

  assert.equal(answer, runId);
  assert.deepEqual([again.referenceTaskName, again.inputData], ["t1", { number: 9 }]);
  assert.equal(last.referenceTaskName, "t1");
  assert.equal(await status(runId), "RUNNING");
});

test("a task is skipped with its output", async () => {
  const { own, runId } = await begun();

  await workflows.skipTasksFromWorkflow(runId, "t1", {
    taskInput: { i: 1 },
    taskOutput: { n: 2 },
  });
  await report(await poll(own));

  const run = await workflows.getWorkflow(runId, true);
  const skipped = run.tasks.find((task) => task.referenceTaskName === "t1");
  assert.deepEqual([run.status, run.output], ["COMPLETED", { end: 2 }]);
  assert.deepEqual([skipped.status, skipped.inputData], ["SKIPPED", { i: 1 }]);
});

test("a run is deleted", async () => {
  const { runId } = await ended(1);

  await workflows.deleteWorkflow(runId);

  await assert.rejects(workflows.getWorkflow(runId, true), /no workflow/);
});

test("a search finds what was started", async () => {
  const { name, runId } = await ended("x");
  const running = await start(name);
  const query = `workflowType='${name}' AND status IN (COMPLETED, FAILED)`;

  const page = await workflows.search(0, 10, query, "*", "startTime:DESC");
  const every = await workflows.search(0, 10, `workflowType=${name}`, "*");

  assert.deepEqual([page.totalHits, page.results[0].workflowId], [1, runId]);
  assert.deepEqual(new Set(every.results.map((one) => one.workflowId)), new Set([runId, running]));
});

test("the status brings output and variables when asked", async () => {
  const { runId } = await ended(1);

  const short = await workflows.getWorkflowStatus(runId, false, false);
  const full = await workflows.getWorkflowStatus(runId, true, true);

  assert.deepEqual([short.status, short.output], ["COMPLETED", undefined]);
  assert.deepEqual([full.workflowId, full.output, full.variables], [runId, { end: 1 }, {}]);
});

test("a workflow is tested with mocked results", async () => {
  const mocks = { t0: [{ status: "COMPLETED" }], t1: [{ status: "COMPLETED", output: { n: 5 } }] };

  const run = await workflows.testWorkflow({
    name: chain,
    version: 1,
    taskRefToMockOutput: mocks,
  });

  assert.deepEqual([run.status, run.output], ["COMPLETED", { end: 5 }]);
});
