/**
 * WebAssembly for gradients of convolutions with respect to their filters:
 * gradients that arrived are packed as one operand of a matrix product, windows
 * of padded planes as the other, just before they are multiplied.
 *
 * @module
 */

import { ModuleBuilder } from "../../kernel/wasm/assembler.ts";
import { scratchTile, width } from "./conv_kernels.ts";
import { elements } from "./elements.ts";
import {
  advance,
  loadParameters,
  loopWhileBelow,
  repeat,
  setMin,
} from "./emit.ts";
import { defineTileProduct, startModes, tileRows } from "./gemm_kernels.ts";
import { emitPackRuns, pushClamped } from "./gemm_pack.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";

/** Words of the parameter blocks of the two filter-gradient kernels; strides in bytes. */
export const filterGradientParameters = [
  /** Gradients that arrived: first element. */
  "dy",
  /** From image to image. */
  "dyImage",
  /** From channel to channel. */
  "dyPlane",
  /** Packed gradients. */
  "a",
  /** Bytes of the packed gradients of one group in one pass. */
  "aSlot",
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
  /** Filter gradients: first element. */
  "c",
  /** Elements of a window. */
  "columns",
  /** Channels per group that gradients arrived for. */
  "rows",
  /** Groups. */
  "groups",
  /** Images. */
  "images",
  /** Rows of a plane of gradients that arrived. */
  "outHeight",
  /** Columns of such a plane. */
  "outWidth",
  /** Images of a pass. */
  "passImages",
  /** Rows of a pass. */
  "passRows",
  /** Passes over the images. */
  "imagePasses",
  /** Passes over the rows. */
  "rowPasses",
  /** Channels per block: a multiple of 6. */
  "blockRows",
  /** Elements of a window per block: a multiple of 8. */
  "blockColumns",
  /** Blocks of channels. */
  "blocksDown",
  /** Blocks of a window. */
  "blocksAcross",
  /** One of `startModes`. */
  "mode",
  /** Scratch of the threads: a tile, then panels. */
  "scratch",
  /** Bytes of scratch per thread. */
  "scratchBytes",
] as const;

/** A kernel that packs arrived gradients into panels of six channels; its range counts passes × groups × panels. */
export function packGradientKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, filterGradientParameters);
    const t = f.local("i32"), panels = f.local("i32"), first = f.local("i32");
    const slot = f.local("i32"), pass = f.local("i32"), valid = f.local("i32");
    const image = f.local("i32"), lastImage = f.local("i32");
    const row0 = f.local("i32"), run = f.local("i32"), base = f.local("i32");
    const to = f.local("i32"), count = f.local("i32");
    const rows = Array.from({ length: tileRows }, () => f.local("i32"));
    f.get(p.rows).i32(tileRows - 1).op("i32.add").i32(tileRows);
    f.op("i32.div_u").set(panels);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(panels).op("i32.div_u").set(slot);
      f.get(t).get(panels).op("i32.rem_u").i32(tileRows).op("i32.mul");
      f.set(first);
      setMin(
        f,
        valid,
        () => f.i32(tileRows),
        () => f.get(p.rows).get(first).op("i32.sub"),
      );
      f.get(slot).get(p.groups).op("i32.div_u").set(pass);
      f.get(pass).get(p.rowPasses).op("i32.div_u").get(p.passImages);
      f.op("i32.mul").set(image);
      setMin(
        f,
        lastImage,
        () => f.get(image).get(p.passImages).op("i32.add"),
        () => f.get(p.images),
      );
      f.get(pass).get(p.rowPasses).op("i32.rem_u").get(p.passRows);
      f.op("i32.mul").set(row0);
      setMin(
        f,
        run,
        () => f.get(p.passRows),
        () => f.get(p.outHeight).get(row0).op("i32.sub"),
      );
      f.get(run).get(p.outWidth).op("i32.mul").set(run);
      f.get(slot).get(p.aSlot).op("i32.mul").get(p.a).op("i32.add");
      f.get(lastImage).get(image).op("i32.sub").get(run).op("i32.mul");
      f.get(first).op("i32.mul").i32(4).op("i32.mul").op("i32.add").set(to);
      // The plane of this panel's first channel, at the pass's first row.
      f.get(slot).get(p.groups).op("i32.rem_u").get(p.rows).op("i32.mul");
      f.get(first).op("i32.add").get(p.dyPlane).op("i32.mul");
      f.get(row0).get(p.outWidth).op("i32.mul").i32(4).op("i32.mul");
      f.op("i32.add").get(p.dy).op("i32.add");
      f.get(image).get(p.dyImage).op("i32.mul").op("i32.add").set(base);
      loopWhileBelow(f, image, () => f.get(lastImage), 1, () => {
        rows.forEach((row, r) => {
          f.get(base);
          pushClamped(f, r, valid);
          f.get(p.dyPlane).op("i32.mul").op("i32.add").set(row);
        });
        f.get(run).set(count);
        emitPackRuns(f, elements.f32, rows, to, count);
        advance(f, base, () => f.get(p.dyImage));
      });
    });
  });
  return createKernel("pack gradients", m.toBytes());
}

/**
 * A kernel for filter gradients: sums over images and positions of arrived
 * gradient × window. Its range counts blocks of the result: groups, channels,
 * elements of the window. Each block sums over everything in one order.
 */
export function filterGradientKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const multiplyTile = defineTileProduct(m, "f32");
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, filterGradientParameters);
    const t = f.local("i32"), group = f.local("i32"), rest = f.local("i32");
    const i0 = f.local("i32"), i1 = f.local("i32"), i = f.local("i32");
    const j0 = f.local("i32"), j1 = f.local("i32"), j = f.local("i32");
    const pass = f.local("i32"), kc = f.local("i32"), mode = f.local("i32");
    const image0 = f.local("i32"), images = f.local("i32");
    const row0 = f.local("i32"), height = f.local("i32");
    const image = f.local("i32"), y = f.local("i32"), count = f.local("i32");
    const base = f.local("i32"), to = f.local("i32"), valid = f.local("i32");
    const tile = f.local("i32"), panel = f.local("i32"), a = f.local("i32");
    const rows = Array.from({ length: width }, () => f.local("i32"));
    f.get(p.scratch).global(thread).get(p.scratchBytes).op("i32.mul");
    f.op("i32.add").tee(tile).i32(scratchTile).op("i32.add").set(panel);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(p.blocksDown).get(p.blocksAcross).op("i32.mul").set(rest);
      f.get(t).get(rest).op("i32.div_u").set(group);
      f.get(t).get(rest).op("i32.rem_u").set(rest);
      f.get(rest).get(p.blocksAcross).op("i32.div_u").get(p.blockRows);
      f.op("i32.mul").set(i0);
      setMin(
        f,
        i1,
        () => f.get(i0).get(p.blockRows).op("i32.add"),
        () => f.get(p.rows),
      );
      f.get(rest).get(p.blocksAcross).op("i32.rem_u").get(p.blockColumns);
      f.op("i32.mul").set(j0);
      setMin(
        f,
        j1,
        () => f.get(j0).get(p.blockColumns).op("i32.add"),
        () => f.get(p.columns),
      );
      f.get(p.mode).set(mode).i32(0).set(pass);
      loopWhileBelow(
        f,
        pass,
        () => f.get(p.imagePasses).get(p.rowPasses).op("i32.mul"),
        1,
        () => {
          f.get(pass).get(p.rowPasses).op("i32.div_u").get(p.passImages);
          f.op("i32.mul").set(image0);
          setMin(
            f,
            images,
            () => f.get(p.passImages),
            () => f.get(p.images).get(image0).op("i32.sub"),
          );
          f.get(pass).get(p.rowPasses).op("i32.rem_u").get(p.passRows);
          f.op("i32.mul").set(row0);
          setMin(
            f,
            height,
            () => f.get(p.passRows),
            () => f.get(p.outHeight).get(row0).op("i32.sub"),
          );
          f.get(images).get(height).op("i32.mul").get(p.outWidth);
          f.op("i32.mul").set(kc);
          f.get(pass).get(p.groups).op("i32.mul").get(group).op("i32.add");
          f.get(p.aSlot).op("i32.mul").get(p.a).op("i32.add").set(a);
          f.get(p.x).get(image0).get(p.xImage).op("i32.mul").op("i32.add");
          f.get(group).get(p.xGroup).op("i32.mul").op("i32.add");
          f.get(row0).get(p.xRow).op("i32.mul").op("i32.add").set(base);
          f.get(j0).set(j);
          loopWhileBelow(f, j, () => f.get(j1), width, () => {
            packWindows();
            f.get(i0).set(i);
            loopWhileBelow(f, i, () => f.get(i1), tileRows, () => {
              f.get(a).get(i).get(kc).op("i32.mul").i32(4).op("i32.mul");
              f.op("i32.add").get(panel);
              f.get(group).get(p.rows).op("i32.mul").get(i).op("i32.add");
              f.get(p.columns).op("i32.mul").get(j).op("i32.add");
              f.i32(4).op("i32.mul").get(p.c).op("i32.add");
              f.get(p.columns).i32(4).op("i32.mul").i32(4).get(kc).get(mode);
              f.i32(0).get(p.rows).get(i).op("i32.sub");
              f.get(p.columns).get(j).op("i32.sub");
              f.get(tile).i32(0).call(multiplyTile);
            });
          });
          f.i32(startModes.accumulate).set(mode);
        },
      );
    });

    /** Packs elements j … j + 7 of the windows of this pass: a lane per element, a step per window. */
    function packWindows(): void {
      setMin(
        f,
        valid,
        () => f.i32(width),
        () => f.get(p.columns).get(j).op("i32.sub"),
      );
      rows.forEach((row, lane) => {
        f.get(j);
        pushClamped(f, lane, valid);
        f.op("i32.add").i32(4).op("i32.mul").get(p.offsets).op("i32.add");
        f.load("i32.load").get(base).op("i32.add").set(row);
      });
      f.get(panel).set(to).get(images).set(image);
      repeat(f, image, () => {
        f.get(height).set(y);
        repeat(f, y, () => {
          f.get(p.outWidth).set(count);
          emitPackRuns(f, elements.f32, rows, to, count);
          for (const row of rows) {
            advance(f, row, () => {
              f.get(p.xRow).get(p.outWidth).i32(4).op("i32.mul");
              f.op("i32.sub");
            });
          }
        });
        for (const row of rows) {
          advance(f, row, () => {
            f.get(p.xImage).get(height).get(p.xRow).op("i32.mul");
            f.op("i32.sub");
          });
        }
      });
    }
  });
  return createKernel("filter gradient", m.toBytes());
}
