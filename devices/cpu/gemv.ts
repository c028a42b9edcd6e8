/**
 * Products of one row with a matrix, f32: every weight is used once, so nothing
 * is packed and the matrix is read where it lies.
 *
 * @module
 */

import { ModuleBuilder } from "../../kernel/wasm/assembler.ts";
import { lanes } from "./conv_pad.ts";
import { advance, loadParameters, multiplyAdd, repeat } from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import {
  cachedKernel,
  type CpuKernel,
  createKernel,
  runKernel,
} from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

/** y (+)= x·B + bias for dense f32 vectors x and y; addresses in bytes. */
export interface RowProduct {
  /** Row of k elements. */
  readonly x: number;
  /** Matrix [k, n]. */
  readonly b: number;
  /** Elements between the lines of the matrix that lie contiguously. */
  readonly pitch: number;
  /** Whether lines run along k (a column of B is contiguous) or along n. */
  readonly along: "k" | "n";
  /** Row of n results. */
  readonly y: number;
  /** Row that the sums start from: a bias, y itself, or 0 for none. */
  readonly start: number;
  /** Length of the sums. */
  readonly k: number;
  /** Results. */
  readonly n: number;
}

const names = ["x", "b", "pitch", "y", "start", "k", "n"] as const;
const block = new ParameterBlock(names.length);
/** Results of a unit of work. */
const unit = 32;
/** Weights worth a hand-over to another thread. */
const worthSharing = 2 ** 16;

/** Multiplies a row by a matrix, in parallel over the results. */
export function multiplyRow(r: RowProduct): void {
  const { along } = r;
  runKernel(
    cachedKernel(`row along ${along}`, () => rowKernel(along)),
    block.fill(r.x, r.b, r.pitch * 4, r.y, r.start, r.k, r.n),
    Math.ceil(r.n / unit),
    Math.ceil(worthSharing / (unit * Math.max(1, r.k))),
  );
}

/** The range of the kernels counts units of results. */
function rowKernel(along: "k" | "n"): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, names);
    const j = f.local("i32"), end = f.local("i32"), left = f.local("i32");
    const x = f.local("i32"), count = f.local("i32");
    const xv = f.local("v128"), addend = f.local("v128");
    f.get(1).i32(unit).op("i32.mul").set(j);
    f.get(2).i32(unit).op("i32.mul").set(end);
    f.get(end).get(p.n).get(end).get(p.n).op("i32.lt_s").select().set(end);
    for (const width of along === "n" ? [32, 4, 1] : [4, 1]) {
      f.get(end).get(j).op("i32.sub").set(left);
      repeat(f, left, () => {
        if (along === "n") sumLines(width);
        else sumColumns(width);
        advance(f, j, () => f.i32(width));
      }, width);
    }

    /** Pushes the address of element j of a row of results. */
    function pushAt(row: number): void {
      f.get(row).get(j).i32(4).op("i32.mul").op("i32.add");
    }

    /** Adds multiples of parts of lines, `width` results wide. */
    function sumLines(width: number): void {
      const line = f.local("i32");
      const load = width === 1 ? "v128.load32_zero" : "v128.load";
      const sums = Array.from(
        { length: Math.max(1, width / 4) },
        () => f.local("v128"),
      );
      for (const v of sums) f.f32(0).op("f32x4.splat").set(v);
      f.get(p.start).if(() => {
        sums.forEach((v, i) => {
          pushAt(p.start);
          f.load(load, 16 * i).set(v);
        });
      });
      f.get(p.x).set(x).get(p.k).set(count);
      pushAt(p.b);
      f.set(line);
      repeat(f, count, () => {
        f.get(x).load("v128.load32_splat").set(xv);
        sums.forEach((v, i) => {
          f.get(line).load(load, 16 * i).get(xv).get(v);
          multiplyAdd(f, "f32", addend);
          f.set(v);
        });
        advance(f, x, () => f.i32(4));
        advance(f, line, () => f.get(p.pitch));
      });
      sums.forEach((v, i) => {
        pushAt(p.y);
        f.get(v);
        if (width === 1) f.storeLane("v128.store32_lane", 0);
        else f.store("v128.store", 16 * i);
      });
    }

    /** Dot products of x with `width` columns. */
    function sumColumns(width: number): void {
      const sums = Array.from({ length: width }, () => f.local("v128"));
      const columns = sums.map(() => f.local("i32"));
      columns.forEach((column, i) => {
        f.get(j).i32(i).op("i32.add").get(p.pitch).op("i32.mul");
        f.get(p.b).op("i32.add").set(column);
      });
      for (const v of sums) f.f32(0).op("f32x4.splat").set(v);
      f.get(p.x).set(x).get(p.k).set(count);
      for (const step of [4, 1]) {
        const load = step === 4 ? "v128.load" : "v128.load32_zero";
        repeat(f, count, () => {
          f.get(x).load(load).set(xv);
          sums.forEach((v, i) => {
            f.get(columns[i]).load(load).get(xv).get(v);
            multiplyAdd(f, "f32", addend);
            f.set(v);
            advance(f, columns[i], () => f.i32(4 * step));
          });
          advance(f, x, () => f.i32(4 * step));
        }, step);
      }
      // Sums across lanes: element i of the result is the total of sums[i].
      const [a, b, c, d] = width === 4 ? sums : [sums[0], xv, xv, xv];
      const low = f.local("v128"), high = f.local("v128");
      f.get(a).get(b).shuffle(lanes(0, 4, 1, 5));
      f.get(a).get(b).shuffle(lanes(2, 6, 3, 7)).op("f32x4.add").set(low);
      f.get(c).get(d).shuffle(lanes(0, 4, 1, 5));
      f.get(c).get(d).shuffle(lanes(2, 6, 3, 7)).op("f32x4.add").set(high);
      const total = f.local("v128");
      f.get(low).get(high).shuffle(lanes(0, 1, 4, 5));
      f.get(low).get(high).shuffle(lanes(2, 3, 6, 7)).op("f32x4.add");
      f.set(total);
      f.get(p.start).if(() => {
        pushAt(p.start);
        f.load(width === 4 ? "v128.load" : "v128.load32_zero");
        f.get(total).op("f32x4.add").set(total);
      });
      pushAt(p.y);
      f.get(total);
      if (width === 4) f.store("v128.store");
      else f.storeLane("v128.store32_lane", 0);
    }
  });
  return createKernel(`row along ${along}`, m.toBytes());
}
