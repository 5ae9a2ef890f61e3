// The web runner: a worker that does one job and reports events, as mvdeploy/records/job.py has them.
//
// All models are loaded first, in the job's order; then each has its first inference and its
// warm-up, in the order of warming up if the job gives one; then come the measured inferences in the
// order that the job gives, once or for as long as it says.

import { demand } from "./adapters.js";
import { Failed, ask, bytesOf, emit, send, stage, wordsOf } from "./channel.js";
import { calibrate, clockStep, timeOrder, warmUp } from "./loop.js";
import { format, isFinite, parse } from "./npy.js";

const FLUSH_S = 2; // of measuring, after which samples are reported
const LEAST_S = 0.05; // of measuring before a report at least
const SEGMENT_LIMIT = 100_000;
const LARGEST_STEP_MS = 0.0055; // an isolated page has steps of 5 µs, any other of 100

const memory = () => ask("memory");

async function run({ job, about, engines, scope, force }) {
  const step = isolatedClock();
  const wall = { function: "performance.now", implementation: "performance.now()" };
  const cpu = { ...about.clock.cpu, reading_s: calibrate(scope) / 1e9 };
  const clock = { cpu, wall: { ...wall, resolution_s: step / 1e3 } };
  const adapters = {};
  const emulates = {};
  for (const [name, { provider }] of Object.entries(engines)) {
    const found = await demand(provider, force);
    if (found.name) adapters[name] = found.name;
    if (found.emulated) emulates[name] = found.emulated;
  }
  emit("hello", { runner: "web", ...about, clock, adapters, emulates });
  const started = {};
  for (const [name, engine] of Object.entries(engines)) {
    // Before any load is timed: compiling an engine is no part of loading a model.
    started[name] = await stage("load", `${name} could not be started`, async () => {
      const plugin = await import(`./engines/${engine.script}`);
      return plugin.start(new URL(engine.folder, self.location.href).href, job.threads, engine);
    });
  }
  const sessions = [];
  for (const i of job.models.keys()) sessions.push(await load(job, i, started));
  const order = job.warmup_order.length ? job.warmup_order : [...sessions.keys()];
  let pace = 0;
  for (const i of order) pace = Math.max(pace, await warm(job, sessions[i], i, scope));
  await measure(job, sessions, pace, scope);
  for (const [i, session] of sessions.entries()) await output(job.models[i], session, i);
  for (const [i, session] of sessions.entries()) {
    if (job.models[i].profile_to === null) continue;
    const path = job.models[i].path;
    await stage("run", `The profile of ${path} could not be had`, async () => {
      const { name, text } = await session.endProfile();
      emit("profile", { model: i, path: send(`profile/${i}/${name}`, text) });
    });
  }
  emit("done", { peak_memory: ask("peak-memory") });
}

function isolatedClock() {
  const step = clockStep();
  if (!self.crossOriginIsolated || step > LARGEST_STEP_MS) {
    const what = self.crossOriginIsolated ? `steps of ${step * 1e3} µs` : "not isolated";
    throw new Failed(
      "device",
      `The page's clock is too coarse to measure by (${what}).`,
      "Open the page from an address of this machine or by https, in a browser that isolates pages.",
    );
  }
  return step;
}

async function load(job, index, started) {
  const model = job.models[index];
  const bytes = await stage("input", `The model ${model.path} could not be read`, async () => {
    const read = await bytesOf(`models/${index}`);
    const digest = await sha256([read]);
    if (digest !== model.sha256) {
      throw new Failed(
        "input",
        `${model.path} is not the file that the job describes (its SHA-256 is ` +
          `${digest.slice(0, 12)}…, not ${model.sha256.slice(0, 12)}…).`,
        "Export the model again.",
      );
    }
    return read;
  });
  const inputs = {};
  for (const name of Object.keys(model.inputs)) {
    const what = `The input '${name}' of ${model.path} could not be read`;
    const file = `inputs/${index}/${encodeURIComponent(name)}`;
    inputs[name] = await stage("input", what, async () => parse(await bytesOf(file)));
  }
  return stage("load", `${model.engine} could not load ${model.path}`, async () => {
    const memory_before = memory();
    const start = performance.now();
    const session = await started[model.engine].open(bytes, {
      inputs,
      outputs: model.outputs,
      options: model.options,
      profile: model.profile_to !== null,
    });
    const load_ns = Math.round((performance.now() - start) * 1e6);
    emit("loaded", { model: index, load_ns, memory_before, memory_after: memory() });
    return session;
  });
}

/** Run the first inference and the warm-up; return nanoseconds of one warm inference. */
async function warm(job, session, index, scope) {
  const { path, engine } = job.models[index];
  const infer = session.infer;
  const first = await stage("run", `${engine} failed in the first inference of ${path}`, () =>
    timeOrder([infer], [0], scope),
  );
  emit("first", { model: index, ...first });
  const times = await stage("run", `${engine} failed in the warm-up of ${path}`, () =>
    warmUp(infer, job.warmup, scope, job.threads === 1),
  );
  emit("warmup", { model: index, ...times });
  return times.wall_ns.at(-1) ?? first.wall_ns.at(-1);
}

async function measure(job, sessions, pace, scope) {
  const infers = sessions.map((session) => session.infer);
  const engines = [...new Set(job.models.map((model) => model.engine))].join(", ");
  const began = performance.now();
  send("usage", "begin");
  for (let start = 0; ; ) {
    const at = performance.now() - began;
    const part = segment(job, start, at / 1e3, pace);
    if (!part.length) break;
    const what = `${engines} failed in the measured inferences from number ${start} on`;
    const samples = await stage("run", what, () => timeOrder(infers, part, scope));
    emit("samples", { start, ...(job.repeat_s ? { at_ns: Math.round(at * 1e6) } : {}), ...samples });
    start += part.length;
    pace = samples.wall_ns.reduce((all, ns) => all + ns, 0) / samples.wall_ns.length;
  }
  const counters = send("usage", "end");
  if (counters) emit("usage", { counters: JSON.parse(counters) });
}

/** What is run next, before the samples of it are reported; empty at the end. */
function segment(job, start, seconds, pace) {
  let time = FLUSH_S;
  if (job.repeat_s) {
    const left = job.repeat_s - seconds;
    if (left <= 0) return [];
    time = Math.min(FLUSH_S, Math.max(left / 2, LEAST_S));
  }
  const fitting = Math.floor((time * 1e9) / Math.max(pace, 1));
  const count = Math.max(1, Math.min(fitting, SEGMENT_LIMIT));
  if (!job.repeat_s) return job.order.slice(start, start + count);
  return Array.from({ length: count }, (_, i) => job.order[(start + i) % job.order.length]);
}

async function output(model, session, index) {
  const fields = await stage("run", `The outputs of ${model.path} could not be read`, async () => {
    const tensors = session.outputs();
    const names = Object.keys(tensors).sort(byCodePoint);
    const files = {};
    for (const [position, name] of model.outputs_to === null ? [] : names.entries()) {
      files[name] = send(`outputs/${index}/${position}`, format(tensors[name]));
    }
    return {
      sha256: await sha256(names.map((name) => tensors[name].data)),
      shape: Object.fromEntries(names.map((name) => [name, tensors[name].dims])),
      finite: names.every((name) => isFinite(tensors[name])),
      files,
    };
  });
  emit("output", { model: index, ...fields, memory: memory() });
}

const byCodePoint = (a, b) => {
  const [left, right] = [[...a], [...b]].map((text) => text.map((c) => c.codePointAt(0)));
  const at = left.findIndex((point, i) => point !== right[i]);
  return at < 0 ? left.length - right.length : left[at] - (right[at] ?? -1);
};

async function sha256(parts) {
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

try {
  await run(await (await fetch("job.json")).json());
} catch (error) {
  const stack = String(error?.stack ?? "");
  const failed =
    error instanceof Failed
      ? error.event
      : {
          kind: "run",
          message: `The web runner failed (${wordsOf(error)}).`,
          remedy: "Run again with --debug, and report what it prints.",
        };
  emit("error", { ...failed, traceback: stack });
}
