// MetadataClient, TaskClient, and the resources of the client: the SDK's only way to some calls.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  client,
  defineChain,
  defineTask,
  metadata,
  poll,
  report,
  start,
  tasks,
  unique,
  wire,
  workflows,
} from "./harness.mjs";

const NOBODY = "01a1f82b-0000-7000-8000-000000000000";
const bulk = client.workflowBulkResource;

const statuses = (runs) =>
  Promise.all(runs.map(async (run) => (await workflows.getWorkflow(run, false)).status));

async function begun(count) {
  const kind = await defineTask("step");
  const chain = await defineChain([kind, kind]);
  const numbers = [...Array(count).keys()];
  const runs = await Promise.all(numbers.map((number) => start(chain, number)));
  return { kind, chain, runs };
}

function definition(name, version, description) {
  const step = { name: "step", taskReferenceName: "first", type: "SIMPLE" };
  const fixed = { schemaVersion: 2, timeoutSeconds: 0, inputParameters: ["given"] };
  return { name, version, description, tasks: [step], ...fixed };
}

test("workflow definitions are registered, replaced, listed and deleted", async () => {
  const name = unique("wf");
  await metadata.registerWorkflowDef(definition(name, 1, "old"));
  await metadata.registerWorkflowDef(definition(name, 1, "new"), true);
  await client.metadataResource.update([definition(name, 2, "second")]);

  const first = await metadata.getWorkflowDef(name, 1);
  const latest = await metadata.getWorkflowDef(name);
  const listed = (await metadata.getAllWorkflowDefs()).filter((one) => one.name === name);
  await metadata.unregisterWorkflow(name, 2);
  const left = await metadata.getWorkflowDef(name);

  assert.deepEqual([first.description, first.inputParameters], ["new", ["given"]]);
  assert.deepEqual([latest.version, latest.description], [2, "second"]);
  assert.deepEqual(listed.map((one) => one.version).sort(), [1, 2]);
  assert.equal(left.version, 1);
});

test("task definitions are registered, changed, listed and deleted", async () => {
  const name = await defineTask("kind", { retryLogic: "EXPONENTIAL_BACKOFF" });
  const found = await metadata.getTask(name);
  await metadata.updateTask({ ...found, retryCount: 9 });

  const changed = await metadata.getTask(name);
  const listed = (await metadata.getAllTaskDefs()).map((one) => one.name);
  await metadata.unregisterTask(name);

  assert.deepEqual([changed.retryCount, changed.retryLogic], [9, "EXPONENTIAL_BACKOFF"]);
  assert.ok(listed.includes(name));
  await assert.rejects(metadata.getTask(name), new RegExp(name));
});

test("tasks are shown, updated by reference, logged and counted", async () => {
  const { kind, runs } = await begun(2);
  const waiting = await tasks.getQueueSizeForTask(kind);
  const task = await poll(kind);

  await tasks.addTaskLog(task.taskId, "plain words");
  const shown = await tasks.getTask(task.taskId);
  const [line] = await tasks.getTaskLogs(task.taskId);
  const [polled] = await tasks.getTaskPollData(kind);
  const taskId = await tasks.updateTaskResult(task.workflowInstanceId, "t0", "COMPLETED", { n: 1 });
  const other = runs.find((run) => run !== task.workflowInstanceId);
  const run = await tasks.updateTaskSync(other, "t0", "COMPLETED", { n: 2 });
  const page = await tasks.search(0, 10, "", "*", `taskType='${kind}' AND status=COMPLETED`);

  assert.equal(waiting[kind] ?? waiting, 2);
  assert.deepEqual([shown.taskId, shown.workerId], [task.taskId, "hand"]);
  // The SDK sends a JSON string, and the server keeps the bytes it got, as Conductor does.
  assert.equal(line.log, '"plain words"');
  assert.deepEqual([polled.queueName, polled.workerId], [kind, "hand"]);
  assert.equal(taskId, task.taskId);
  assert.deepEqual(run.tasks[0].outputData, { n: 2 });
  assert.deepEqual(page.results.map((one) => one.status), ["COMPLETED", "COMPLETED"]);
});

test("queues are counted, shown with their polls and asked to look again", async () => {
  const { kind } = await begun(3);
  const queues = client.taskResource;
  await poll(kind);
  const [held] = await queues.batchPoll(kind, "other", undefined, 1, 100);

  const all = await queues.all();
  const verbose = await queues.allVerbose();
  const polled = (await queues.getAllPollData()).filter((one) => one.queueName === kind);
  const ready = await queues.requeuePendingTask(kind);

  assert.equal(held.workerId, "other");
  assert.deepEqual([all[kind], verbose[kind].a], [1, { size: 1, uacked: 2 }]);
  assert.deepEqual(polled.map((one) => one.workerId), ["other", "hand"]);
  assert.equal(String(ready), "1");
});

test("runs are found by correlation, by type and by their tasks", async () => {
  const { kind, chain, runs } = await begun(1);
  const order = unique("order");
  const ordered = await start(chain, 1, { correlationId: order });
  const api = client.workflowResource;
  const query = `taskType='${kind}' AND status=SCHEDULED`;

  const many = await api.getWorkflows(chain, [order, "none"], true, true);
  const one = await api.getWorkflows1(chain, order, false, false);
  const open = await api.getRunningWorkflow(chain);
  const whole = await client.get({
    url: "/api/workflow/search-v2",
    query: { start: 0, size: 5, query: `correlationId=${order}` },
  });
  const byTasks = await api.searchWorkflowsByTasks(0, 10, undefined, "*", query);
  const byTasksWhole = await api.searchWorkflowsByTasksV2(0, 10, undefined, "*", query);
  const found = await client.taskResource.searchV22(0, 10, undefined, "*", query);

  assert.deepEqual([many[order][0].workflowId, many.none], [ordered, []]);
  assert.deepEqual(one.map((run) => run.workflowId), [ordered]);
  assert.deepEqual(new Set(open), new Set([...runs, ordered]));
  assert.equal(whole.data.results[0].workflowId, ordered);
  assert.equal(byTasks.totalHits, 2);
  assert.equal(byTasksWhole.results[0].workflowName, chain);
  assert.deepEqual(found.results.map((task) => task.referenceTaskName), ["t0", "t0"]);
});

test("an operation on many runs tells for each whether it was done", async () => {
  const { kind, runs } = await begun(2);
  const asked = [...runs, NOBODY];
  const check = (answer) => {
    assert.deepEqual(new Set(answer.bulkSuccessfulResults), new Set(runs));
    assert.deepEqual(Object.keys(answer.bulkErrorResults), [NOBODY]);
  };

  check(await bulk.pauseWorkflow1(asked));
  assert.deepEqual(await statuses(runs), ["PAUSED", "PAUSED"]);
  check(await bulk.resumeWorkflow(asked));
  check(await bulk.terminate(asked, "all"));
  assert.deepEqual(await statuses(runs), ["TERMINATED", "TERMINATED"]);
  check(await bulk.restart(asked, true));
  for (const _ of runs) await report(await poll(kind), "FAILED_WITH_TERMINAL_ERROR");
  assert.deepEqual(await statuses(runs), ["FAILED", "FAILED"]);
  check(await bulk.retry(asked));
  assert.deepEqual(await statuses(runs), ["RUNNING", "RUNNING"]);
});

test("a callback is offered at once, and a decision on a sound run changes nothing", async () => {
  const { kind, runs } = await begun(1);
  const task = await poll(kind);
  await client.taskResource.updateTask1({
    taskId: task.taskId,
    workflowInstanceId: runs[0],
    status: "IN_PROGRESS",
    callbackAfterSeconds: 3600,
  });

  await client.workflowResource.resetWorkflow(runs[0]);
  const again = await poll(kind);
  const before = await workflows.getWorkflow(runs[0], true);
  await client.workflowResource.decide(runs[0]);

  assert.equal(again.taskId, task.taskId);
  assert.deepEqual(await workflows.getWorkflow(runs[0], true), before);
});

test("the resources steer runs as the executor does", async () => {
  const { kind, chain } = await begun(0);
  const api = client.workflowResource;
  const runId = await api.startWorkflow({ name: chain, input: { given: 1 } });
  const other = await api.startWorkflow1(chain, { given: 2 }, 1, "order", 5);

  await api.pauseWorkflow(runId);
  await api.resumeWorkflow(runId);
  await api.skipTaskFromWorkflow(runId, "t1", { taskOutput: { n: 1 } });
  await api.terminate1(other, "enough");
  await api.retry1(other, false);
  await api.terminate1(other, "enough again");
  await api.restart1(other, false);
  await api.terminate1(other, "at last");
  await api.rerun(other, {});
  const shown = await api.getExecutionStatus(other, true);
  const short = await api.getWorkflowStatusSummary(runId, true, true);
  const page = await api.search1(undefined, 0, 5, undefined, "*", `workflowType=${chain}`);
  await api.delete(other, false);
  await client.taskResource.updateTask(runId, "t0", "COMPLETED", { n: 0 });

  assert.deepEqual([shown.status, shown.correlationId, shown.priority], ["RUNNING", "order", 5]);
  assert.equal(short.status, "RUNNING");
  assert.equal(page.totalHits, 2);
  assert.deepEqual(await statuses([runId]), ["COMPLETED"]);
  assert.equal((await tasks.getQueueSizeForTask(kind))[kind], 0);
});

test("an empty queue gives nothing", async () => {
  const before = wire.length;

  const none = await poll(unique("nobody"));
  const empty = await client.taskResource.batchPoll(unique("nobody"), "hand", undefined, 3, 50);

  assert.ok(!none?.taskId);
  assert.deepEqual(empty, []);
  assert.deepEqual(wire.slice(before).map((one) => one.status), [204, 200]);
});

test("the server says that it is healthy", async () => {
  const health = await client.healthCheckResource.doCheck();

  assert.equal(health.healthy, true);
});

test("what the package does not export is asked for by the client itself", async () => {
  const { kind, runs } = await begun(1);
  const get = async (url, query) => (await client.get({ url, query })).data;
  const post = async (url) => (await client.post({ url })).data;

  const page = await get(`/api/workflow/${runs[0]}/tasks`, { start: 0, count: 5 });
  const pending = await get(`/api/admin/task/${kind}`);
  const swept = await post(`/api/admin/sweep/requeue/${runs[0]}`);
  const repaired = await post(`/api/admin/consistency/verifyAndRepair/${runs[0]}`);

  assert.deepEqual([page.totalHits, page.results[0].referenceTaskName], [1, "t0"]);
  assert.deepEqual(pending.map((task) => task.workflowInstanceId), runs);
  assert.deepEqual([swept, String(repaired)], [`false.${runs[0]}`, "false"]);
  assert.match(await get("/api/version"), /^\d+\.\d+/);
  assert.deepEqual(Object.keys(await get("/api/queue/")).sort(), ["COMPLETED", "FAILED"]);
  assert.equal(typeof (await get("/api/queue/size")), "object");
});
