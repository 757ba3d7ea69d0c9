// A run's payload (see page/payload.py) as arrays that can be cut by frame and view. Undefined becomes null: a gap.

import { learn } from "./metrics.js";

export const SCHEMA = 1;
const STEPS = 65534;
const UNDEFINED = 65535;

export function checkSchema(found) {
  if (found !== SCHEMA) {
    throw new Error(
      `This data has schema ${found}, this page reads schema ${SCHEMA}; the two come from different versions of rra-monitor.`,
    );
  }
}

export function decodeRun(payload) {
  learn(payload.titles);
  const probes = new Map();
  for (const [name, probe] of Object.entries(payload.probes)) probes.set(name, decodeProbe(probe));
  return { name: payload.name, group: payload.group, frames: withKeys(payload.frames), notes: payload.notes ?? [], probes };
}

function decodeProbe(probe) {
  const curves = new Map(Object.entries(probe.curves).map(([name, array]) => [name, lazy(array)]));
  const matrices = new Map();
  for (const [kind, matrix] of Object.entries(probe.matrices)) {
    matrices.set(kind, { ...matrix, values: lazy(matrix.values) });
  }
  return { ...probe, curves, matrices };
}

// Several frames of one epoch (a training that measures by steps) are told apart by their order within it.
function withKeys(frames) {
  let [epoch, part] = [null, 0];
  return frames.map((frame) => {
    part = frame.epoch === epoch ? part + 1 : 0;
    ({ epoch } = frame);
    return { ...frame, part, key: epoch * PER_EPOCH + part };
  });
}

export const PER_EPOCH = 1e5;

// Bytes are decoded when they are first looked at: most probes and views of most runs never are.
export function lazy(array) {
  let values = null;
  const typed = () => (values ??= typedValues(array));
  const { shape } = array;
  const read = array.type === "u2" ? readShare : readFloat;
  return {
    shape,
    // The last axis at the given places of the others.
    row(...at) {
      const width = shape[shape.length - 1];
      const start = offset(shape, at) * width;
      const cells = typed();
      return Array.from({ length: width }, (_, column) => read(cells[start + column]));
    },
    // The last two axes at the given places of the others.
    matrix(...at) {
      return Array.from({ length: shape[shape.length - 2] }, (_, row) => this.row(...at, row));
    },
    // The smallest and the largest value at one place of the second axis, over all others.
    range(second) {
      const cells = typed();
      const size = shape.slice(2).reduce((product, length) => product * length, 1);
      let [low, high] = [Infinity, -Infinity];
      for (let first = 0; first < shape[0]; first += 1) {
        const start = (first * shape[1] + second) * size;
        for (let cell = start; cell < start + size; cell += 1) {
          const value = read(cells[cell]);
          if (value !== null && value < low) low = value;
          if (value !== null && value > high) high = value;
        }
      }
      return high < low ? null : [low, high];
    },
  };
}

const readShare = (cell) => (cell === UNDEFINED ? null : cell / STEPS);
const readFloat = (cell) => (Number.isNaN(cell) ? null : cell);

function offset(shape, at) {
  return at.reduce((position, place, axis) => position * shape[axis] + place, 0);
}

function typedValues(array) {
  const bytes = array.bytes ?? fromBase64(array.data);
  const Type = array.type === "u2" ? Uint16Array : Float32Array;
  return new Type(bytes.buffer, bytes.byteOffset, bytes.byteLength / Type.BYTES_PER_ELEMENT);
}

export function fromBase64(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}
