// One-step runs, ten-step chains and fan-outs by Restate; run by bench/peers/subject.py.
//
// The endpoint and the clients are this process, the server is another one. Steps are `ctx.run`,
// whose results the server keeps. A fan-out is tried in two forms: many such steps at once in one
// handler, and as many calls of a service. Arguments: ingress port, admin port.

import http from "node:http";
import { createRequire } from "node:module";
import * as restate from "@restatedev/restate-sdk";
import { formOf, serve, widthOf } from "./protocol.mjs";

console.info = console.warn = () => {}; // the SDK's words would stand among the figures
Promise.withResolvers ??= () => {
  // The SDK needs it, and Node 20 has none.
  const found = {};
  found.promise = new Promise((resolve, reject) => Object.assign(found, { resolve, reject }));
  return found;
};

const [ingress, admin] = process.argv.slice(2).map(Number);
const STEPS = 10;
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });

const bench = restate.service({
  name: "bench",
  handlers: {
    one_step: async (ctx, x) => ctx.run("step", () => ({ v: x })),
    ten_steps: async (ctx, x) => {
      for (let number = 0; number < STEPS; number += 1) await ctx.run("step", () => ({ v: x }));
      return x;
    },
    fan_out: async (ctx, width) => {
      const steps = Array.from({ length: width }, (_, x) => ctx.run("step", () => ({ v: x })));
      return (await restate.RestatePromise.all(steps)).length;
    },
    fan_out_calls: async (ctx, width) => {
      const service = ctx.serviceClient({ name: "bench" });
      const calls = Array.from({ length: width }, (_, x) => service.one_step(x));
      return (await restate.RestatePromise.all(calls)).length;
    },
  },
});

function post(port, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const request = http.request({ agent, port, path, method: "POST", headers }, (answer) => {
      let text = "";
      answer.on("data", (part) => (text += part));
      answer.on("end", () =>
        answer.statusCode < 300 ? resolve(text) : reject(new Error(`${path}: ${text}`)),
      );
    });
    request.on("error", reject);
    request.end(JSON.stringify(body));
  });
}

async function run(shape) {
  if (!shape.startsWith("fan_out")) return post(ingress, `/bench/${shape}`, 1);
  const done = await post(ingress, `/bench/${formOf(shape)}`, widthOf(shape));
  if (Number(done) !== widthOf(shape)) throw new Error(`${shape} gave ${done}`);
  return done;
}

const port = await restate.serve({ services: [bench], port: 0 });
await post(admin, "/deployments", { uri: `http://127.0.0.1:${port}/` });
const version = createRequire(import.meta.url)("@restatedev/restate-sdk/package.json").version;
const forms = ["fan_out", "fan_out_calls"];
const hello = { version: `SDK ${version}`, clients: [16, 64, 200], forms };
await serve(hello, run);
process.exit(0);
