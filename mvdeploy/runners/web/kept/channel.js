// What the runner asks of, and tells, a page that is kept: there is no program behind it, only files.
// The page listens to messages; CPU time and memory are not known.

export { Failed, stage, wordsOf } from "./failing.js";

const received = new Promise((resolve) =>
  self.addEventListener("message", ({ data }) => resolve(data), { once: true }),
);

export const given = () => received;

export function send(path, body) {
  if (path === "events") self.postMessage({ event: body.trim() });
  if (path.startsWith("outputs/")) self.postMessage({ output: path, body });
  return path.startsWith("outputs/") ? path : "";
}

export const ask = () => 0;

export async function bytesOf(path) {
  const { job } = await received;
  const [kind, index, name] = path.split("/");
  const model = job.models[index];
  const file = kind === "models" ? model.path : model.inputs[decodeURIComponent(name)];
  const response = await fetch(`../${file}`);
  if (!response.ok) throw new Error(`${file}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Write an event: its name and its fields. */
export function emit(event, fields = {}) {
  send("events", JSON.stringify({ event, ...fields }));
}
