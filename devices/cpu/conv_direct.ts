/**
 * WebAssembly for convolutions with one result per group of channels, where a
 * matrix product would leave most of its tile empty: depthwise convolutions
 * above all. Vectors hold neighbouring elements of a row of results.
 *
 * @module
 */

import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import {
  advance,
  loadParameters,
  loopWhileBelow,
  multiplyAdd,
  repeat,
} from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";

/** Words of the direct kernel's parameter block; strides in bytes. */
export const directParameters = [
  /** First padded plane; up to 12 bytes behind the last may be read. */
  "x",
  /** From image to image. */
  "xImage",
  /** From group to group. */
  "xGroup",
  /** From one output row's window to the next one's. */
  "xRow",
  /** Byte offsets of a window's elements from its corner. */
  "offsets",
  /** First filter. */
  "w",
  /** From group to group. */
  "wGroup",
  /** From row to row. */
  "wRow",
  /** Byte offsets of a filter's elements. */
  "wOffsets",
  /** First element of the results, dense. */
  "c",
  /** Results per group. */
  "rows",
  /** Groups. */
  "groups",
  /** Rows of a plane of results. */
  "outHeight",
  /** Columns of a plane of results. */
  "outWidth",
  /** Elements of a window. */
  "depth",
  /** A bias per result, or 0. */
  "bias",
] as const;

/** A kernel that slides windows and sums their elements times a filter's; its range counts planes of results. */
export function directKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, directParameters);
    const t = f.local("i32"), row = f.local("i32"), group = f.local("i32");
    const x = f.local("i32"), w = f.local("i32"), c = f.local("i32");
    const y = f.local("i32"), left = f.local("i32"), from = f.local("i32");
    const bias = f.local("v128");
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.rows).op("i32.rem_u").set(row);
      f.get(t).get(p.rows).op("i32.div_u").get(p.groups).op("i32.rem_u");
      f.set(group);
      f.get(t).get(p.rows).op("i32.div_u").get(p.groups).op("i32.div_u");
      f.get(p.xImage).op("i32.mul").get(p.x).op("i32.add");
      f.get(group).get(p.xGroup).op("i32.mul").op("i32.add").set(x);
      f.get(group).get(p.wGroup).op("i32.mul").get(p.w).op("i32.add");
      f.get(row).get(p.wRow).op("i32.mul").op("i32.add").set(w);
      f.get(t).get(p.outHeight).op("i32.mul").get(p.outWidth).op("i32.mul");
      f.i32(4).op("i32.mul").get(p.c).op("i32.add").set(c);
      f.f32(0).op("f32x4.splat").set(bias);
      f.get(p.bias).if(() => {
        f.get(group).get(p.rows).op("i32.mul").get(row).op("i32.add");
        f.i32(4).op("i32.mul").get(p.bias).op("i32.add");
        f.load("v128.load32_splat").set(bias);
      });
      f.get(p.outHeight).set(y);
      repeat(f, y, () => {
        f.get(p.outWidth).set(left).get(x).set(from);
        for (const vectors of [8, 4, 2, 1]) {
          repeat(f, left, () => {
            const sums = sumWindows(vectors);
            sums.forEach((v, i) => f.get(c).get(v).store("v128.store", 16 * i));
            advance(f, from, () => f.i32(16 * vectors));
            advance(f, c, () => f.i32(16 * vectors));
          }, 4 * vectors);
        }
        f.get(left).if(() => {
          const [v] = sumWindows(1);
          f.get(left).i32(2).op("i32.ge_s").if(() => {
            f.get(c).get(v).storeLane("v128.store64_lane", 0);
            f.get(left).i32(3).op("i32.eq").if(() => {
              f.get(c).get(v).storeLane("v128.store32_lane", 2, 8);
            });
          }, () => {
            f.get(c).get(v).storeLane("v128.store32_lane", 0);
          });
          advance(f, c, () => f.get(left).i32(4).op("i32.mul"));
        });
        advance(f, x, () => f.get(p.xRow));
      });
    });

    /** Sums over the windows of 4 · `vectors` neighbouring results, the first at `from`. */
    function sumWindows(vectors: number): number[] {
      const k = f.local("i32"), entry = f.local("i32");
      const wEntry = f.local("i32"), at = f.local("i32");
      const weight = f.local("v128"), addend = f.local("v128");
      const sums = Array.from({ length: vectors }, () => f.local("v128"));
      for (const v of sums) f.get(bias).set(v);
      f.get(p.depth).set(k).get(p.offsets).set(entry);
      f.get(p.wOffsets).set(wEntry);
      repeat(f, k, () => {
        f.get(wEntry).load("i32.load").get(w).op("i32.add");
        f.load("v128.load32_splat").set(weight);
        f.get(entry).load("i32.load").get(from).op("i32.add").set(at);
        sums.forEach((v, i) => {
          f.get(at).load("v128.load", 16 * i).get(weight).get(v);
          multiplyAdd(f, "f32", addend);
          f.set(v);
        });
        advance(f, entry, () => f.i32(4));
        advance(f, wEntry, () => f.i32(4));
      });
      return sums;
    }
  });
  return createKernel("slide directly", m.toBytes());
}

/** Words of the direct filter gradient kernel's parameter block; strides in bytes. */
export const directGradientParameters = [
  /** Gradients that arrived: first element, dense. */
  "dy",
  /** First padded plane; up to 12 bytes behind the last may be read. */
  "x",
  /** From image to image. */
  "xImage",
  /** From group to group. */
  "xGroup",
  /** From one output row's window to the next one's. */
  "xRow",
  /** Byte offsets of a window's elements from its corner. */
  "offsets",
  /** Filter gradients: first element, dense. */
  "c",
  /** Elements of a window. */
  "columns",
  /** Filters per group. */
  "rows",
  /** Groups. */
  "groups",
  /** Images. */
  "images",
  /** Rows of a plane of gradients that arrived. */
  "outHeight",
  /** Columns of such a plane. */
  "outWidth",
  /** Whether to add to what the filter gradients hold. */
  "accumulate",
] as const;

/** Elements of a window whose sums are kept in registers together. */
const together = 8;

/** A kernel that sums gradient × window, for eight elements of the window at a time; its range counts filters. */
export function directGradientKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, directGradientParameters);
    const t = f.local("i32"), group = f.local("i32"), plane = f.local("i32");
    const j = f.local("i32"), image = f.local("i32"), y = f.local("i32");
    const left = f.local("i32"), dy = f.local("i32"), x = f.local("i32");
    const base = f.local("i32"), to = f.local("i32"), first = f.local("i32");
    const column = f.local("i32");
    const gradient = f.local("v128"), addend = f.local("v128");
    const mask = f.local("v128");
    const sums = Array.from({ length: together }, () => f.local("v128"));
    const taps = sums.map(() => f.local("i32"));
    f.get(p.outHeight).get(p.outWidth).op("i32.mul").i32(4).op("i32.mul");
    f.set(plane);
    // The lanes of a last, partial vector of a row.
    f.v128(new Uint8Array(Int32Array.of(0, 1, 2, 3).buffer));
    f.get(p.outWidth).i32(3).op("i32.and").op("i32x4.splat");
    f.op("i32x4.lt_s").set(mask);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.rows).op("i32.div_u").set(group);
      f.get(p.dy).get(t).get(plane).op("i32.mul").op("i32.add").set(first);
      f.get(p.x).get(group).get(p.xGroup).op("i32.mul").op("i32.add");
      f.set(base);
      f.get(t).get(p.columns).op("i32.mul").i32(4).op("i32.mul");
      f.get(p.c).op("i32.add").set(to);
      f.i32(0).set(j);
      loopWhileBelow(f, j, () => f.get(p.columns), together, () => {
        sums.forEach((v, i) => {
          f.f32(0).op("f32x4.splat").set(v);
          // The last element stands in for those beyond it.
          f.get(j).i32(i).op("i32.add").tee(column);
          f.get(p.columns).i32(1).op("i32.sub");
          f.get(column).get(p.columns).op("i32.lt_s").select();
          f.i32(4).op("i32.mul").get(p.offsets).op("i32.add");
          f.load("i32.load").set(taps[i]);
        });
        sumImages();
        sums.forEach((v, i) => {
          f.get(j).i32(i).op("i32.add").get(p.columns).op("i32.lt_s").if(() => {
            f.get(to);
            pushTotal(f, v);
            f.get(p.accumulate).if(
              () => {
                f.get(to).load("f32.load");
              },
              () => f.f32(0),
              "f32",
            );
            f.op("f32.add").store("f32.store");
            advance(f, to, () => f.i32(4));
          });
        });
      });
    });

    function sumImages(): void {
      f.i32(0).set(image);
      loopWhileBelow(f, image, () => f.get(p.images), 1, () => {
        f.get(image).get(p.groups).op("i32.mul").get(p.rows).op("i32.mul");
        f.get(plane).op("i32.mul").get(first).op("i32.add").set(dy);
        f.get(image).get(p.xImage).op("i32.mul").get(base).op("i32.add");
        f.set(x);
        f.get(p.outHeight).set(y);
        repeat(f, y, () => {
          f.get(p.outWidth).set(left);
          repeat(f, left, () => {
            f.get(dy).load("v128.load").set(gradient);
            addProducts(() => {});
            advance(f, dy, () => f.i32(16));
            advance(f, x, () => f.i32(16));
          }, 4);
          f.get(left).if(() => {
            loadPart();
            addProducts(() => f.get(mask).op("v128.and"));
            advance(f, dy, () => f.get(left).i32(4).op("i32.mul"));
            advance(f, x, () => f.get(left).i32(4).op("i32.mul"));
          });
          advance(f, x, () => {
            f.get(p.xRow).get(p.outWidth).i32(4).op("i32.mul").op("i32.sub");
          });
        });
      });
    }

    /** Loads one to three gradients, and zeros. */
    function loadPart(): void {
      f.get(left).i32(1).op("i32.eq").if(() => {
        f.get(dy).load("v128.load32_zero").set(gradient);
      }, () => {
        f.get(dy).load("v128.load64_zero").set(gradient);
        f.get(left).i32(3).op("i32.eq").if(() => {
          f.get(dy).get(gradient).loadLane("v128.load32_lane", 2, 8);
          f.set(gradient);
        });
      });
    }

    function addProducts(masked: () => void): void {
      sums.forEach((v, i) => {
        f.get(x).get(taps[i]).op("i32.add").load("v128.load");
        masked();
        f.get(gradient).get(v);
        multiplyAdd(f, "f32", addend);
        f.set(v);
      });
    }
  });
  return createKernel("filter gradient directly", m.toBytes());
}

/** Pushes the sum of a vector's lanes. */
function pushTotal(f: FunctionBuilder, v: number): void {
  f.get(v).lane("f32x4.extract_lane", 0).get(v).lane("f32x4.extract_lane", 1);
  f.op("f32.add");
  f.get(v).lane("f32x4.extract_lane", 2).get(v).lane("f32x4.extract_lane", 3);
  f.op("f32.add").op("f32.add");
}
