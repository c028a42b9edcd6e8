/**
 * Tensors as text, laid out as PyTorch lays out its own.
 *
 * @module
 */

import { type DType, isFloat } from "./dtype.ts";
import type { Shape } from "./shape.ts";

/** What there is to print. */
export interface Printable {
  /** Extents. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
  /** Elements in row-major order. */
  readonly data: ArrayLike<number | bigint>;
  /** Remarks after the values, such as `device="cuda:0"`. */
  readonly remarks: readonly string[];
}

const precision = 4;
const lineWidth = 80;
/** More elements than this are summarised. */
const threshold = 1000;
/** Elements shown at either end of a summarised axis. */
const edge = 3;

/** Writes numbers of one tensor in one way: plain, with decimals, or with exponents. */
class NumberFormat {
  width = 1;
  #style: "integer" | "whole" | "decimal" | "exponent" = "integer";

  constructor(values: readonly (number | bigint)[], readonly dtype: DType) {
    if (!isFloat(dtype)) {
      for (const value of values) this.#fit(this.#text(value));
      return;
    }
    this.#style = "whole";
    const finite = (values as number[]).filter((v) =>
      Number.isFinite(v) && v !== 0
    ).map(Math.abs);
    if (finite.length === 0) return;
    const largest = Math.max(...finite), smallest = Math.min(...finite);
    const whole = (values as number[]).every((v) =>
      !Number.isFinite(v) || Number.isInteger(v)
    );
    const spread = largest / smallest > 1000 || largest > 1e8;
    if (whole) this.#style = spread ? "exponent" : "whole";
    else this.#style = spread || smallest < 1e-4 ? "exponent" : "decimal";
    for (const value of values as number[]) {
      if (Number.isFinite(value) && value !== 0) this.#fit(this.#text(value));
    }
  }

  #fit(text: string): void {
    this.width = Math.max(this.width, text.length);
  }

  #text(value: number | bigint): string {
    if (this.dtype === "bool") return value ? "true" : "false";
    if (this.#style === "integer") return String(value);
    const number = Number(value);
    if (Number.isNaN(number)) return "nan";
    if (!Number.isFinite(number)) return number > 0 ? "inf" : "-inf";
    const sign = Object.is(number, -0) ? "-" : "";
    switch (this.#style) {
      case "whole":
        return `${sign}${number.toFixed(0)}.`;
      case "decimal":
        return sign + decimal(number);
      default:
        return sign + exponential(number);
    }
  }

  /** The number, padded to the common width. */
  format(value: number | bigint): string {
    return this.#text(value).padStart(this.width);
  }
}

/** With as many decimals as are shown; ties go to the even digit, as in C. */
function decimal(value: number): string {
  return toEven(value.toFixed(60)) ?? value.toFixed(precision);
}

/** With at least two digits of exponent. */
function exponential(value: number): string {
  const [mantissa, exponent] = value.toExponential(80).split("e");
  const even = toEven(mantissa);
  const text = even === undefined
    ? value.toExponential(precision)
    : `${even}e${exponent}`;
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/** Cuts a long decimal fraction where it lies exactly between two shorter ones and the lower is even. */
function toEven(long: string): string | undefined {
  const cut = long.indexOf(".") + 1 + precision;
  const tie = /^50*$/.test(long.slice(cut));
  return tie && Number(long[cut - 1]) % 2 === 0
    ? long.slice(0, cut)
    : undefined;
}

/** Positions along an axis that are shown; −1 stands for the ones left out. */
function shown(extent: number, summarise: boolean): number[] {
  const all = Array.from({ length: extent }, (_, i) => i);
  if (!summarise || extent <= 2 * edge) return all;
  return [...all.slice(0, edge), -1, ...all.slice(-edge)];
}

/** The tensor as text. */
export function tensorText(x: Printable): string {
  const { shape, dtype, data } = x;
  const summarise = data.length > threshold;
  const values: (number | bigint)[] = [];
  const collect = (axis: number, offset: number): void => {
    if (axis === shape.length) {
      values.push(data[offset]);
      return;
    }
    for (const i of shown(shape[axis], summarise)) {
      if (i >= 0) collect(axis + 1, offset * shape[axis] + i);
    }
  };
  if (data.length > 0) collect(0, 0);
  const numbers = new NumberFormat(values, dtype);
  const prefix = "tensor(";
  const body = (axis: number, offset: number, indent: number): string => {
    const rest = shape.length - axis;
    if (rest === 0) return numbers.format(data[offset]);
    const positions = shown(shape[axis], summarise);
    if (rest === 1) {
      const parts = positions.map((i) =>
        i < 0 ? " ..." : numbers.format(data[offset * shape[axis] + i])
      );
      const perLine = Math.max(
        1,
        Math.floor((lineWidth - indent) / (numbers.width + 2)),
      );
      const lines: string[] = [];
      for (let i = 0; i < parts.length; i += perLine) {
        lines.push(parts.slice(i, i + perLine).join(", "));
      }
      return `[${lines.join(`,\n${" ".repeat(indent + 1)}`)}]`;
    }
    const parts = positions.map((i) =>
      i < 0 ? "..." : body(axis + 1, offset * shape[axis] + i, indent + 1)
    );
    return `[${
      parts.join(`,${"\n".repeat(rest - 1)}${" ".repeat(indent + 1)}`)
    }]`;
  };
  const remarks: string[] = [];
  let text = prefix;
  if (data.length === 0) {
    text += "[]";
    if (shape.length !== 1) remarks.push(`shape=[${shape.join(", ")}]`);
    if (dtype !== "f32") remarks.push(`dtype=${dtype}`);
  } else {
    text += body(0, 0, prefix.length);
    if (dtype !== "f32" && dtype !== "i64" && dtype !== "bool") {
      remarks.push(`dtype=${dtype}`);
    }
  }
  remarks.push(...x.remarks);
  let column = text.length - (text.lastIndexOf("\n") + 1);
  for (const remark of remarks) {
    if (column + remark.length + 2 > lineWidth) {
      text += `,\n${" ".repeat(prefix.length)}${remark}`;
      column = prefix.length + remark.length;
    } else {
      text += `, ${remark}`;
      column += remark.length + 2;
    }
  }
  return `${text})`;
}

/** Each number as the tensor's text shows it, without padding. */
export function numberTexts(
  values: readonly (number | bigint)[],
  dtype: DType,
): string[] {
  const numbers = new NumberFormat(values, dtype);
  return values.map((value) => numbers.format(value).trim());
}
