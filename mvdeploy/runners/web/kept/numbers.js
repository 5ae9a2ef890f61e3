// Numbers of samples, by the methods of `mvdeploy report`.

/** One percentile, by linear interpolation between order statistics. */
export function percentile(samples, q) {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = ((sorted.length - 1) * q) / 100;
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

const LEAST_BLOCKS = 10;
// Quantiles of Student's t at 97.5 % by the number of blocks; four sessions have 12, fewer 10 or 12.
const T = { 10: 2.262157162854099, 12: 2.2009851600916384 };

/** The 95 % interval of the median of sessions, as `mvdeploy.stats.interval` has it, or null. */
export function medianInterval(sessions) {
  const filled = sessions.filter((session) => session.length);
  if (!filled.length) return null;
  const each = Math.ceil(LEAST_BLOCKS / filled.length);
  const t = T[each * filled.length];
  const times = filled.flat();
  if (!t || filled.some((one) => one.length < 2 * each) || times.some((ns) => ns <= 0)) return null;
  const logs = filled.flatMap((session) => {
    const edge = (i) => rounded((i * session.length) / each);
    const blocks = Array.from({ length: each }, (_, i) => session.slice(edge(i), edge(i + 1)));
    return blocks.map((block) => Math.log(percentile(block, 50)));
  });
  const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length;
  const squares = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0);
  const half = t * Math.sqrt(squares / (logs.length - 1) / logs.length);
  const median = percentile(times, 50);
  return [median * Math.exp(-half), median * Math.exp(half)];
}

/** Round as Python does: halves to the even number. */
function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}
