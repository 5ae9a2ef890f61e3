// What an engine computes with beside the processor: adapters of WebGPU, and WebNN.

import { Failed } from "./channel.js";

const WASM = "Leave --web-provider out to measure WebAssembly, which every browser has.";
// Programs that do a GPU's work on the processor, as browsers and systems have them.
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|software|basic render/i;

/**
 * Demand what a provider computes with.
 *
 * @param provider "wasm", "webgpu" or "webnn"
 * @param force whether a software adapter will do
 * @returns its name, and why its times are those of no such hardware; each empty without
 */
export async function demand(provider, force) {
  if (provider === "webgpu") return gpu(force);
  if (provider === "webnn") await neuralNetworks();
  return { name: "", emulated: "" };
}

async function gpu(force) {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) {
    const what = navigator.gpu ? "finds no GPU that WebGPU can use" : "has no WebGPU";
    throw new Failed("device", `The browser ${what}.`, WASM);
  }
  const info = adapter.info ?? {};
  const words = [info.vendor, info.architecture, info.device, info.description];
  const name = [...new Set(words.filter(Boolean))].join(" ") || "not told";
  const software = info.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false;
  if (!software && !SOFTWARE.test(name)) return { name, emulated: "" };
  if (!force) {
    throw new Failed(
      "device",
      `The browser's only adapter of WebGPU is a program (${name}), which computes on the processor.`,
      "Measure on a machine whose browser has a GPU, or measure it all the same with --force; " +
        "the row says 'emulated' then.",
    );
  }
  return { name, emulated: `WebGPU is computed by a program (${name}), on the processor` };
}

async function neuralNetworks() {
  if (!navigator.ml) throw new Failed("device", "The browser has no WebNN.", WASM);
  try {
    await navigator.ml.createContext();
  } catch (error) {
    const words = String(error?.message ?? error).replace(/[. ]+$/, "");
    throw new Failed("device", `The browser's WebNN cannot be used (${words}).`, WASM);
  }
}
