// The timed loop. What stands between two clock readings here is in every number.

import { ask } from "./channel.js";

const LONGEST_LOOK_MS = 500; // at the clock: some browsers have steps of 100 ms

/** Nanoseconds of CPU time so far, of what `scope` says: "inference" or "block". */
const cpu = () => ask("cpu");

// A reading is a request, and part of the CPU time of that lies behind the moment at which the clock
// is read: between two readings there is as much of it as when nothing is between them.
let readingNs = 0;
const READINGS = 64;

/** Find out what a reading of the CPU clock costs; return nanoseconds. */
export function calibrate(scope) {
  if (!scope) return 0;
  const costs = Array.from({ length: 2 * READINGS }, () => -(cpu() - cpu()));
  readingNs = median(costs.slice(READINGS)); // the first ones are slower
  return readingNs;
}

/**
 * Time one inference for each entry of an order.
 *
 * The wall clock is read right beside the inference, the CPU clock, which takes a request, outside
 * of that: around each inference where it tells those, else around each run of one model, as
 * `cpu_blocks`: pairs of a number of inferences and the CPU time of them all.
 *
 * @param infers what to call, one for each model
 * @param order index into `infers` for each call
 * @param scope what the CPU clock is good for: "inference", "block" or "" for nothing
 * @returns nanoseconds of each call, in order
 */
export async function timeOrder(infers, order, scope) {
  const wall = new Float64Array(order.length);
  const cpuNs = new Float64Array(order.length);
  const blocks = [];
  for (let i = 0; i < order.length; i++) {
    const infer = infers[order[i]];
    const starts = scope === "block" && (i === 0 || order[i] !== order[i - 1]);
    if (starts) blocks.push([0, -cpu()]);
    const before = scope === "inference" ? cpu() : 0;
    const start = performance.now();
    await infer();
    wall[i] = performance.now() - start;
    if (scope === "inference") cpuNs[i] = cpu() - before - readingNs;
    if (scope === "block") {
      const block = blocks.at(-1);
      block[0] += 1;
      if (order[i + 1] !== order[i]) block[1] = Math.max(0, block[1] + cpu() - readingNs);
    }
  }
  const wall_ns = Array.from(wall, (ms) => Math.round(ms * 1e6));
  if (scope === "block") return { wall_ns, cpu_blocks: blocks };
  return { wall_ns, cpu_ns: Array.from(cpuNs, (ns) => Math.max(0, Math.round(ns))) };
}

/** Call until the rule is satisfied, and return every call's time. See `mvdeploy.runners.loop`. */
export async function warmUp(infer, rule, scope, byCpu) {
  const parts = [];
  const take = async (count) => parts.push(await timeOrder([infer], Array(count).fill(0), scope));
  if (rule.iterations !== null) {
    await take(rule.iterations);
    return joined(parts, scope);
  }
  const began = performance.now();
  const medians = [];
  let latest = began;
  while (latest - began < rule.max_seconds * 1e3) {
    const until = Math.min(latest + rule.window_seconds * 1e3, began + rule.max_seconds * 1e3);
    const first = parts.length;
    do await take(1); while (performance.now() < until);
    const window = joined(parts.slice(first), scope);
    medians.push(median(byCpu && scope === "inference" ? window.cpu_ns : window.wall_ns));
    latest = performance.now();
    if (isWarm(rule, parts.length, (latest - began) / 1e3, medians)) break;
  }
  return joined(parts, scope);
}

function isWarm(rule, count, seconds, medians) {
  if (count < rule.min_iterations || seconds < rule.min_seconds || medians.length < 2) return false;
  const [before, now] = medians.slice(-2);
  // What warms up gets faster; what has got slower meanwhile was disturbed.
  return before - now <= rule.tolerance * before;
}

function joined(parts, scope) {
  const all = (name) => parts.flatMap((part) => part[name]);
  const cpuTimes = scope === "block" ? "cpu_blocks" : "cpu_ns";
  return { wall_ns: all("wall_ns"), [cpuTimes]: all(cpuTimes) };
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The smallest step of the wall clock that is seen, in milliseconds. */
export function clockStep() {
  let least = Infinity;
  const until = performance.now() + LONGEST_LOOK_MS;
  for (let seen = 0; seen < 200 && performance.now() < until; seen++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return least;
}
