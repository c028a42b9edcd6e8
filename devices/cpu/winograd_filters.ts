/**
 * WebAssembly that transforms filters, and their gradients back, for minimal
 * filtering; see `winograd_algebra.ts`.
 *
 * @module
 */

import { ModuleBuilder } from "../../kernel/wasm/assembler.ts";
import { advance, loadParameters, loopWhileBelow, repeat } from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";
import { filterMatrix, Linear, points, transpose } from "./winograd_algebra.ts";
import { tileScratchBytes } from "./winograd_tiles.ts";

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
