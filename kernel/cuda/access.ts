/**
 * Reads and writes of operands: single elements, or vectors of up to 16 bytes
 * per instruction that pass through registers as 32-bit words.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import { narrow, storageTypes, widen } from "./types.ts";

/** Vector types by their size in bytes. */
const wordTypes: Readonly<Record<number, string>> = {
  1: "unsigned char",
  2: "unsigned short",
  4: "unsigned",
  8: "uint2",
  16: "uint4",
};

const members = ["x", "y", "z", "w"];

/** 32-bit words of a vector. */
export function wordsOf(dtype: DType, lanes: number): number {
  return Math.ceil(lanes * bytesOf(dtype) / 4);
}

/** Declares the words of a vector, from 0 where `zero`. */
export function declareWords(
  dtype: DType,
  lanes: number,
  words: string,
): string {
  return `unsigned ${words}[${wordsOf(dtype, lanes)}] = {};`;
}

/** Reads a vector, aligned to its size, from `pointer` into `words`. */
export function readWords(
  dtype: DType,
  lanes: number,
  pointer: string,
  words: string,
): string[] {
  return pieces(dtype, lanes).flatMap(({ type, part, first, count }) => {
    const from = `((const ${type}*)(${pointer}))[${part}]`;
    if (count === 1) return [`${words}[${first}] = ${from};`];
    const q = `q${part}_${words.replace(/\W/g, "")}`;
    return [
      `const ${type} ${q} = ${from};`,
      ...members.slice(0, count).map((m, i) =>
        `${words}[${first + i}] = ${q}.${m};`
      ),
    ];
  });
}

/** Writes a vector from `words` to `pointer`. */
export function writeWords(
  dtype: DType,
  lanes: number,
  pointer: string,
  words: string,
): string[] {
  return pieces(dtype, lanes).map(({ type, part, first, count }) => {
    const to = `((${type}*)(${pointer}))[${part}]`;
    if (count === 1) return `${to} = (${type})${words}[${first}];`;
    const parts = Array.from(
      { length: count },
      (_, i) => `${words}[${first + i}]`,
    );
    return `${to} = make_${type}(${parts.join(", ")});`;
  });
}

/** The memory instructions of a vector. */
function pieces(dtype: DType, lanes: number) {
  const bytes = lanes * bytesOf(dtype);
  const size = Math.min(bytes, 16);
  return Array.from({ length: Math.ceil(bytes / 16) }, (_, part) => ({
    type: wordTypes[size],
    part,
    first: 4 * part,
    count: Math.max(1, size / 4),
  }));
}

/** Lane `v` (text) of a vector, as the value that kernels compute with. */
export function lane(dtype: DType, words: string, v: string): string {
  return widen(dtype, laneElement(dtype, words, v));
}

/** Lane `v` (text) of a vector, as it is stored. */
export function laneElement(dtype: DType, words: string, v: string): string {
  switch (dtype) {
    case "f32":
      return `__int_as_float((int)${words}[${v}])`;
    case "i32":
      return `(int)${words}[${v}]`;
    case "f64":
      return `__longlong_as_double(${wideLane(words, v)})`;
    case "i64":
      return wideLane(words, v);
    case "f16":
    case "bf16":
      return `(unsigned short)(${words}[(${v}) / 2] >> 16 * ((${v}) % 2))`;
    case "u8":
    case "bool":
    case "i8":
      return `(${
        storageTypes[dtype]
      })(${words}[(${v}) / 4] >> 8 * ((${v}) % 4))`;
    default:
      return dtype satisfies never;
  }
}

function wideLane(words: string, v: string): string {
  return `(long long)((unsigned long long)${words}[2 * (${v}) + 1] << 32 | ${words}[2 * (${v})])`;
}

/** Puts a stored element into lane `v` of words that were 0. */
export function setLane(
  dtype: DType,
  words: string,
  v: string,
  element: string,
): string[] {
  switch (dtype) {
    case "f32":
      return [`${words}[${v}] = (unsigned)__float_as_int(${element});`];
    case "i32":
      return [`${words}[${v}] = (unsigned)${element};`];
    case "f64":
      return setWide(words, v, `__double_as_longlong(${element})`);
    case "i64":
      return setWide(words, v, element);
    case "f16":
    case "bf16":
      return [
        `${words}[(${v}) / 2] |= (unsigned)${element} << 16 * ((${v}) % 2);`,
      ];
    case "u8":
    case "bool":
    case "i8":
      return [
        `${words}[(${v}) / 4] |= (unsigned)(unsigned char)${element} << 8 * ((${v}) % 4);`,
      ];
    default:
      return dtype satisfies never;
  }
}

function setWide(words: string, v: string, bits: string): string[] {
  return [
    `${words}[2 * (${v})] = (unsigned)(unsigned long long)${bits};`,
    `${words}[2 * (${v}) + 1] = (unsigned)((unsigned long long)${bits} >> 32);`,
  ];
}

/** An element, as the value that kernels compute with. */
export function readOne(
  dtype: DType,
  pointer: string,
  offset: string,
): string {
  return widen(dtype, `${pointer}[${offset}]`);
}

/** Stores a value as one element. */
export function writeOne(
  dtype: DType,
  pointer: string,
  offset: string,
  value: string,
): string {
  return `${pointer}[${offset}] = ${narrow(dtype, value)};`;
}
