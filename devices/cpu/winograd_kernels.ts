/**
 * WebAssembly for Winograd's minimal filtering with six points per axis: 4×4
 * results of 3×3 filters, or 2×2 results of 5×5 filters, from 36
 * multiplications instead of 144 or 100.
 *
 * In one dimension, y = Aᵀ[(G·w) ⊙ (Bᵀ·d)] evaluates the polynomials of d and
 * w at the points 0, ±p, ±q, ∞ (Toom and Cook; Lavin and Gray, 2015). Rows
 * (columns) of the matrices that belong to ±p differ in the sign of the odd
 * powers only, so each pair costs one sum and one difference.
 *
 * Vectors hold the same element of four neighbouring tiles, or of four filters.
 *
 * @module
 */

import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import { lanes } from "./conv_pad.ts";
import {
  advance,
  bits32,
  loadParameters,
  loopWhileBelow,
  multiplyAdd,
  repeat,
} from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";

/** Points per axis. */
export const points = 6;

// The points ±p and ±q. With these, rounding errors are half of those with the
// textbook's ±1 and ±2, and the largest a quarter.
const [p, q] = [0.625, 1.5];

type Matrix = readonly (readonly number[])[];

/** Powers of the points, for `count` results or coefficients: 6 × count. */
function powers(count: number): Matrix {
  const rows = [0, p, -p, q, -q].map((x) =>
    Array.from({ length: count }, (_, i) => x ** i)
  );
  const infinity = Array.from(
    { length: count },
    (_, i) => i === count - 1 ? 1 : 0,
  );
  return [...rows, infinity];
}

/** G: evaluation of a filter of `size` taps, scaled by Lagrange's denominators. */
function filterMatrix(size: number): Matrix {
  const pp = p * p, qq = q * q;
  const scale = [
    pp * qq,
    2 * pp * (pp - qq),
    2 * pp * (pp - qq),
    2 * qq * (qq - pp),
    2 * qq * (qq - pp),
    1,
  ];
  return powers(size).map((row, i) => row.map((x) => x / scale[i]));
}

/** Bᵀ: coefficients of the products of (x − point) over all other points. */
function inputMatrix(): Matrix {
  const pp = p * p, qq = q * q;
  return [
    [pp * qq, 0, -(pp + qq), 0, 1, 0],
    [0, -p * qq, -qq, p, 1, 0],
    [0, p * qq, -qq, -p, 1, 0],
    [0, -q * pp, -pp, q, 1, 0],
    [0, q * pp, -pp, -q, 1, 0],
    [0, pp * qq, 0, -(pp + qq), 0, 1],
  ];
}

function transpose(a: Matrix): Matrix {
  return a[0].map((_, j) => a.map((row) => row[j]));
}

/** Emits linear maps of vectors, keeping their constants in locals. */
class Linear {
  readonly #f: FunctionBuilder;
  readonly #constants = new Map<number, number>();
  readonly #sumSoFar: number;
  readonly #addend: number;

  constructor(f: FunctionBuilder, matrix: Matrix) {
    this.#f = f;
    this.#sumSoFar = f.local("v128");
    this.#addend = f.local("v128");
    for (const x of matrix.flat()) {
      const value = Math.fround(x);
      if (value === 0 || Math.abs(value) === 1 || this.#constants.has(value)) {
        continue;
      }
      const local = f.local("v128");
      f.f32(value).op("f32x4.splat").set(local);
      this.#constants.set(value, local);
    }
  }

  /** A local with Σ coefficient · vector, or undefined for the empty sum. */
  #sum(coefficients: readonly number[], v: readonly number[]) {
    const f = this.#f;
    let started = false;
    const terms = coefficients.map((c, i) => ({ c: Math.fround(c), v: v[i] }))
      .filter(({ c }) => c !== 0)
      // A sum starts with a term that needs no multiplication, if there is one.
      .sort((a, b) => Number(b.c === 1) - Number(a.c === 1));
    if (terms.length === 0) return undefined;
    for (const { c, v } of terms) {
      if (!started) {
        f.get(v);
        if (c === -1) f.op("f32x4.neg");
        else if (c !== 1) f.get(this.#constants.get(c)!).op("f32x4.mul");
      } else if (c === 1) f.get(v).op("f32x4.add");
      else if (c === -1) f.get(v).op("f32x4.sub");
      else {
        f.set(this.#sumSoFar).get(v).get(this.#constants.get(c)!);
        f.get(this.#sumSoFar);
        multiplyAdd(f, "f32", this.#addend);
      }
      started = true;
    }
    const local = f.local("v128");
    f.set(local);
    return local;
  }

  #combine(op: "f32x4.add" | "f32x4.sub", a?: number, b?: number): number {
    const local = this.#f.local("v128");
    if (a !== undefined) this.#f.get(a);
    if (b !== undefined) {
      this.#f.get(b);
      if (a !== undefined) this.#f.op(op);
      else if (op === "f32x4.sub") this.#f.op("f32x4.neg");
    }
    this.#f.set(local);
    return local;
  }

  /** matrix · v for a matrix of six rows, whose rows 1, 2 and 3, 4 are pairs. */
  expand(matrix: Matrix, v: readonly number[]): number[] {
    const even = (row: readonly number[]) =>
      row.map((c, i) => i % 2 === 0 ? c : 0);
    const odd = (row: readonly number[]) =>
      row.map((c, i) => i % 2 === 1 ? c : 0);
    const results = [this.#sum(matrix[0], v)!];
    for (const row of [1, 3]) {
      const e = this.#sum(even(matrix[row]), v);
      const o = this.#sum(odd(matrix[row]), v);
      results.push(this.#combine("f32x4.add", e, o));
      results.push(this.#combine("f32x4.sub", e, o));
    }
    return [...results, this.#sum(matrix[5], v)!];
  }

  /** matrix · v for a matrix of six columns, of which 1, 2 and 3, 4 are pairs. */
  reduce(matrix: Matrix, v: readonly number[]): number[] {
    const sums = [
      this.#combine("f32x4.add", v[1], v[2]),
      this.#combine("f32x4.add", v[3], v[4]),
    ];
    const differences = [
      this.#combine("f32x4.sub", v[1], v[2]),
      this.#combine("f32x4.sub", v[3], v[4]),
    ];
    return matrix.map((row, i) => {
      const [s, t] = i % 2 === 0 ? sums : differences;
      return this.#sum(
        [row[0], row[1], row[3], row[5]],
        [v[0], s, t, v[5]],
      )!;
    });
  }

  /** matrix · block · matrixᵀ, where `block` is an array of rows of locals. */
  both(
    map: "expand" | "reduce",
    matrix: Matrix,
    block: readonly (readonly number[])[],
  ): number[][] {
    const columns = block[0].map((_, j) =>
      this[map](matrix, block.map((row) => row[j]))
    );
    return columns[0].map((_, i) =>
      this[map](matrix, columns.map((column) => column[i]))
    );
  }
}

/** Words of the parameter blocks of the tile kernels. Points lie `pointStep` apart, channels `channelStep`. */
export const tileParameters = [
  /** Padded planes with as many phases as a tile's step. */
  "planes",
  /** Columns of a phase. */
  "pitch",
  /** Rows of a padded plane. */
  "planeRows",
  /** Transformed tiles. */
  "transformed",
  /** Bytes from point to point. */
  "pointStep",
  /** Bytes from channel to channel. */
  "channelStep",
  /** Channels. */
  "channels",
  /** Tiles from top to bottom. */
  "tilesDown",
  /** Tiles from left to right. */
  "tilesAcross",
  /** Results: first plane. */
  "results",
  /** Rows of a plane of results. */
  "height",
  /** Columns of a plane of results. */
  "width",
  /** A bias per channel, or 0. */
  "bias",
  /** Scratch blocks, one per thread. */
  "scratch",
] as const;

/** Bytes of scratch that the tile and filter kernels need per thread. */
export const tileScratchBytes = 1024;

/**
 * A kernel that transforms tiles of padded planes: windows of 6×6 (`input`),
 * or blocks of gradients that arrived (`gradient`). Its range counts planes.
 */
export function tileKernel(
  kind: "input" | "gradient",
  step: 2 | 4,
): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const size = kind === "input" ? points : step;
  const matrix = kind === "input" ? inputMatrix() : powers(step);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const a = loadParameters(f, tileParameters);
    const linear = new Linear(f, matrix);
    const t = f.local("i32"), ty = f.local("i32"), tx = f.local("i32");
    const plane = f.local("i32"), phaseBytes = f.local("i32");
    const rowBytes = f.local("i32"), image = f.local("i32");
    const to = f.local("i32"), from = f.local("i32"), out = f.local("i32");
    const rows = Array.from({ length: size }, () => f.local("i32"));
    const phases = Array.from({ length: step }, () => f.local("i32"));
    f.get(a.pitch).i32(4).op("i32.mul").tee(rowBytes).get(a.planeRows);
    f.op("i32.mul").set(phaseBytes);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(a.planes).get(t).get(phaseBytes).i32(step).op("i32.mul");
      f.op("i32.mul").op("i32.add").set(plane);
      f.get(t).get(a.channels).op("i32.div_u").set(image);
      f.get(image).get(a.tilesDown).op("i32.mul").get(a.tilesAcross);
      f.op("i32.mul").i32(4).op("i32.mul").get(a.transformed).op("i32.add");
      f.get(t).get(a.channels).op("i32.rem_u").get(a.channelStep);
      f.op("i32.mul").op("i32.add").set(to);
      f.i32(0).set(ty);
      loopWhileBelow(f, ty, () => f.get(a.tilesDown), 1, () => {
        f.i32(0).set(tx);
        loopWhileBelow(f, tx, () => f.get(a.tilesAcross), 4, () => {
          f.get(ty).i32(step).op("i32.mul").get(rowBytes).op("i32.mul");
          f.get(tx).i32(4).op("i32.mul").op("i32.add").get(plane);
          f.op("i32.add").set(from);
          rows.forEach((row, i) => {
            f.get(from).set(row);
            if (i < size - 1) advance(f, from, () => f.get(rowBytes));
          });
          f.i32(0).set(phases[0]);
          for (let i = 1; i < step; i++) {
            f.get(phases[i - 1]).get(phaseBytes).op("i32.add").set(phases[i]);
          }
          const d = rows.map((row) =>
            Array.from({ length: size }, (_, c) => {
              const local = f.local("v128");
              f.get(row).get(phases[c % step]).op("i32.add");
              f.load("v128.load", 4 * Math.floor(c / step)).set(local);
              return local;
            })
          );
          const results = linear.both("expand", matrix, d).flat();
          f.get(to).get(tx).i32(4).op("i32.mul").op("i32.add").set(out);
          f.get(a.tilesAcross).i32(4).op("i32.ge_s").if(() => {
            storePoints(4);
          }, () => {
            for (const count of [1, 2, 3]) {
              f.get(a.tilesAcross).i32(count).op("i32.eq").if(() => {
                storePoints(count);
              });
            }
          });
          lastGroup(f, tx, a.tilesAcross);

          /** Writes the first `count` tiles of the group. */
          function storePoints(count: number): void {
            for (const v of results) {
              f.get(out).get(v);
              if (count === 4) f.store("v128.store");
              else if (count === 1) f.storeLane("v128.store32_lane", 0);
              else f.storeLane("v128.store64_lane", 0);
              if (count === 3) {
                f.get(out).get(v).storeLane("v128.store32_lane", 2, 8);
              }
              advance(f, out, () => f.get(a.pointStep));
            }
          }
        });
        advance(f, to, () => f.get(a.tilesAcross).i32(4).op("i32.mul"));
      });
    });
  });
  return createKernel(`winograd ${kind} ${step}`, m.toBytes());
}

/**
 * Moves the group of four tiles that begins at `tx`, before its step of four,
 * back such that the last group of a row ends with the row; a few tiles are
 * then computed twice.
 */
function lastGroup(f: FunctionBuilder, tx: number, across: number): void {
  const last = f.local("i32");
  f.get(across).i32(8).op("i32.sub").set(last);
  f.get(tx).get(last).op("i32.gt_s").get(tx).i32(4).op("i32.add");
  f.get(across).op("i32.lt_s").op("i32.and").if(() => f.get(last).set(tx));
}

/** A kernel that turns products at the points into results, and adds a bias; its range counts planes of results. */
export function resultKernel(step: 2 | 4): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const matrix = transpose(powers(step));
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const a = loadParameters(f, tileParameters);
    const linear = new Linear(f, matrix);
    const t = f.local("i32"), ty = f.local("i32"), tx = f.local("i32");
    const channel = f.local("i32"), from = f.local("i32"), at = f.local("i32");
    const plane = f.local("i32"), to = f.local("i32"), line = f.local("i32");
    const block = f.local("i32"), across = f.local("i32");
    const down = f.local("i32"), count = f.local("i32");
    const source = f.local("i32"), sourceLine = f.local("i32");
    const bias = f.local("v128");
    f.get(a.scratch).global(thread).i32(tileScratchBytes).op("i32.mul");
    f.op("i32.add").set(block);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(a.channels).op("i32.rem_u").set(channel);
      f.get(t).get(a.channels).op("i32.div_u").get(a.tilesDown);
      f.op("i32.mul").get(a.tilesAcross).op("i32.mul").i32(4).op("i32.mul");
      f.get(channel).get(a.channelStep).op("i32.mul").op("i32.add");
      f.get(a.transformed).op("i32.add").set(from);
      f.get(t).get(a.height).op("i32.mul").get(a.width).op("i32.mul");
      f.i32(4).op("i32.mul").get(a.results).op("i32.add").set(plane);
      bits32(f, 0).set(bias);
      f.get(a.bias).if(() => {
        f.get(a.bias).get(channel).i32(4).op("i32.mul").op("i32.add");
        f.load("v128.load32_splat").set(bias);
      });
      f.i32(0).set(ty);
      loopWhileBelow(f, ty, () => f.get(a.tilesDown), 1, () => {
        f.get(a.height).get(ty).i32(step).op("i32.mul").op("i32.sub");
        f.set(down);
        f.i32(0).set(tx);
        loopWhileBelow(f, tx, () => f.get(a.tilesAcross), 4, () => {
          f.get(from).get(tx).i32(4).op("i32.mul").op("i32.add").set(at);
          const d = Array.from(
            { length: points },
            () =>
              Array.from({ length: points }, () => {
                const local = f.local("v128");
                f.get(at).load("v128.load").set(local);
                advance(f, at, () => f.get(a.pointStep));
                return local;
              }),
          );
          const results = linear.both("reduce", matrix, d);
          f.get(a.width).get(tx).i32(step).op("i32.mul").op("i32.sub");
          f.set(across);
          f.get(ty).i32(step).op("i32.mul").get(a.width).op("i32.mul");
          f.get(tx).i32(step).op("i32.mul").op("i32.add").i32(4);
          f.op("i32.mul").get(plane).op("i32.add").set(to);
          f.get(across).i32(4 * step).op("i32.ge_s");
          f.get(down).i32(step).op("i32.ge_s").op("i32.and").if(() => {
            storeTiles(results, to, () => f.get(a.width).i32(4).op("i32.mul"));
          }, () => {
            f.get(block).set(line);
            storeTiles(results, line, () => f.i32(16 * step));
            f.get(block).set(sourceLine);
            for (let row = 0; row < step; row++) {
              f.get(down).i32(row).op("i32.gt_s").if(() => copyRow());
            }
          });
          lastGroup(f, tx, a.tilesAcross);
        });
        advance(f, from, () => f.get(a.tilesAcross).i32(4).op("i32.mul"));
      });
    });

    /** Copies what is valid of a row of the block to `to`, and moves both on. */
    function copyRow(): void {
      f.get(across).set(count);
      f.get(count).i32(4 * step).op("i32.gt_s").if(() => {
        f.i32(4 * step).set(count);
      });
      f.get(sourceLine).set(source).get(to).set(line);
      repeat(f, count, () => {
        f.get(line).get(source).load("v128.load").store("v128.store");
        advance(f, source, () => f.i32(16));
        advance(f, line, () => f.i32(16));
      }, 4);
      repeat(f, count, () => {
        f.get(line).get(source).load("i32.load").store("i32.store");
        advance(f, source, () => f.i32(4));
        advance(f, line, () => f.i32(4));
      });
      advance(f, sourceLine, () => f.i32(16 * step));
      advance(f, to, () => f.get(a.width).i32(4).op("i32.mul"));
    }

    /** Stores rows of four tiles; lanes become neighbouring tiles. Moves `pointer` on row by row. */
    function storeTiles(
      results: readonly (readonly number[])[],
      pointer: number,
      pitch: () => void,
    ): void {
      for (const row of results) {
        const v = row.map((x) => {
          const local = f.local("v128");
          f.get(x).get(bias).op("f32x4.add").set(local);
          return local;
        });
        tilesInOrder(v).forEach((push, i) => {
          f.get(pointer);
          push();
          f.store("v128.store", 16 * i);
        });
        advance(f, pointer, pitch);
      }
    }

    function tilesInOrder(v: readonly number[]): (() => void)[] {
      const low = lanes(0, 4, 1, 5), high = lanes(2, 6, 3, 7);
      if (step === 2) {
        return [low, high].map((pattern) => () =>
          f.get(v[0]).get(v[1]).shuffle(pattern)
        );
      }
      const halves = [low, high].map((pattern) =>
        [0, 2].map((i) => {
          const local = f.local("v128");
          f.get(v[i]).get(v[i + 1]).shuffle(pattern).set(local);
          return local;
        })
      );
      return halves.flatMap(([x, y]) => [
        () => f.get(x).get(y).shuffle(lanes(0, 1, 4, 5)),
        () => f.get(x).get(y).shuffle(lanes(2, 3, 6, 7)),
      ]);
    }
  });
  return createKernel(`winograd result ${step}`, m.toBytes());
}

/** Words of the parameter blocks of the filter kernels. */
export const filterParameters = [
  /** First filter. */
  "filters",
  /** Bytes from one tap to the next; negative for flipped filters. */
  "tapStep",
  /** Filters per output channel. */
  "channels",
  /** Transformed filters: points, output channels, input channels. */
  "transformed",
  /** Bytes from point to point. */
  "pointStep",
  /** Bytes from output channel to output channel: a multiple of 16. */
  "channelStep",
  /** Scratch blocks, one per thread. */
  "scratch",
] as const;

/** A kernel that transforms filters of `size`×`size` taps; its range counts output channels. */
export function filterKernel(size: 3 | 5): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const matrix = filterMatrix(size);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const a = loadParameters(f, filterParameters);
    const linear = new Linear(f, matrix);
    const t = f.local("i32"), c = f.local("i32"), to = f.local("i32");
    const channel = f.local("i32"), out = f.local("i32");
    const rows = Array.from({ length: 4 }, () => f.local("i32"));
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(a.channelStep).op("i32.mul").get(a.transformed);
      f.op("i32.add").set(to);
      f.i32(0).set(c);
      loopWhileBelow(f, c, () => f.get(a.channels), 4, () => {
        rows.forEach((row, lane) => {
          // The last filter stands in for those beyond it.
          f.get(c).i32(lane).op("i32.add").tee(channel);
          f.get(a.channels).i32(1).op("i32.sub");
          f.get(channel).get(a.channels).op("i32.lt_s").select();
          f.get(t).get(a.channels).op("i32.mul").op("i32.add");
          f.i32(4 * size * size).op("i32.mul").get(a.filters).op("i32.add");
          f.set(row);
        });
        const w = Array.from(
          { length: size },
          () =>
            Array.from({ length: size }, () => {
              const local = f.local("v128");
              f.get(rows[0]).load("v128.load32_zero").set(local);
              for (let lane = 1; lane < 4; lane++) {
                f.get(rows[lane]).get(local);
                f.loadLane("v128.load32_lane", lane).set(local);
              }
              for (const row of rows) advance(f, row, () => f.get(a.tapStep));
              return local;
            }),
        );
        f.get(to).set(out);
        for (const v of linear.both("expand", matrix, w).flat()) {
          f.get(out).get(v).store("v128.store");
          advance(f, out, () => f.get(a.pointStep));
        }
        advance(f, to, () => f.i32(16));
      });
    });
  });
  return createKernel(`winograd filter ${size}`, m.toBytes());
}

/** A kernel that turns gradients at the points into gradients of filters; its range counts output channels. */
export function filterResultKernel(size: 3 | 5): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const matrix = transpose(filterMatrix(size));
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const a = loadParameters(f, filterParameters);
    const linear = new Linear(f, matrix);
    const t = f.local("i32"), c = f.local("i32"), from = f.local("i32");
    const at = f.local("i32"), to = f.local("i32"), block = f.local("i32");
    const lane = f.local("i32"), last = f.local("i32");
    const count = f.local("i32"), source = f.local("i32");
    f.get(a.scratch).global(thread).i32(tileScratchBytes).op("i32.mul");
    f.op("i32.add").set(block);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(a.channelStep).op("i32.mul").get(a.transformed);
      f.op("i32.add").set(from);
      f.get(t).get(a.channels).op("i32.mul").i32(4 * size * size);
      f.op("i32.mul").get(a.filters).op("i32.add").set(to);
      f.i32(0).set(c);
      loopWhileBelow(f, c, () => f.get(a.channels), 4, () => {
        f.get(from).set(at);
        const d = Array.from(
          { length: points },
          () =>
            Array.from({ length: points }, () => {
              const local = f.local("v128");
              f.get(at).load("v128.load").set(local);
              advance(f, at, () => f.get(a.pointStep));
              return local;
            }),
        );
        const results = linear.both("reduce", matrix, d).flat();
        results.forEach((v, i) =>
          f.get(block).get(v).store("v128.store", 16 * i)
        );
        f.get(a.channels).get(c).op("i32.sub").set(last);
        f.get(last).i32(4).get(last).i32(4).op("i32.lt_s").select().set(last);
        f.i32(0).set(lane);
        loopWhileBelow(f, lane, () => f.get(last), 1, () => {
          f.i32(size * size).set(count);
          f.get(block).get(lane).i32(4).op("i32.mul").op("i32.add");
          f.set(source);
          repeat(f, count, () => {
            f.get(to).get(source).load("i32.load").store("i32.store");
            advance(f, source, () => f.i32(16));
            advance(f, to, () => f.i32(4));
          });
        });
        advance(f, from, () => f.i32(16));
      });
    });
  });
  return createKernel(`winograd filter result ${size}`, m.toBytes());
}
