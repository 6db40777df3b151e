// A large payload: where it is uploaded, and a run that is started with it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, defineChain, defineTask, poll, refused, start } from "./harness.mjs";

const LARGE = "x".repeat(200_000);

test("an input that was uploaded is the run's", async () => {
  const kind = await defineTask("large");
  const chain = await defineChain([kind]);
  const api = client.workflowResource;
  const place = await api.getExternalStorageLocation("", "WRITE", "WORKFLOW_INPUT");
  const body = JSON.stringify({ given: LARGE });

  const upload = await fetch(place.uri, { method: "PUT", body });
  const runId = await start(chain, undefined, {
    input: undefined,
    externalInputPayloadStoragePath: place.path,
  });
  const task = await poll(kind);

  assert.equal(upload.status, 200);
  assert.equal(task.workflowInstanceId, runId);
  assert.equal(task.inputData.given, LARGE);
});

test("a place for a task's output is one too, and an unknown kind is refused", async () => {
  const api = client.taskResource;

  const place = await api.getExternalStorageLocation1("", "WRITE", "TASK_OUTPUT");

  assert.match(place.path, /^task\/output\//);
  await refused(() => api.getExternalStorageLocation1("", "WRITE", "LETTER"), 400, "LETTER");
});
