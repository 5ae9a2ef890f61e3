// Errors of the runner in words.

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
