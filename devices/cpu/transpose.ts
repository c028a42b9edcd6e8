/**
 * Transposed copies of 32-bit elements: four rows by four columns at a time in
 * registers, in bands of sixteen rows or columns, so that a cache line that
 * was fetched is used up at once.
 *
 * @module
 */

import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import { advance, loadParameters, repeat, setMin } from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { cachedKernel, createKernel, runKernel } from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

/** A copy between layouts; strides in bytes. */
export interface TransposeSpec {
  /** Address of the source, whose rows are one element (4 bytes) apart. */
  readonly source: number;
  /** Address of the target, whose columns are one element apart. */
  readonly target: number;
  /** Extent of the axis along which the source lies side by side. */
  readonly rows: number;
  /** Extent of the axis along which the target lies side by side. */
  readonly columns: number;
  /** Step of the source from column to column. */
  readonly sourceStep: number;
  /** Step of the target from row to row. */
  readonly targetStep: number;
  /** Axes around the two: extent, step of the source, step of the target. */
  readonly outer: readonly (readonly [number, number, number])[];
}

/** Rows or columns of a band: a cache line of the source or the target. */
const bandSize = 16;
/** Axes around the two that fit into the parameters. */
export const maxOuterAxes: number = 12;

// Both layouts, then along and across a band: extent, step of the source, step of the target.
const names = [
  "source",
  "target",
  "sourceStep",
  "targetStep",
  "length",
  "alongSource",
  "alongTarget",
  "width",
  "acrossSource",
  "acrossTarget",
  "bands",
  "axes",
] as const;

const parameters = new ParameterBlock(names.length + 3 * maxOuterAxes);

/** Copies. */
export function transpose(s: TransposeSpec): void {
  const rows = [s.rows, 4, s.targetStep];
  const columns = [s.columns, s.sourceStep, 4];
  // A band runs through the layout whose neighbours are far apart, where fetching ahead helps.
  const [along, across] = s.sourceStep > s.targetStep
    ? [rows, columns]
    : [columns, rows];
  const bands = Math.ceil(across[0] / bandSize);
  const at = parameters.fill(
    s.source,
    s.target,
    s.sourceStep,
    s.targetStep,
    ...along,
    ...across,
    bands,
    s.outer.length,
    ...s.outer.flat(),
  );
  const count = s.outer.reduce((n, [extent]) => n * extent, bands);
  const grain = Math.max(1, Math.ceil(2048 / along[0]));
  runKernel(cachedKernel("transpose", build), at, count, grain);
}

function build() {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, names);
    const item = f.local("i32"), rest = f.local("i32"), axis = f.local("i32");
    const from = f.local("i32"), to = f.local("i32"), left = f.local("i32");
    const band = f.local("i32"), length = f.local("i32");
    const x = f.local("i32"), y = f.local("i32"), place = f.local("i32");
    const times = (local: number, factor: number) => () =>
      f.get(local).i32(factor).op("i32.mul");
    f.get(2).get(1).op("i32.sub").set(item);
    repeat(f, item, () => {
      // Items are counted down; which is done first does not matter.
      f.get(1).get(item).op("i32.add").i32(1).op("i32.sub").set(rest);
      f.get(rest).get(p.bands).op("i32.rem_u").i32(bandSize).op("i32.mul");
      f.set(place);
      f.get(rest).get(p.bands).op("i32.div_u").set(rest);
      f.get(p.source).get(place).get(p.acrossSource).op("i32.mul");
      f.op("i32.add").set(from);
      f.get(p.target).get(place).get(p.acrossTarget).op("i32.mul");
      f.op("i32.add").set(to);
      setMin(
        f,
        band,
        () => f.get(p.width).get(place).op("i32.sub"),
        () => f.i32(bandSize),
      );
      f.get(p.axes).set(axis);
      repeat(f, axis, () => {
        const word = 4 * (names.length - 3);
        f.get(0).get(axis).i32(12).op("i32.mul").op("i32.add").set(x);
        f.get(rest).get(x).load("i32.load", word).op("i32.rem_u").set(y);
        f.get(rest).get(x).load("i32.load", word).op("i32.div_u").set(rest);
        for (const [pointer, at] of [[from, word + 4], [to, word + 8]]) {
          advance(f, pointer, () => {
            f.get(y).get(x).load("i32.load", at).op("i32.mul");
          });
        }
      });
      f.get(p.length).set(length);
      for (const count of [4, 1]) {
        repeat(f, length, () => {
          f.get(from).set(x);
          f.get(to).set(y);
          f.get(band).set(left);
          if (count === 4) {
            repeat(f, left, () => {
              square(f, x, y, p);
              advance(f, x, times(p.acrossSource, 4));
              advance(f, y, times(p.acrossTarget, 4));
            }, 4);
          }
          repeat(f, left, () => {
            for (let i = 0; i < count; i++) {
              f.get(y).get(p.alongTarget).i32(i).op("i32.mul").op("i32.add");
              f.get(x).get(p.alongSource).i32(i).op("i32.mul").op("i32.add");
              f.load("i32.load").store("i32.store");
            }
            advance(f, x, () => f.get(p.acrossSource));
            advance(f, y, () => f.get(p.acrossTarget));
          });
          advance(f, from, times(p.alongSource, count));
          advance(f, to, times(p.alongTarget, count));
        }, count);
      }
    });
  });
  return createKernel("transpose", m.toBytes());
}

/** Copies four rows of four columns. */
function square(
  f: FunctionBuilder,
  x: number,
  y: number,
  p: { readonly sourceStep: number; readonly targetStep: number },
): void {
  const place = f.local("i32");
  const columns = Array.from({ length: 4 }, (_, c) => {
    const column = f.local("v128");
    f.get(c === 0 ? x : place).load("v128.load").set(column);
    f.get(c === 0 ? x : place).get(p.sourceStep).op("i32.add").set(place);
    return column;
  });
  const [a, b, c, d] = columns;
  const halves = [[a, b, 0], [c, d, 0], [a, b, 2], [c, d, 2]].map(
    ([first, second, lane]) => {
      const half = f.local("v128");
      f.get(first).get(second);
      f.shuffle(lanes(lane, lane + 4, lane + 1, lane + 5)).set(half);
      return half;
    },
  );
  for (let row = 0; row < 4; row++) {
    const pair = row < 2 ? 0 : 2;
    f.get(row === 0 ? y : place).get(halves[pair]).get(halves[pair + 1]);
    f.shuffle(row % 2 === 0 ? lanes(0, 1, 4, 5) : lanes(2, 3, 6, 7));
    f.store("v128.store");
    f.get(row === 0 ? y : place).get(p.targetStep).op("i32.add").set(place);
  }
}

/** Shuffle bytes that pick 32-bit lanes: 0 to 3 of the first operand, 4 to 7 of the second. */
function lanes(...picked: readonly number[]): number[] {
  return picked.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte));
}
