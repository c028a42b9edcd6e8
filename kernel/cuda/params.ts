/**
 * The parameter of a kernel: one struct, passed by value, whose C text and
 * whose places of fields are made together. Widest fields come first, so that
 * nothing is padded.
 *
 * @module
 */

import type { Program } from "../program.ts";
import type { ScalarType } from "../expr.ts";
import { storageTypes } from "./types.ts";

/** A field of the struct that belongs to an axis or an operand. */
export interface Field {
  /** Place, in 32-bit words. */
  readonly word: number;
  /** Number of the operand, the axis or the scalar. */
  readonly of: number;
}

/** A stride's place. */
export interface StrideField extends Field {
  /** The axis it belongs to; `of` is the operand. */
  readonly axis: number;
}

/** A scalar's place. */
export interface ScalarField extends Field {
  /** Its type. */
  readonly type: ScalarType;
}

/** Counts that a kernel may ask for. */
export type Count =
  /** Vectors, rows or items to walk. */
  | "count"
  /** Elements of a row, or of the only axis. */
  | "length"
  /** Elements of one piece of a row. */
  | "piece"
  /** Rows without the axis of pieces. */
  | "rows";

/** Where everything stands that is written before a launch. */
export interface ParamLayout {
  /** The struct in C. */
  readonly struct: string;
  /** Size. */
  readonly bytes: number;
  /** Whether indices are 64 bits wide. */
  readonly wide: boolean;
  /** Places of the operands' addresses (two words each). */
  readonly addresses: readonly Field[];
  /** Place of the flag's address, where elements may be refused (two words). */
  readonly flag: number | undefined;
  /** Scalars. */
  readonly scalars: readonly ScalarField[];
  /** Counts. */
  readonly counts: Readonly<Partial<Record<Count, number>>>;
  /** Extents of axes, followed by magic number and shift where indices are 32 bits wide. */
  readonly sizes: readonly Field[];
  /** Strides. */
  readonly strides: readonly StrideField[];
  /** Largest offsets of `load`. */
  readonly limits: readonly Field[];
}

/** What a kernel needs to know when it runs. */
export interface ParamNeeds {
  /** Whether indices are 64 bits wide. */
  readonly wide: boolean;
  /** Counts. */
  readonly counts: readonly Count[];
  /** Axes whose extents it divides by. */
  readonly sizes: readonly number[];
  /** Strides, as operand and axis. */
  readonly strides: readonly (readonly [operand: number, axis: number])[];
  /** Inputs that are loaded from at computed offsets. */
  readonly loads: readonly number[];
}

/** Most bytes that a kernel's parameters may have. */
export const maxParamBytes = 4096;

/**
 * Lays out the parameters of a kernel.
 *
 * @throws {RangeError} when they do not fit.
 */
export function paramLayout(p: Program, needs: ParamNeeds): ParamLayout {
  const lines: string[] = [];
  let word = 0;
  const place = (type: string, name: string, words: number) => {
    lines.push(`  ${type} ${name};`);
    const at = word;
    word += words;
    return at;
  };
  const { wide } = needs;
  const [count, index, words] = wide
    ? ["long long", "long long", 2]
    : ["unsigned", "int", 1];
  const inputs = p.inputs.length;
  const addresses = [
    ...p.inputs.map((dtype, k) => ({
      word: place(`const ${storageTypes[dtype]}*`, `in${k}`, 2),
      of: k,
    })),
    ...p.outputs.map(({ dtype }, k) => ({
      word: place(`${storageTypes[dtype]}*`, `out${k}`, 2),
      of: inputs + k,
    })),
  ];
  const flag = p.refuses && place("int*", "flag", 2);
  const scalars: ScalarField[] = [];
  const scalar = (type: ScalarType, of: number, c: string, words: number) => {
    scalars.push({ word: place(c, `c${of}`, words), of, type });
  };
  p.scalars.forEach((type, k) => {
    if (type === "f64") scalar(type, k, "double", 2);
    if (type === "i64") scalar(type, k, "long long", 2);
  });
  const counts: Partial<Record<Count, number>> = {};
  for (const name of needs.counts) counts[name] = place(count, name, words);
  const strides = needs.strides.map(([of, axis]) => ({
    word: place(index, `s${of}_${axis}`, words),
    of,
    axis,
  }));
  const sizes = needs.sizes.map((of) => {
    const at = place(count, `n${of}`, words);
    if (!wide) {
      place("unsigned", `m${of}`, 1);
      place("unsigned", `h${of}`, 1);
    }
    return { word: at, of };
  });
  const limits = needs.loads.map((of) => ({
    word: place("int", `l${of}`, 1),
    of,
  }));
  p.scalars.forEach((type, k) => {
    if (type === "f32") scalar(type, k, "float", 1);
    if (type === "i32" || type === "bool") scalar(type, k, "int", 1);
  });
  const bytes = Math.ceil(word / 2) * 8;
  if (bytes > maxParamBytes) {
    throw new RangeError(
      `Cannot run a kernel with ${addresses.length} operands and ${strides.length} strides: its parameters take ${bytes} bytes, and a CUDA kernel takes at most ${maxParamBytes}`,
    );
  }
  return {
    struct: `struct Params {\n${lines.join("\n")}\n};\n`,
    bytes,
    wide,
    addresses,
    flag,
    scalars,
    counts,
    sizes,
    strides,
    limits,
  };
}
