// Tensors as NumPy's .npy files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format

const HALF = globalThis.Float16Array ?? Uint16Array;

const TYPES = {
  "<f4": ["float32", Float32Array],
  "<f8": ["float64", Float64Array],
  "<f2": ["float16", HALF],
  "|i1": ["int8", Int8Array],
  "|u1": ["uint8", Uint8Array],
  "<i2": ["int16", Int16Array],
  "<u2": ["uint16", Uint16Array],
  "<i4": ["int32", Int32Array],
  "<u4": ["uint32", Uint32Array],
  "<i8": ["int64", BigInt64Array],
  "<u8": ["uint64", BigUint64Array],
  "|b1": ["bool", Uint8Array],
};
const CODES = Object.fromEntries(Object.entries(TYPES).map(([code, [type]]) => [type, code]));

/** Return the tensor in a file: its type by the engines' name, its shape and its numbers. */
export function parse(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const code = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (!(code in TYPES) || shape === undefined || !/'fortran_order':\s*False/.test(header)) {
    throw new Error("it is no .npy file in C order of a type that engines take");
  }
  const dims = shape.split(",").filter((text) => text.trim()).map(Number);
  const [type, Array] = TYPES[code];
  const data = new Array(bytes.slice(start + length).buffer); // a copy, as it has to be aligned
  if (data.length !== dims.reduce((all, size) => all * size, 1)) {
    throw new Error("it does not hold as many numbers as it says");
  }
  return { type, dims, data };
}

/** Return a file with a tensor. */
export function format({ type, dims, data }) {
  if (!(type in CODES)) throw new Error(`NumPy has no type for ${type}`);
  const shape = dims.length === 1 ? `${dims[0]},` : dims.join(", ");
  const words = `{'descr': '${CODES[type]}', 'fortran_order': False, 'shape': (${shape}), }`;
  const header = words.padEnd(Math.ceil((words.length + 11) / 64) * 64 - 11) + "\n";
  const head = new Uint8Array(10 + header.length);
  head.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0], 0);
  new DataView(head.buffer).setUint16(8, header.length, true);
  head.set(new TextEncoder().encode(header), 10);
  return new Blob([head, data]);
}

/** Say whether all numbers of a tensor are finite. */
export function isFinite({ type, data }) {
  if (type === "float16" && data instanceof Uint16Array) {
    return data.every((bits) => (bits & 0x7c00) !== 0x7c00);
  }
  return !type.startsWith("float") || data.every(Number.isFinite);
}
