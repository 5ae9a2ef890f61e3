// ONNX Runtime for the web: WebAssembly with SIMD and threads, WebGPU or WebNN.

import { parse } from "../npy.js";

// y = Identity(x), of one number: a session of it compiles the engine's WebAssembly.
const SMALLEST =
  "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=";

const FILES = { wasm: "ort-wasm-simd-threaded", webgpu: "ort-wasm-simd-threaded.asyncify" };

/**
 * Import and compile the engine.
 *
 * @param folder address of its files
 * @param threads inference threads
 * @param provider "wasm", "webgpu" or "webnn"
 */
export async function start(folder, threads, { provider }) {
  const lines = listening(); // before the engine is there, as it keeps what it prints with
  const kind = provider === "wasm" ? "wasm" : "webgpu";
  const ort = await import(`${folder}ort.${kind}.min.mjs`);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: `${folder}${FILES[kind]}.mjs`, wasm: `${folder}${FILES[kind]}.wasm` };
  const bytes = Uint8Array.from(atob(SMALLEST), (letter) => letter.charCodeAt(0));
  await (await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] })).release();
  return { open: (model, request) => open(ort, provider, lines, model, request) };
}

async function open(ort, provider, lines, bytes, { inputs, profile }) {
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
    executionMode: "sequential",
    enableProfiling: profile,
  });
  const entries = Object.entries(inputs);
  const feeds = Object.fromEntries(
    entries.map(([name, { type, dims, data }]) => [name, new ort.Tensor(type, data, dims)]),
  );
  let results = {};
  return {
    infer: async () => {
      results = await session.run(feeds);
    },
    outputs: () =>
      Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [name, { ...of(tensor) }]),
      ),
    endProfile: () => {
      session.endProfiling();
      return { name: "profile.json", text: `[${lines.splice(0).join(",\n")}]` };
    },
  };
}

const of = (tensor) => ({ type: tensor.type, dims: [...tensor.dims], data: tensor.data });

/** Keep the lines of profiles, which the engine prints one by one, and pass on all others. */
function listening() {
  const lines = [];
  for (const level of ["log", "warn", "error", "info"]) {
    const print = console[level].bind(console);
    console[level] = (...words) => {
      const line = words.length === 1 && typeof words[0] === "string" ? words[0].trim() : "";
      if (line.startsWith('{"cat"')) lines.push(line.replace(/,$/, ""));
      else print(...words);
    };
  }
  return lines;
}
