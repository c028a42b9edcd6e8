/**
 * WebAssembly for convolutions: patches of padded planes are packed into the
 * panels of a matrix product just before they are multiplied, by the thread
 * that multiplies them, so they never leave its cache.
 *
 * @module
 */

import { ModuleBuilder } from "../../kernel/wasm/assembler.ts";
import {
  advance,
  loadParameters,
  loopWhileBelow,
  repeat,
  setMin,
} from "./emit.ts";
import { defineTileProduct, startModes, tileRows } from "./gemm_kernels.ts";
import { pushClamped } from "./gemm_pack.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";

/** Columns of a panel of patches. */
export const width = 8;

/** Words of the table-packing kernel's parameter block. */
export const gatherParameters = [
  /** First matrix. */
  "source",
  /** Bytes from matrix to matrix. */
  "groupStride",
  /** Bytes from row to row. */
  "rowStride",
  /** Byte offsets of a row's elements. */
  "offsets",
  /** First panel. */
  "target",
  /** Bytes of a matrix's panels. */
  "slotBytes",
  /** Rows of a matrix. */
  "rows",
  /** Elements of a row that are packed. */
  "depth",
  /** Panels of a matrix. */
  "panels",
] as const;

/** A kernel that packs panels of six rows whose elements lie at tabulated offsets; its range counts panels. */
export function gatherKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, gatherParameters);
    const t = f.local("i32"), first = f.local("i32"), slot = f.local("i32");
    const valid = f.local("i32"), base = f.local("i32");
    const to = f.local("i32"), count = f.local("i32");
    const offset = f.local("i32"), entry = f.local("i32");
    const rows = Array.from({ length: tileRows }, () => f.local("i32"));
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.panels).op("i32.div_u").set(slot);
      f.get(t).get(p.panels).op("i32.rem_u").i32(tileRows).op("i32.mul");
      f.set(first);
      setMin(
        f,
        valid,
        () => f.i32(tileRows),
        () => f.get(p.rows).get(first).op("i32.sub"),
      );
      f.get(slot).get(p.groupStride).op("i32.mul").get(p.source).op("i32.add");
      f.get(first).get(p.rowStride).op("i32.mul").op("i32.add").set(base);
      rows.forEach((row, r) => {
        f.get(base);
        pushClamped(f, r, valid);
        f.get(p.rowStride).op("i32.mul").op("i32.add").set(row);
      });
      f.get(slot).get(p.slotBytes).op("i32.mul").get(p.target).op("i32.add");
      f.get(first).get(p.depth).op("i32.mul").i32(4).op("i32.mul");
      f.op("i32.add").set(to);
      f.get(p.depth).set(count).get(p.offsets).set(entry);
      repeat(f, count, () => {
        f.get(entry).load("i32.load").set(offset);
        rows.forEach((row, r) => {
          f.get(to).get(row).get(offset).op("i32.add").load("i32.load");
          f.store("i32.store", 4 * r);
        });
        advance(f, entry, () => f.i32(4));
        advance(f, to, () => f.i32(4 * tileRows));
      });
    });
  });
  return createKernel("pack filters", m.toBytes());
}

/** Words of the correlation kernel's parameter block; strides in bytes. */
export const correlateParameters = [
  /** First padded plane. */
  "x",
  /** From image to image. */
  "xImage",
  /** From group to group. */
  "xGroup",
  /** From one output row's window to the next one's. */
  "xRow",
  /** Byte offsets of a window's elements from its corner. */
  "offsets",
  /** Packed filters. */
  "a",
  /** From group to group, within a pass. */
  "aGroup",
  /** Packed filters of all groups for one element of the windows. */
  "aDepth",
  /** First element of the result. */
  "c",
  /** From image to image. */
  "cImage",
  /** From group to group. */
  "cGroup",
  /** From channel to channel. */
  "cRow",
  /** Channels per group of the result. */
  "rows",
  /** Columns of a plane of the result. */
  "outWidth",
  /** Elements of a plane of the result. */
  "columns",
  /** Elements of a window. */
  "depth",
  /** Elements of a window in one pass. */
  "pass",
  /** Elements of the result that are computed together: a multiple of 8. */
  "blockColumns",
  /** Blocks of a plane. */
  "blocks",
  /** Groups. */
  "groups",
  /** One of `startModes`. */
  "mode",
  /** Padded bias. */
  "bias",
  /** From group to group. */
  "biasGroup",
  /** Scratch of the threads: a tile, then panels. */
  "scratch",
  /** Bytes of scratch per thread. */
  "scratchBytes",
] as const;

/** Bytes of the tile at the start of each thread's scratch. */
export const scratchTile = 512;

/**
 * A kernel that slides windows over padded f32 planes and multiplies them with
 * packed filters; its range counts blocks of the result: images, groups, blocks.
 */
export function correlateKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const multiplyTile = defineTileProduct(m, "f32");
  const packPatches = definePackPatches(m);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, correlateParameters);
    const t = f.local("i32"), group = f.local("i32"), image = f.local("i32");
    const x = f.local("i32"), c = f.local("i32"), a = f.local("i32");
    const j0 = f.local("i32"), j1 = f.local("i32"), j = f.local("i32");
    const k0 = f.local("i32"), kc = f.local("i32"), i = f.local("i32");
    const tile = f.local("i32"), panels = f.local("i32");
    const panel = f.local("i32"), mode = f.local("i32");
    f.get(p.scratch).global(thread).get(p.scratchBytes).op("i32.mul");
    f.op("i32.add").tee(tile).i32(scratchTile).op("i32.add").set(panels);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.blocks).op("i32.div_u").tee(group);
      f.get(p.groups).op("i32.div_u").set(image);
      f.get(group).get(p.groups).op("i32.rem_u").set(group);
      f.get(t).get(p.blocks).op("i32.rem_u").get(p.blockColumns);
      f.op("i32.mul").set(j0);
      setMin(
        f,
        j1,
        () => f.get(j0).get(p.blockColumns).op("i32.add"),
        () => f.get(p.columns),
      );
      f.get(p.x).get(image).get(p.xImage).op("i32.mul").op("i32.add");
      f.get(group).get(p.xGroup).op("i32.mul").op("i32.add").set(x);
      f.get(p.c).get(image).get(p.cImage).op("i32.mul").op("i32.add");
      f.get(group).get(p.cGroup).op("i32.mul").op("i32.add").set(c);
      f.i32(0).set(k0).get(p.mode).set(mode);
      f.loop((nextPass) => {
        setMin(
          f,
          kc,
          () => f.get(p.pass),
          () => f.get(p.depth).get(k0).op("i32.sub"),
        );
        f.get(p.a).get(k0).get(p.aDepth).op("i32.mul").op("i32.add");
        f.get(group).get(p.aGroup).op("i32.mul").get(kc).op("i32.mul");
        f.op("i32.add").set(a);
        f.get(j0).set(j).get(panels).set(panel);
        loopWhileBelow(f, j, () => f.get(j1), width, () => {
          f.get(x).get(p.xRow).get(p.outWidth).get(p.columns).get(j);
          f.get(p.offsets).get(k0).i32(4).op("i32.mul").op("i32.add");
          f.get(kc).get(panel).call(packPatches);
          f.i32(0).set(i);
          loopWhileBelow(f, i, () => f.get(p.rows), tileRows, () => {
            f.get(a).get(i).get(kc).op("i32.mul").i32(4).op("i32.mul");
            f.op("i32.add").get(panel);
            f.get(c).get(i).get(p.cRow).op("i32.mul").op("i32.add");
            f.get(j).i32(4).op("i32.mul").op("i32.add");
            f.get(p.cRow).i32(4).get(kc).get(mode);
            f.get(p.bias).get(group).get(p.biasGroup).op("i32.mul");
            f.op("i32.add").get(i).i32(4).op("i32.mul").op("i32.add");
            f.get(p.rows).get(i).op("i32.sub");
            f.get(p.columns).get(j).op("i32.sub").get(tile).i32(0).call(
              multiplyTile,
            );
          });
        });
        f.i32(startModes.accumulate).set(mode);
        f.get(k0).get(p.pass).op("i32.add").tee(k0);
        f.get(p.depth).op("i32.lt_s").brIf(nextPass);
      });
    });
  });
  return createKernel("correlate", m.toBytes());
}

/**
 * Defines the packing of eight windows: (x, xRow, outWidth, columns, first
 * column of the result, offsets, depth, target).
 */
function definePackPatches(m: ModuleBuilder): number {
  const parameters = Array.from({ length: 8 }, () => "i32" as const);
  return m.func("", parameters, [], (f) => {
    const [x, xRow, outWidth, columns, j, offsets, depth, to] = [
      0,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
    ];
    const inRow = f.local("i32"), offset = f.local("i32");
    const lanes = Array.from({ length: width }, () => f.local("i32"));

    /** Pushes the address of the window of column j + lane, or of the last one. */
    function pushWindow(lane: number): void {
      const column = f.local("i32");
      setMin(
        f,
        column,
        () => f.get(j).i32(lane).op("i32.add"),
        () => f.get(columns).i32(1).op("i32.sub"),
      );
      f.get(column).get(outWidth).op("i32.div_u").get(xRow).op("i32.mul");
      f.get(column).get(outWidth).op("i32.rem_u").i32(4).op("i32.mul");
      f.op("i32.add").get(x).op("i32.add");
    }

    /** Packs from two pointers to four neighbouring windows each. */
    function packHalves(): void {
      repeat(f, depth, () => {
        f.get(offsets).load("i32.load").set(offset);
        [lanes[0], lanes[4]].forEach((pointer, half) => {
          f.get(to).get(pointer).get(offset).op("i32.add").load("v128.load");
          f.store("v128.store", 16 * half);
        });
        advance(f, offsets, () => f.i32(4));
        advance(f, to, () => f.i32(4 * width));
      });
    }

    pushWindow(0);
    f.set(lanes[0]);
    f.get(j).get(outWidth).op("i32.rem_u").set(inRow);
    f.get(inRow).i32(width).op("i32.add").get(outWidth).op("i32.le_s").if(
      () => {
        f.get(lanes[0]).i32(16).op("i32.add").set(lanes[4]);
        packHalves();
      },
      () => {
        // Rows that are a multiple of four wide: each half is within one row.
        f.get(outWidth).i32(3).op("i32.and").op("i32.eqz").if(() => {
          f.get(lanes[0]).set(lanes[4]);
          f.get(j).i32(4).op("i32.add").get(columns).op("i32.lt_s").if(() => {
            pushWindow(4);
            f.set(lanes[4]);
          });
          packHalves();
        }, () => {
          for (let lane = 1; lane < width; lane++) {
            pushWindow(lane);
            f.set(lanes[lane]);
          }
          repeat(f, depth, () => {
            f.get(offsets).load("i32.load").set(offset);
            lanes.forEach((pointer, lane) => {
              f.get(to).get(pointer).get(offset).op("i32.add");
              f.load("i32.load").store("i32.store", 4 * lane);
            });
            advance(f, offsets, () => f.i32(4));
            advance(f, to, () => f.i32(4 * width));
          });
        });
      },
    );
  });
}
