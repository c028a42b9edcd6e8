/**
 * Largest values of sliding windows over f32 planes, and their gradient.
 *
 * Within a plane, the columns whose windows lie inside are done four at a time;
 * windows over the border one by one. Taps are visited row by row: the first of
 * equal values wins, and a NaN wins over everything before it, as in PyTorch.
 *
 * @module
 */

import type { PlanesSpec } from "../../core/device.ts";
import type { PlaneSpec } from "./plane_spec.ts";
import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import { lanes } from "./conv_pad.ts";
import {
  advance,
  loadParameters,
  loopWhileBelow,
  type Parameters,
  setMin,
} from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import {
  cachedKernel,
  type CpuKernel,
  createKernel,
  runKernel,
} from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

const names = [
  "x",
  "y",
  "indices",
  "height",
  "width",
  "outHeight",
  "outWidth",
  "kernelHeight",
  "kernelWidth",
  "strideHeight",
  "strideWidth",
  "padTop",
  "padLeft",
  "dilationHeight",
  "dilationWidth",
  // The first output column, and the one after the last, whose windows lie inside.
  "firstInside",
  "lastInside",
] as const;

type Names = Parameters<typeof names[number]>;

const block = new ParameterBlock(names.length);
/** Comparisons, or gradients, worth a hand-over to another thread. */
const worthSharing = 2 ** 14;

/**
 * The largest value of each window of x [batch, channels, inHeight, inWidth], and its
 * position in the plane (i64), both [batch, channels, outHeight, outWidth].
 * Arguments are byte addresses; `spec.inChannels` counts the channels.
 */
export function maxPool2d(
  spec: PlaneSpec,
  x: number,
  y: number,
  indices: number,
): void {
  const { inWidth, outWidth, strideWidth, padLeft } = spec;
  const reach = (spec.kernelWidth - 1) * spec.dilationWidth;
  const first = Math.min(outWidth, Math.ceil(padLeft / strideWidth));
  const last = Math.floor((inWidth - 1 - reach + padLeft) / strideWidth) + 1;
  const work = spec.outHeight * outWidth * spec.kernelHeight *
    spec.kernelWidth;
  runKernel(
    cachedKernel(`maxPool ${strideWidth}`, () => maxKernel(strideWidth)),
    block.fill(
      x,
      y,
      indices,
      spec.inHeight,
      inWidth,
      spec.outHeight,
      outWidth,
      spec.kernelHeight,
      spec.kernelWidth,
      spec.strideHeight,
      strideWidth,
      spec.padTop,
      padLeft,
      spec.dilationHeight,
      spec.dilationWidth,
      first,
      Math.max(first, Math.min(outWidth, last)),
    ),
    spec.batch * spec.inChannels,
    Math.ceil(worthSharing / Math.max(1, work)),
  );
}

/**
 * Adds each value to the position in its plane that `indices` says, in order;
 * the planes are overwritten. Arguments are byte addresses.
 */
export function placeAt(
  { planes, size, positions }: PlanesSpec,
  values: number,
  indices: number,
  target: number,
): void {
  runKernel(
    cachedKernel("maxPool gradient", gradientKernel),
    block.fill(target, values, indices, size, positions),
    planes,
    Math.ceil(worthSharing / Math.max(1, positions)),
  );
}

function maxKernel(stride: number): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, names);
    const t = f.local("i32"), plane = f.local("i32");
    const oy = f.local("i32"), ox = f.local("i32");
    const firstRow = f.local("i32"), row = f.local("i32");
    const tap0 = f.local("i32"), tap1 = f.local("i32");
    const to = f.local("i32"), toIndex = f.local("i32");
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.height).op("i32.mul").get(p.width).op("i32.mul");
      f.i32(4).op("i32.mul").get(p.x).op("i32.add").set(plane);
      f.get(t).get(p.outHeight).op("i32.mul").get(p.outWidth).op("i32.mul");
      f.tee(to).i32(8).op("i32.mul").get(p.indices).op("i32.add");
      f.set(toIndex);
      f.get(to).i32(4).op("i32.mul").get(p.y).op("i32.add").set(to);
      f.i32(0).set(oy);
      loopWhileBelow(f, oy, () => f.get(p.outHeight), 1, () => {
        // Taps tap0 ≤ tap < tap1 of this row of windows lie in the plane.
        f.get(oy).get(p.strideHeight).op("i32.mul").get(p.padTop);
        f.op("i32.sub").set(firstRow);
        clipTaps(
          f,
          firstRow,
          p.dilationHeight,
          p.kernelHeight,
          p.height,
          [tap0, tap1],
        );
        f.i32(0).set(ox);
        f.loop((again) => {
          f.block((single) => {
            f.get(ox).get(p.firstInside).op("i32.lt_s").brIf(single);
            f.get(ox).i32(4).op("i32.add").get(p.lastInside);
            f.op("i32.gt_s").brIf(single);
            f.get(tap0).get(tap1).op("i32.ge_s").brIf(single);
            fourWindows();
            advance(f, ox, () => f.i32(4));
            f.br(again);
          });
          f.get(ox).get(p.outWidth).op("i32.lt_s").if(() => {
            oneWindow();
            advance(f, ox, () => f.i32(1));
            f.br(again);
          });
        });
      });
    });

    /** Visits the rows of taps of the windows at hand; `row` is the row in the plane. */
    function forEachRow(body: () => void): void {
      const tap = f.local("i32");
      f.get(tap0).set(tap);
      f.get(firstRow).get(tap0).get(p.dilationHeight).op("i32.mul");
      f.op("i32.add").set(row);
      loopWhileBelow(f, tap, () => f.get(tap1), 1, () => {
        body();
        advance(f, row, () => f.get(p.dilationHeight));
      });
    }

    function fourWindows(): void {
      const best = f.local("v128"), place = f.local("v128");
      const value = f.local("v128"), here = f.local("v128");
      const wins = f.local("v128"), base = f.local("v128");
      const tap = f.local("i32"),
        at = f.local("i32"),
        position = f.local("i32");
      f.f32(-Infinity).op("f32x4.splat").set(best);
      firstPlace();
      f.op("i32x4.splat");
      f.v128(new Uint8Array(Int32Array.of(0, 1, 2, 3).buffer));
      f.get(p.strideWidth).op("i32x4.splat").op("i32x4.mul").op("i32x4.add");
      f.set(place);
      forEachRow(() => {
        f.get(row).get(p.width).op("i32.mul");
        f.get(ox).get(p.strideWidth).op("i32.mul").op("i32.add");
        f.get(p.padLeft).op("i32.sub").tee(position);
        f.i32(4).op("i32.mul").get(plane).op("i32.add").set(at);
        f.get(position).op("i32x4.splat");
        f.v128(new Uint8Array(Int32Array.of(0, 1, 2, 3).buffer));
        f.get(p.strideWidth).op("i32x4.splat").op("i32x4.mul");
        f.op("i32x4.add").set(base);
        f.get(base).set(here);
        f.i32(0).set(tap);
        loopWhileBelow(f, tap, () => f.get(p.kernelWidth), 1, () => {
          loadFour(at);
          f.set(value);
          f.get(value).get(best).op("f32x4.gt");
          f.get(value).get(value).op("f32x4.ne").op("v128.or").set(wins);
          f.get(value).get(best).get(wins).op("v128.bitselect").set(best);
          f.get(here).get(place).get(wins).op("v128.bitselect").set(place);
          f.get(here).get(p.dilationWidth).op("i32x4.splat").op("i32x4.add");
          f.set(here);
          advance(f, at, () => f.get(p.dilationWidth).i32(4).op("i32.mul"));
        });
      });
      f.get(to).get(best).store("v128.store");
      f.get(toIndex).get(place).op("i64x2.extend_low_i32x4_s");
      f.store("v128.store");
      f.get(toIndex).get(place).op("i64x2.extend_high_i32x4_s");
      f.store("v128.store", 16);
      advance(f, to, () => f.i32(16));
      advance(f, toIndex, () => f.i32(32));
    }

    /** Pushes the values under one tap of four neighbouring windows, the first at address `at`. */
    function loadFour(at: number): void {
      if (stride === 1) {
        f.get(at).load("v128.load");
      } else if (stride === 2) {
        // Elements 0, 2, 4, 6 without reading past 6.
        f.get(at).load("v128.load").get(at).load("v128.load", 12);
        f.shuffle(lanes(0, 2, 5, 7));
      } else {
        const v = f.local("v128"), from = f.local("i32");
        f.get(at).tee(from).load("v128.load32_zero").set(v);
        for (const lane of [1, 2, 3]) {
          advance(f, from, () => f.get(p.strideWidth).i32(4).op("i32.mul"));
          f.get(from).get(v).loadLane("v128.load32_lane", lane).set(v);
        }
        f.get(v);
      }
    }

    /** Pushes the position of the first tap inside the plane, which wins when all are −∞. */
    function firstPlace(): void {
      f.get(firstRow).get(tap0).get(p.dilationHeight).op("i32.mul");
      f.op("i32.add").get(p.width).op("i32.mul");
      f.get(ox).get(p.strideWidth).op("i32.mul").op("i32.add");
      f.get(p.padLeft).op("i32.sub");
    }

    function oneWindow(): void {
      const best = f.local("f32"), value = f.local("f32");
      const place = f.local("i32"), at = f.local("i32");
      const firstColumn = f.local("i32"), tap = f.local("i32");
      const from = f.local("i32"), until = f.local("i32");
      f.get(ox).get(p.strideWidth).op("i32.mul").get(p.padLeft);
      f.op("i32.sub").set(firstColumn);
      clipTaps(
        f,
        firstColumn,
        p.dilationWidth,
        p.kernelWidth,
        p.width,
        [from, until],
      );
      f.f32(-Infinity).set(best);
      firstPlace();
      f.get(from).get(p.dilationWidth).op("i32.mul").op("i32.add");
      // A window of nothing but padding names the first position.
      f.i32(0).get(from).get(until).op("i32.lt_s");
      f.get(tap0).get(tap1).op("i32.lt_s").op("i32.and").select().set(place);
      forEachRow(() => {
        f.get(row).get(p.width).op("i32.mul").get(firstColumn).op("i32.add");
        f.get(from).get(p.dilationWidth).op("i32.mul").op("i32.add").set(at);
        f.get(from).set(tap);
        loopWhileBelow(f, tap, () => f.get(until), 1, () => {
          f.get(plane).get(at).i32(4).op("i32.mul").op("i32.add");
          f.load("f32.load").tee(value).get(best).op("f32.gt");
          f.get(value).get(value).op("f32.ne").op("i32.or").if(() => {
            f.get(value).set(best).get(at).set(place);
          });
          advance(f, at, () => f.get(p.dilationWidth));
        });
      });
      f.get(to).get(best).store("f32.store");
      f.get(toIndex).get(place).op("i64.extend_i32_s").store("i64.store");
      advance(f, to, () => f.i32(4));
      advance(f, toIndex, () => f.i32(8));
    }
  });
  return createKernel(`maxPool by ${stride}`, m.toBytes());
}

/** Sets the range of taps that fall on 0 ≤ first + tap·dilation < extent. */
function clipTaps(
  f: FunctionBuilder,
  first: number,
  dilation: number,
  size: number,
  extent: number,
  [from, until]: readonly [number, number],
): void {
  f.i32(0).set(from);
  f.get(first).i32(0).op("i32.lt_s").if(() => {
    f.get(dilation).i32(1).op("i32.sub").get(first).op("i32.sub");
    f.get(dilation).op("i32.div_s").set(from);
  });
  // ⌈(extent − first) / dilation⌉
  f.get(extent).get(first).op("i32.sub").get(dilation).op("i32.add");
  f.i32(1).op("i32.sub").get(dilation).op("i32.div_s").set(until);
  setMin(f, until, () => f.get(until), () => f.get(size));
}

function gradientKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p: Pick<Names, "x" | "y" | "indices" | "height" | "width"> =
      loadParameters(f, ["x", "y", "indices", "height", "width"]);
    const [plane, windows] = [p.height, p.width];
    const t = f.local("i32"), dx = f.local("i32"), bytes = f.local("i32");
    const dy = f.local("i32"), index = f.local("i32"), last = f.local("i32");
    const at = f.local("i32");
    f.get(plane).i32(4).op("i32.mul").set(bytes);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(p.x).get(t).get(bytes).op("i32.mul").op("i32.add").set(dx);
      f.get(dx).i32(0).get(bytes).op("memory.fill");
      f.get(t).get(windows).op("i32.mul").tee(dy).i32(8).op("i32.mul");
      f.get(p.indices).op("i32.add").set(index);
      f.get(dy).i32(4).op("i32.mul").get(p.y).op("i32.add").set(dy);
      f.i32(0).set(last);
      loopWhileBelow(f, last, () => f.get(windows), 1, () => {
        f.get(dx).get(index).load("i32.load").i32(2).op("i32.shl");
        f.op("i32.add").tee(at).get(at).load("f32.load");
        f.get(dy).load("f32.load").op("f32.add").store("f32.store");
        advance(f, dy, () => f.i32(4));
        advance(f, index, () => f.i32(8));
      });
    });
  });
  return createKernel("maxPool gradient", m.toBytes());
}
