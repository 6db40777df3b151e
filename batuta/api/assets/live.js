// The live page: asks for the state every second while it is visible, and writes it as text.
// Whatever the server sends goes through textContent, so nothing in a payload becomes markup.

const EVERY_MS = 1000;
const TASKS_MAX = 500; // of a run that are drawn, the newest; a run may have thousands
const MOODS = {
  COMPLETED: "good", COMPLETED_WITH_ERRORS: "held", RUNNING: "busy", IN_PROGRESS: "busy", PAUSED: "held",
  FAILED: "bad", FAILED_WITH_TERMINAL_ERROR: "bad", TIMED_OUT: "bad", TERMINATED: "bad", CANCELED: "bad",
};
const ORDER = ["RUNNING", "PAUSED", "COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"];
const ENDED = new Set(["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"]);

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const about = document.getElementById("about");
const runId = new URLSearchParams(location.search).get("run");
const open = new Set();
let shown = "";
let timer = 0;
let pauseMs = EVERY_MS;

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const statusChip = (status) => make("span", { class: `status ${MOODS[status] ?? ""}`, text: status.replaceAll("_", " ").toLowerCase() });
const cell = (text, kind = "") => make("td", { class: kind, text });

function duration(ms) {
  if (ms < 0) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

const now = () => Date.now();
const ago = (at) => (at ? `${duration(Math.max(now() - at, 0))} ago` : "never");
const runTime = (run) => duration(Math.max((run.endTime || now()) - run.createTime, 0));

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map(([text, kind]) => make("th", { class: kind ?? "", scope: "col", text })));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function runRow(run) {
  const link = make("a", { href: `/?run=${encodeURIComponent(run.workflowId)}`, title: run.workflowId, "data-key": run.workflowId, text: run.workflowName });
  const version = make("span", { class: "quiet small", text: ` v${run.workflowVersion}` });
  const reason = run.reasonForIncompletion;
  return make("tr", {},
    make("td", {}, statusChip(run.status)),
    make("td", {}, link, version, reason ? make("div", { class: "reason", text: reason }) : null),
    cell(runTime(run), "number"),
    cell(ago(run.createTime), "number optional quiet"));
}

function queueRow(queue) {
  return make("tr", {}, make("td", { class: "mono", text: queue.queue }),
    cell(queue.ready, "number"), cell(queue.leased, "number"),
    cell(queue.lastPollTime ? ago(queue.lastPollTime) : "no worker", "number quiet"));
}

function emptyState() {
  const base = `${location.origin}/api`;
  return make("section", { class: "card" },
    make("h2", { text: "No run yet" }),
    make("p", { class: "quiet", text: "Start a workflow from a file and watch it, then give its tasks to a worker:" }),
    make("pre", { text: `batuta run workflow.json --input name=World --watch --server ${base}\nbatuta worker my_workers --server ${base}` }),
    make("p", { class: "quiet small", text: `Workers and SDKs of Conductor connect with CONDUCTOR_SERVER_URL=${base}` }));
}

function overview(state) {
  about.textContent = `${state.version} on ${state.store}, node ${state.node}, up ${duration(now() - state.startedTime)}`;
  const words = [...ORDER, ...Object.keys(state.counts).filter((word) => !ORDER.includes(word))];
  const tiles = words.map((word) => {
    const count = state.counts[word] ?? 0;
    const more = state.countsAreLowerBounds.includes(word) ? "+" : "";
    return make("div", { class: `tile ${count ? "" : "zero"}` }, make("b", { text: count.toLocaleString("en") + more }), statusChip(word));
  });
  const parts = [make("section", { class: "tiles", "aria-label": "Runs by status" }, ...tiles)];
  if (state.isDraining) parts.unshift(make("p", { class: "card fault", text: "This server is shutting down: it finishes what it has and starts nothing new." }));
  if (!state.recent.length) parts.push(emptyState());
  const runs = table([["Status"], ["Workflow"], ["Time", "number"], ["Started", "number optional"]], state.recent.map(runRow));
  const queues = table([["Queue"], ["Ready", "number"], ["Held", "number"], ["Last poll", "number"]], state.queues.map(queueRow));
  const queueCard = make("section", { class: "card" }, make("h2", { text: "Queues" }),
    state.queues.length ? queues : make("p", { class: "quiet", text: "No task waits and no worker has polled yet." }));
  const left = state.recent.length ? make("section", { class: "card" }, make("h2", { text: "Latest runs" }), runs) : null;
  parts.push(make("div", { class: left ? "columns" : "" }, left, queueCard));
  const loops = Object.entries(state.loops).map(([name, loop]) => `${name}: last pass ${duration(loop.lastPassMsAgo ?? 0)} ago, ${loop.errors ?? 0} errors`);
  if (loops.length) parts.push(make("p", { class: "quiet small", text: `Background loops. ${loops.join("; ")}` }));
  return parts;
}

function payload(title, value) {
  const isEmpty = value === undefined || (typeof value === "object" && value !== null && !Object.keys(value).length);
  if (isEmpty) return null;
  return make("div", {}, make("span", { class: "quiet small", text: title }), make("pre", { text: JSON.stringify(value, null, 2) }));
}

function taskRow(task, run) {
  const begin = run.createTime;
  const span = Math.max((run.endTime || now()) - begin, 1);
  const from = (task.startTime || task.scheduledTime || begin) - begin;
  const to = (task.endTime || run.endTime || now()) - begin;
  const bar = make("span", { class: `bar ${MOODS[task.status] ?? ""}` });
  const left = Math.min(Math.max((100 * from) / span, 0), 99);
  bar.style.left = `${left}%`;
  bar.style.width = `${Math.min(Math.max((100 * (to - from)) / span, 0.5), 100 - left)}%`;
  const kind = task.taskType === task.referenceTaskName ? null : task.taskType;
  const attempt = task.retryCount ? `attempt ${task.retryCount + 1}` : null;
  const name = make("span", { class: "nested" },
    make("span", { text: task.referenceTaskName }),
    make("span", { class: "quiet small", text: ` ${[kind, attempt].filter(Boolean).join(", ")}` }));
  name.style.setProperty("--depth", String((task.referenceTaskName.match(/__\d+/g) ?? []).length));
  const time = task.startTime ? duration((task.endTime || now()) - task.startTime) : "";
  const facts = [`id ${task.taskId}`, task.workerId && `worker ${task.workerId}`, task.domain && `domain ${task.domain}`, task.pollCount && `polled ${task.pollCount} times`].filter(Boolean);
  const child = task.subWorkflowId ? make("a", { href: `/?run=${encodeURIComponent(task.subWorkflowId)}`, text: "show the sub-workflow" }) : null;
  const details = make("details", { class: "task" },
    make("summary", { "data-key": task.taskId }, make("span", {}, statusChip(task.status)), name, make("span", { class: "track" }, bar), make("span", { class: "small quiet time", text: time })),
    make("div", { class: "body" },
      make("span", { class: "quiet small mono", text: facts.join(", ") }), child,
      task.reasonForIncompletion ? make("p", { class: "reason-text", text: task.reasonForIncompletion }) : null,
      payload("Input", task.inputData), payload("Output", task.outputData)));
  details.open = open.has(task.taskId);
  details.addEventListener("toggle", () => (details.open ? open.add(task.taskId) : open.delete(task.taskId)));
  return details;
}

function runView(run) {
  document.title = `${run.workflowName} - Batuta`;
  const facts = [`version ${run.workflowVersion}`, `started ${new Date(run.createTime).toLocaleString()}`, `${run.endTime ? "took" : "for"} ${runTime(run)}`, `${run.tasks.length} tasks`];
  if (run.correlationId) facts.push(`correlation ${run.correlationId}`);
  const parent = run.parentWorkflowId ? make("a", { href: `/?run=${encodeURIComponent(run.parentWorkflowId)}`, text: "show the parent" }) : null;
  const head = make("section", { class: "card" },
    make("h1", {}, make("span", { text: `${run.workflowName} ` }), statusChip(run.status)),
    make("div", { class: "facts quiet small" }, ...facts.map((text) => make("span", { text })), make("span", { class: "mono", text: run.workflowId }), parent),
    run.reasonForIncompletion ? make("p", { class: "reason-text", text: run.reasonForIncompletion }) : null);
  const tasks = make("section", { class: "card" }, make("h2", { text: "Tasks" }),
    run.tasks.length > TASKS_MAX ? make("p", { class: "quiet small", text: `The newest ${TASKS_MAX} of ${run.tasks.length}.` }) : null,
    ...run.tasks.slice(-TASKS_MAX).map((task) => taskRow(task, run)));
  const data = [payload("Input", run.input), payload("Output", run.output), payload("Variables", run.variables)].filter(Boolean);
  return [make("a", { href: "/", text: "All runs" }), head, tasks, data.length ? make("section", { class: "card" }, make("h2", { text: "Data" }), ...data) : null].filter(Boolean);
}

function beat(kind, text) {
  pulse.className = `pulse ${kind}`;
  pulse.textContent = text;
}

function draw(parts) {
  const key = document.activeElement?.dataset.key;
  main.replaceChildren(...parts);
  if (key) main.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

async function refresh() {
  const url = runId ? `/api/workflow/${encodeURIComponent(runId)}` : "/api/batuta/status";
  const answer = await fetch(url, { cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) {
    main.replaceChildren(make("p", { class: "card fault", text: body.message ?? `the server answered ${answer.status}` }), make("a", { href: "/", text: "All runs" }));
    beat("on", "live");
    return;
  }
  const isFinal = Boolean(runId) && ENDED.has(body.status);
  const isLarge = Boolean(runId) && body.tasks.length > TASKS_MAX;
  pauseMs = isLarge ? 10 * EVERY_MS : isFinal ? 5 * EVERY_MS : EVERY_MS;
  const text = JSON.stringify(body);
  // A run that has ended looks the same until it changes, and who selects text wants to keep it.
  if ((!isFinal || text !== shown) && !String(getSelection())) draw(runId ? runView(body) : overview(body));
  shown = text;
  beat("on", isFinal ? "ended" : "live");
}

async function tick() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      await refresh();
    } catch {
      beat("off", "no answer, trying again");
    }
  }
  if (!document.hidden) timer = setTimeout(tick, pauseMs);
}

document.addEventListener("visibilitychange", tick);
tick();
