// An engine whose model says what it does to the browser:
// {"at": "open" | "infer" | "outputs", "does": one of these, "after": calls before it does so}.

const DOES = {
  nothing: () => {},
  wait: () => new Promise(() => {}),
  spin: () => {
    for (;;);
  },
  throw: () => {
    throw new Error("the pool is dry.\n  at kernel");
  },
  number: () => {
    throw 5242880; // as WebAssembly code does
  },
  heap: () => {
    for (const kept = []; ; ) kept.push(Array.from({ length: 100_000 }, Math.random));
  },
  grow: () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
    for (;;) memory.grow(16384);
  },
};

export const start = async () => ({
  open: async (bytes) => {
    const { at, does, after } = JSON.parse(new TextDecoder().decode(bytes));
    let left = after;
    const may = (here) => (here === at && left-- <= 0 ? DOES[does]() : undefined);
    await may("open");
    return {
      infer: async () => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        await may("infer");
      },
      outputs: () => {
        may("outputs");
        return { y: { type: "float32", dims: [1, 2], data: new Float32Array([1, 2]) } };
      },
    };
  },
});
