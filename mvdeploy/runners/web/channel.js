// What the runner asks of, and tells, the program that opened its page.
//
// Requests that are made while inferences are timed wait for their answer, so that nothing of them
// is left to run beside the next inference.

export function send(path, body) {
  const request = new XMLHttpRequest();
  request.open("POST", path, false);
  request.send(body);
  if (request.status !== 200) throw new Error(`${path}: ${request.responseText}`);
  return request.responseText;
}

export function ask(path) {
  const request = new XMLHttpRequest();
  request.open("GET", path, false);
  request.send();
  return Number(request.responseText);
}

export async function bytesOf(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Write an event: its name and its fields. */
export function emit(event, fields = {}) {
  send("events", JSON.stringify({ event, ...fields }) + "\n");
}

/** Ends the job with an `error` event: one sentence on what happened, and one on what to do. */
export class Failed extends Error {
  constructor(kind, message, remedy) {
    super(message);
    this.event = { kind, message, remedy };
  }
}

const REMEDIES = {
  input: "Correct the job's input and run it again.",
  load: "Check that this engine and its version run models of this format.",
  run: "Run it with another engine, or report this to the engine's developers.",
};
const MEMORY =
  /bad_alloc|out of memory|allocation failed|failed to allocate|memory access out of|SafeIntOnOverflow/i;

/** Turn whatever goes wrong in `work` into an `error` event of this kind. */
export async function stage(kind, what, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Failed) throw error;
    const words = wordsOf(error);
    if (error instanceof RangeError || MEMORY.test(words)) {
      const remedy = "Use a smaller model, batch or image size: WebAssembly has 4 GB at most.";
      throw new Failed("memory", `${what}: memory ran out (${words}).`, remedy);
    }
    throw new Failed(kind, `${what} (${words}).`, REMEDIES[kind]);
  }
}

export function wordsOf(error) {
  // WebAssembly code may throw numbers.
  const text = String(error?.message ?? error ?? "no reason told");
  return text.replace(/\s+/g, " ").trim().slice(0, 300).replace(/[. ]+$/, "");
}
