// TaskManager, TaskRunner and TaskHandler: the SDK's own worker loops.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  NonRetryableException,
  TaskHandler,
  clearWorkerRegistry,
  getTaskContext,
  noopLogger,
  worker,
} from "@io-orkes/conductor-javascript";

import {
  client,
  defineChain,
  defineTask,
  eventually,
  metadata,
  start,
  tasks,
  unique,
  waitFor,
  waitForTask,
  wire,
  withWorkers,
  workflows,
} from "./harness.mjs";

const completed = (outputData) => ({ status: "COMPLETED", outputData });

/** Give a promise and what fulfils it. */
function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

test("a worker completes a chain, and its output is the run's", async () => {
  const kinds = [await defineTask("one"), await defineTask("two")];
  const chain = await defineChain(kinds, { outputParameters: { end: "${t1.output.n}" } });
  const work = (taskDefName) => ({
    taskDefName,
    execute: async (task) => completed({ n: task.inputData.number + task.inputData.given }),
  });

  const run = await withWorkers(kinds.map(work), async () => waitFor(await start(chain, 40)));

  assert.deepEqual([run.status, run.output], ["COMPLETED", { end: 41 }]);
  assert.deepEqual(run.tasks.map((task) => task.status), ["COMPLETED", "COMPLETED"]);
});

test("a report brings the next task without a poll", async () => {
  const kind = await defineTask("count");
  const chain = await defineChain(Array(10).fill(kind));
  const before = wire.length;
  const execute = async (task) => completed(task.inputData);
  const reports = () => wire.slice(before).filter((one) => one.path === "/api/tasks/update-v2");

  const run = await withWorkers([{ taskDefName: kind, execute }], async () => {
    const ended = await waitFor(await start(chain, 1));
    await eventually(() => reports().length === 10, "the last report is answered");
    return ended;
  });

  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(reports().map((one) => one.status), [...Array(9).fill(200), 204]);
  assert.ok(run.tasks.every((task) => task.pollCount === 1));
});

test("an exception fails the attempt, and another one is made", async () => {
  const kind = await defineTask("shaky");
  const chain = await defineChain([kind]);
  const execute = async (task) => {
    if (task.retryCount < 2) throw new Error(`attempt ${task.retryCount} broke`);
    return completed({ attempt: task.retryCount });
  };

  const run = await withWorkers([{ taskDefName: kind, execute }], async () =>
    waitFor(await start(chain)),
  );

  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(run.tasks.map((task) => task.status), ["FAILED", "FAILED", "COMPLETED"]);
  assert.equal(run.tasks[1].reasonForIncompletion, "attempt 1 broke");
  assert.equal(run.tasks[2].retriedTaskId, run.tasks[1].taskId);
  const [line] = await tasks.getTaskLogs(run.tasks[0].taskId);
  assert.match(line.log, /Error: attempt 0 broke/);
});

test("attempts end at their limit, and the run says why", async () => {
  const kind = await defineTask("broken", { retryCount: 1 });
  const chain = await defineChain([kind]);
  const execute = async () => {
    throw new Error("never works");
  };

  const run = await withWorkers([{ taskDefName: kind, execute }], async () =>
    waitFor(await start(chain)),
  );

  assert.equal(run.status, "FAILED");
  assert.deepEqual(run.tasks.map((task) => task.status), ["FAILED", "FAILED"]);
  assert.match(run.reasonForIncompletion, /never works/);
});

test("a non-retryable exception ends the run at once", async () => {
  const kind = await defineTask("hopeless");
  const chain = await defineChain([kind]);
  const execute = async () => {
    throw new NonRetryableException("no such board");
  };

  const run = await withWorkers([{ taskDefName: kind, execute }], async () =>
    waitFor(await start(chain)),
  );

  assert.equal(run.status, "FAILED");
  assert.deepEqual(run.tasks.map((one) => one.status), ["FAILED_WITH_TERMINAL_ERROR"]);
});

test("a task in progress comes back with what it has", async () => {
  const kind = await defineTask("slow");
  const chain = await defineChain([kind]);
  const seen = [];
  const execute = async (task) => {
    seen.push(task.taskId);
    getTaskContext().addLog(`look ${seen.length}`);
    if (seen.length === 1) return { status: "IN_PROGRESS", callbackAfterSeconds: 1 };
    return completed({ looks: seen.length });
  };

  const run = await withWorkers([{ taskDefName: kind, execute }], async () =>
    waitFor(await start(chain)),
  );

  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(run.tasks.map((task) => [task.pollCount, task.outputData]), [[2, { looks: 2 }]]);
  assert.equal(new Set(seen).size, 1);
  const lines = await tasks.getTaskLogs(run.tasks[0].taskId);
  assert.deepEqual(lines.map((line) => line.log), ["look 1", "look 2"]);
});

test("a poll that waits is answered as soon as there is a task", async () => {
  const kind = await defineTask("rare");
  const chain = await defineChain([kind]);
  const before = wire.length;
  const execute = async () => completed({});

  const waited = await withWorkers(
    [{ taskDefName: kind, execute }],
    async () => {
      const look = async () => (await tasks.getTaskPollData(kind)).length;
      await eventually(look, "the worker waits");
      const began = Date.now();
      await waitFor(await start(chain));
      return Date.now() - began;
    },
    { options: { batchPollingTimeout: 4000 } },
  );

  const polls = wire.slice(before).filter((one) => one.path.endsWith(`/batch/${kind}`));
  assert.ok(waited < 3000, `answered after ${waited} ms`);
  assert.ok(polls.length <= 2, `${polls.length} polls`);
  assert.match(polls[0].query, /timeout=4000/);
});

test("a worker does as many tasks at a time as it says", async () => {
  const kind = await defineTask("wide");
  const chain = await defineChain([kind]);
  const all = gate();
  let together = 0;
  const execute = async (task) => {
    together += 1;
    if (together === 4) all.open();
    await all.opened;
    return completed({ given: task.inputData.given });
  };
  const runs = await Promise.all([0, 1, 2, 3].map((number) => start(chain, number)));

  const ended = await withWorkers([{ taskDefName: kind, execute, concurrency: 4 }], () =>
    Promise.all(runs.map((run) => waitFor(run))),
  );

  assert.deepEqual(ended.map((run) => run.tasks[0].outputData.given), [0, 1, 2, 3]);
});

test("workers of a domain get only its tasks", async () => {
  const kind = await defineTask("build");
  const chain = await defineChain([kind]);
  const seen = [];
  const execute = async (task) => {
    seen.push(task.inputData.given);
    return completed({});
  };

  const [inDomain, free] = await withWorkers(
    [{ taskDefName: kind, execute, domain: "arm" }],
    async () => {
      const polled = async () => (await tasks.getTaskPollData(kind))[0]?.domain === "arm";
      await eventually(polled, "the worker of the domain has polled");
      const other = await start(chain, "free");
      const own = await start(chain, "arm", { taskToDomain: { [kind]: "arm" } });
      return [await waitFor(own), await workflows.getWorkflow(other, true)];
    },
  );

  assert.deepEqual(seen, ["arm"]);
  assert.equal(inDomain.tasks[0].domain, "arm");
  assert.deepEqual([free.status, free.tasks[0].status], ["RUNNING", "SCHEDULED"]);
});

test("a worker that extends its lease keeps its task", async () => {
  const kind = await defineTask("patient", { responseTimeoutSeconds: 2, retryCount: 0 });
  const chain = await defineChain([kind]);
  const done = gate();
  const before = wire.length;
  const extensions = () =>
    wire.slice(before).filter((one) => one.method === "POST" && one.path === "/api/tasks");
  const execute = async () => {
    await done.opened;
    return completed({ patient: true });
  };

  const run = await withWorkers(
    [{ taskDefName: kind, execute, leaseExtendEnabled: true }],
    async () => {
      const runId = await start(chain);
      // The second comes after 3.2 s, when a lease that was never extended is long gone.
      await eventually(() => extensions().length === 2, "the lease was extended twice");
      done.open();
      return waitFor(runId);
    },
  );

  assert.deepEqual(extensions().map((one) => one.status), [200, 200]);
  assert.deepEqual([run.status, run.tasks.length, run.tasks[0].pollCount], ["COMPLETED", 1, 1]);
});

test("a worker that is silent loses its task, and its late report changes nothing", async () => {
  const kind = await defineTask("silent", { responseTimeoutSeconds: 1, retryCount: 1 });
  const chain = await defineChain([kind]);
  const letGo = gate();
  const execute = async (task) => {
    if (task.retryCount === 0) await letGo.opened;
    return completed({ attempt: task.retryCount });
  };
  const reports = () => wire.filter((one) => one.path === "/api/tasks/update-v2").length;

  await withWorkers([{ taskDefName: kind, execute, concurrency: 2 }], async () => {
    const runId = await start(chain);
    const run = await waitFor(runId);
    const before = reports();
    letGo.open();
    await eventually(() => reports() > before, "the late report was answered");
    const again = await workflows.getWorkflow(runId, true);

    assert.deepEqual(run.tasks.map((task) => task.status), ["TIMED_OUT", "COMPLETED"]);
    assert.deepEqual(again, run);
  });
});

test("a paused worker polls nothing until it goes on", async () => {
  const kind = await defineTask("resting");
  const chain = await defineChain([kind]);
  const execute = async () => completed({});
  const paused = gate();
  const eventListeners = [{ onTaskPaused: paused.open }];
  const act = async (manager) => {
    const runner = manager.workerRunners.get(kind);
    runner.setPaused(true);
    await paused.opened;
    const runId = await start(chain);
    assert.equal((await waitForTask(runId, "t0", "SCHEDULED")).pollCount, 0);

    runner.setPaused(false);

    assert.equal((await waitFor(runId)).status, "COMPLETED");
  };

  await withWorkers([{ taskDefName: kind, execute }], act, { eventListeners });
});

/** Run a worker of the decorator while something is done. */
async function decorated(t, options, act) {
  t.after(clearWorkerRegistry);
  worker({ pollInterval: 20, ...options })(async (task) => completed({ ...task.inputData }));
  const handler = await TaskHandler.create({ client, logger: noopLogger });
  await handler.startWorkers();
  try {
    return await act();
  } finally {
    await handler.stopWorkers();
  }
}

test("a decorated worker registers a task definition that is not there", async (t) => {
  const kind = unique("registered");
  const taskDef = { retryCount: 7, retryLogic: "FIXED", retryDelaySeconds: 2 };
  const options = { taskDefName: kind, registerTaskDef: true, overwriteTaskDef: false, taskDef };

  const run = await decorated(t, options, async () =>
    waitFor(await start(await defineChain([kind]), "x")),
  );

  const found = await metadata.getTask(kind);
  assert.deepEqual([found.retryCount, found.retryDelaySeconds], [7, 2]);
  assert.deepEqual(run.tasks[0].outputData, { number: 0, given: "x" });
});

test("a decorated worker that may overwrite changes the definition that is there", async (t) => {
  const kind = await defineTask("changed", { retryCount: 1 });
  const options = { taskDefName: kind, registerTaskDef: true, taskDef: { retryCount: 5 } };

  const found = await decorated(t, options, () => metadata.getTask(kind));

  assert.equal(found.retryCount, 5);
});
