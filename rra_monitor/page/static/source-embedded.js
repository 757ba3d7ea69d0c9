// Runs that stand in the document itself: the report. The container is described in page/binary.py.

import { checkSchema, fromBase64 } from "./decode.js";

export async function embeddedSource(text) {
  const container = new Uint8Array(await new Response(inflated(text)).arrayBuffer());
  const length = new DataView(container.buffer).getUint32(0, true);
  const payload = JSON.parse(new TextDecoder().decode(container.subarray(4, 4 + length)));
  checkSchema(payload.schema);
  const bytes = container.subarray(4 + length);
  attach(payload, bytes);
  const runs = new Map(payload.runs.map((run) => [run.name, run]));
  return {
    live: 0,
    list: async () => ({
      runs: payload.runs.map(({ name, group }) => ({ name, group, version: "" })),
      message: payload.notes?.join(" ") || null,
      comparison: payload.comparison,
    }),
    load: async (name) => runs.get(name),
  };
}

export function inflated(text) {
  return new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
}

// Gives every array its bytes, unpacked when they are asked for.
function attach(value, bytes) {
  if (value === null || typeof value !== "object") return;
  if ("at" in value && "length" in value && "shape" in value) {
    const part = bytes.subarray(value.at, value.at + value.length);
    Object.defineProperty(value, "bytes", { get: () => unpacked(value, part) });
  } else Object.values(value).forEach((one) => attach(one, bytes));
}

function unpacked({ shape, type, symmetric }, bytes) {
  const whole = type === "u2" ? joined(bytes, 2, Uint16Array) : joined(bytes, 4, Uint32Array);
  const size = shape.slice(1).reduce((product, length) => product * length, 1);
  const side = shape[shape.length - 1];
  const step = symmetric ? (size / (side * side)) * ((side * (side + 1)) / 2) : size;
  for (let at = step; at < whole.length; at += 1) whole[at] += whole[at - step]; // modulo the type's width
  return new Uint8Array((symmetric ? mirrored(whole, side) : whole).buffer);
}

// Numbers whose first bytes come first, then their second bytes, …
function joined(bytes, width, Type) {
  const count = bytes.length / width;
  const whole = new Type(count);
  for (let plane = 0; plane < width; plane += 1) {
    for (let at = 0; at < count; at += 1) whole[at] |= bytes[plane * count + at] << (8 * plane);
  }
  return whole;
}

function mirrored(half, side) {
  const each = (side * (side + 1)) / 2;
  const whole = new half.constructor((half.length / each) * side * side);
  for (let matrix = 0; matrix * each < half.length; matrix += 1) {
    let from = matrix * each;
    const to = matrix * side * side;
    for (let row = 0; row < side; row += 1) {
      for (let column = 0; column <= row; column += 1, from += 1) {
        whole[to + row * side + column] = whole[to + column * side + row] = half[from];
      }
    }
  }
  return whole;
}
