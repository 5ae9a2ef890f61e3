// LiteRT.js: WebAssembly (XNNPACK), WebGPU or WebNN. It has no profiler.

const SCRIPTS = { one: "litert_wasm_internal", several: "litert_wasm_threaded_internal" };

/**
 * Import and compile the engine.
 *
 * @param folder address of its files
 * @param threads inference threads
 * @param provider "wasm", "webgpu" or "webnn"
 */
export async function start(folder, threads, { provider }) {
  const script = SCRIPTS[threads > 1 ? "several" : "one"];
  const { default: factory } = await import(`${folder}${script}.module.mjs`);
  const litert = await import(`${folder}index.js`);
  // It loads its script as only workers that are no modules can; this one is loaded already.
  self.importScripts = () => {};
  self.ModuleFactory = factory;
  self.Module = {
    locateFile: (name) => `${folder}${name}`,
    mainScriptUrlOrBlob: `${folder}${script}.js`,
  };
  await litert.loadLiteRt(`${folder}${script}.js`);
  return { open: (model, request) => open(litert, provider, threads, model, request) };
}

async function open(litert, accelerator, threads, bytes, { inputs }) {
  const compiled = await litert.loadAndCompile(bytes, {
    accelerator,
    cpuOptions: { numThreads: threads },
  });
  const elsewhere = accelerator !== "wasm";
  if (elsewhere && !(compiled.options?.accelerator === accelerator && compiled.isFullyAccelerated)) {
    // It would say so on the console alone, and compute on the processor.
    throw new Error(`not all of the model runs by ${accelerator}`);
  }
  const feeds = {};
  for (const [name, { dims, data }] of Object.entries(inputs)) {
    feeds[name] = new litert.Tensor(data, dims);
  }
  let results = {};
  const fetched = {};
  return {
    infer: async () => {
      const before = Object.values(results);
      results = await compiled.run(feeds);
      for (const tensor of before) tensor.delete(); // nothing else frees them
      if (!elsewhere) return;
      // Until its results can be read, the work is not known to be done.
      for (const [name, tensor] of Object.entries(results)) fetched[name] = await tensor.data();
    },
    outputs: () =>
      Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [name, of(tensor, fetched[name])]),
      ),
  };
}

const of = (tensor, fetched) => ({
  type: tensor.type.dtype,
  dims: [...tensor.type.layout.dimensions],
  data: fetched ?? tensor.toTypedArray(),
});
