/**
 * WebAssembly that transforms tiles of images, and products at the points back
 * into images, for minimal filtering; see `winograd_algebra.ts`.
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
  repeat,
} from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";
import {
  inputMatrix,
  Linear,
  points,
  powers,
  transpose,
} from "./winograd_algebra.ts";

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

/** Words of the parameter block of the overlapping kernel. */
export const overlapParameters = [
  /** Products at the points. */
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
  /** Row of the windows that results start at. */
  "top",
  /** Column of the windows that results start at. */
  "left",
  /** Padded planes, one per thread. */
  "scratch",
  /** Bytes of a padded plane, and 64. */
  "scratchBytes",
  /** Rows of a padded plane. */
  "rows",
  /** Columns of a phase. */
  "pitch",
] as const;

/**
 * A kernel that turns products at the points into windows of 6×6 and adds up
 * where they overlap, the transpose of cutting planes into windows; its range
 * counts planes of results.
 */
export function overlapKernel(step: 2 | 4): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const matrix = transpose(inputMatrix());
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const a = loadParameters(f, overlapParameters);
    const linear = new Linear(f, matrix);
    const t = f.local("i32"), ty = f.local("i32"), tx = f.local("i32");
    const from = f.local("i32"), at = f.local("i32"), plane = f.local("i32");
    const rowBytes = f.local("i32"), phaseBytes = f.local("i32");
    const row = f.local("i32"), to = f.local("i32"), mask = f.local("v128");
    const phases = Array.from({ length: step }, () => f.local("i32"));
    f.get(a.scratch).global(thread).get(a.scratchBytes).op("i32.mul");
    f.op("i32.add").set(plane);
    f.get(a.pitch).i32(4).op("i32.mul").tee(rowBytes).get(a.rows);
    f.op("i32.mul").set(phaseBytes);
    f.i32(0).set(phases[0]);
    for (let i = 1; i < step; i++) {
      f.get(phases[i - 1]).get(phaseBytes).op("i32.add").set(phases[i]);
    }
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(a.channels).op("i32.div_u").get(a.tilesDown);
      f.op("i32.mul").get(a.tilesAcross).op("i32.mul").i32(4).op("i32.mul");
      f.get(t).get(a.channels).op("i32.rem_u").get(a.channelStep);
      f.op("i32.mul").op("i32.add").get(a.transformed).op("i32.add").set(from);
      f.get(plane).i32(0).get(a.scratchBytes).op("memory.fill");
      f.i32(0).set(ty);
      loopWhileBelow(f, ty, () => f.get(a.tilesDown), 1, () => {
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
          const windows = linear.both("reduce", matrix, d);
          // Tiles beyond the end of the row add nothing.
          f.v128(new Uint8Array(new Int32Array([0, 1, 2, 3]).buffer));
          f.get(a.tilesAcross).get(tx).op("i32.sub").op("i32x4.splat");
          f.op("i32x4.lt_s").set(mask);
          f.get(ty).i32(step).op("i32.mul").get(rowBytes).op("i32.mul");
          f.get(tx).i32(4).op("i32.mul").op("i32.add").get(plane);
          f.op("i32.add").set(row);
          for (const line of windows) {
            line.forEach((v, c) => {
              const offset = 4 * Math.floor(c / step);
              f.get(row).get(phases[c % step]).op("i32.add").tee(to);
              f.get(to).load("v128.load", offset);
              f.get(v).get(mask).op("v128.and").op("f32x4.add");
              f.store("v128.store", offset);
            });
            advance(f, row, () => f.get(rowBytes));
          }
        });
        advance(f, from, () => f.get(a.tilesAcross).i32(4).op("i32.mul"));
      });
      copyOut();
    });

    /** Copies the results' part of the padded plane, phase by phase. */
    function copyOut(): void {
      const y = f.local("i32"), x = f.local("i32"), phase = f.local("i32");
      const source = f.local("i32"), target = f.local("i32");
      const line = f.local("i32");
      f.i32(0).set(y);
      loopWhileBelow(f, y, () => f.get(a.height), 1, () => {
        f.get(t).get(a.height).op("i32.mul").get(y).op("i32.add");
        f.get(a.width).op("i32.mul").i32(4).op("i32.mul");
        f.get(a.results).op("i32.add").set(line);
        f.i32(0).set(phase);
        loopWhileBelow(f, phase, () => f.i32(step), 1, () => {
          // Column x of the results is column x + left of the windows.
          f.get(phase).set(x);
          f.get(line).get(x).i32(4).op("i32.mul").op("i32.add").set(target);
          f.get(y).get(a.top).op("i32.add").get(rowBytes).op("i32.mul");
          f.get(x).get(a.left).op("i32.add").i32(step).op("i32.rem_u");
          f.get(phaseBytes).op("i32.mul").op("i32.add");
          f.get(x).get(a.left).op("i32.add").i32(step).op("i32.div_u");
          f.i32(4).op("i32.mul").op("i32.add").get(plane).op("i32.add");
          f.set(source);
          loopWhileBelow(f, x, () => f.get(a.width), step, () => {
            f.get(target).get(source).load("i32.load").store("i32.store");
            advance(f, source, () => f.i32(4));
            advance(f, target, () => f.i32(4 * step));
          });
        });
      });
    }
  });
  return createKernel(`winograd overlap ${step}`, m.toBytes());
}
