/**
 * WebAssembly for the product of packed panels: a register-blocked
 * micro-kernel, and the loop over the tiles of C.
 *
 * A panel holds, for each k, the elements of a few rows of A (or columns of B)
 * side by side, so the micro-kernel reads both operands in order. Panels are
 * always full: lanes beyond the matrix repeat its last row and their results
 * are never stored.
 *
 * @module
 */

import { ModuleBuilder } from "../../kernel/wasm/assembler.ts";
import {
  advance,
  loadParameters,
  loopWhileBelow,
  multiplyAdd,
  repeat,
  setMin,
} from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";

/** Rows of a micro-kernel's tile. */
export const tileRows = 6;

/** Rows of the low tile, for what is left of A below whole ones. */
const lowRows = 4;

/** Columns of a micro-kernel's tile: two vectors. */
export function tileColumns(lane: "f32" | "f64"): number {
  return lane === "f32" ? 8 : 4;
}

/** Where the accumulators of a tile start. */
export const startModes = {
  /** From zero. */
  zero: 0,
  /** From what C holds. */
  accumulate: 1,
  /** From a bias per column. */
  columnBias: 2,
  /** From a bias per row. */
  rowBias: 3,
} as const;

/** Words of a product kernel's parameter block. */
export const productParameters = [
  /** Table per product: slot of A, slot of B, address of C. */
  "table",
  /** First panel of A; when A is read directly, the table of its slots' addresses. */
  "a",
  /** Bytes of a slot of A; when A is read directly, bytes from the slots' addresses to the first element. */
  "aBytes",
  /** When A is read directly, bytes from row to row. */
  "aRow",
  /** First panel of B. */
  "b",
  /** Bytes of a slot of B. */
  "bBytes",
  /** Bytes from C's addresses to the first element. */
  "cOffset",
  /** Bytes from row to row of C. */
  "cRow",
  /** Bytes from column to column of C. */
  "cColumn",
  /** Rows. */
  "rows",
  /** Columns. */
  "columns",
  /** Length of the sums. */
  "depth",
  /** One of `startModes`. */
  "mode",
  /** Address of the bias, padded to whole panels. */
  "bias",
  /** Scratch tiles, one per thread. */
  "tiles",
  /** Rows of a block: a multiple of the tile's. */
  "blockRows",
  /** Columns of a block: a multiple of the tile's. */
  "blockColumns",
  /** Blocks from top to bottom. */
  "blocksDown",
  /** Blocks from left to right. */
  "blocksAcross",
] as const;

/** Bytes of scratch that a product kernel needs per thread. */
export const tileBytes = 512;

/**
 * Defines the micro-kernel (a, b, c, cRow, depth, mode, bias, aRow, height): a
 * tile of C whose columns lie side by side, from one panel of A and one of B;
 * with `direct` from `tall` rows of A as they lie, `aRow` bytes from each other,
 * of which `height` are there.
 */
function defineMicroKernel(
  m: ModuleBuilder,
  lane: "f32" | "f64",
  direct: boolean,
  tall: number = tileRows,
): number {
  const parameters = Array.from({ length: 9 }, () => "i32" as const);
  return m.func("", parameters, [], (f) => {
    const [a, b, c, cRow, depth, mode, bias, aRow, height] = [
      0,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
    ];
    const bytes = lane === "f32" ? 4 : 8;
    const splat = lane === "f32" ? "v128.load32_splat" : "v128.load64_splat";
    const acc = Array.from(
      { length: tall },
      () => [f.local("v128"), f.local("v128")],
    );
    const bv = [f.local("v128"), f.local("v128")];
    const av = f.local("v128");
    const pointer = f.local("i32");
    const addend = f.local("v128");

    f.get(mode).if(() => {
      f.get(mode).i32(startModes.accumulate).op("i32.eq").if(() => {
        f.get(c).set(pointer);
        for (const row of acc) {
          row.forEach((v, j) =>
            f.get(pointer).load("v128.load", 16 * j).set(v)
          );
          advance(f, pointer, () => f.get(cRow));
        }
      }, () => {
        f.get(mode).i32(startModes.columnBias).op("i32.eq").if(() => {
          bv.forEach((v, j) => f.get(bias).load("v128.load", 16 * j).set(v));
          for (const row of acc) row.forEach((v, j) => f.get(bv[j]).set(v));
        }, () => {
          acc.forEach((row, i) => {
            f.get(bias).load(splat, i * bytes).tee(row[0]).set(row[1]);
          });
        });
      });
    });

    // Rows that are not there repeat the last one.
    const rows = direct
      ? acc.map((_, i) => {
        const row = f.local("i32");
        f.get(a).i32(i).get(height).i32(1).op("i32.sub");
        f.i32(i).get(height).op("i32.lt_s").select();
        f.get(aRow).op("i32.mul").op("i32.add").set(row);
        return row;
      })
      : [];

    function step(u: number): void {
      bv.forEach((v, j) => f.get(b).load("v128.load", (2 * u + j) * 16).set(v));
      acc.forEach((row, i) => {
        if (direct) f.get(rows[i]).load(splat, u * bytes).set(av);
        else f.get(a).load(splat, (u * tileRows + i) * bytes).set(av);
        row.forEach((v, j) => {
          f.get(av).get(bv[j]).get(v);
          multiplyAdd(f, lane, addend);
          f.set(v);
        });
      });
    }
    for (const unroll of [8, 1]) {
      repeat(f, depth, () => {
        for (let u = 0; u < unroll; u++) step(u);
        for (const row of rows) advance(f, row, () => f.i32(unroll * bytes));
        if (!direct) advance(f, a, () => f.i32(unroll * tileRows * bytes));
        advance(f, b, () => f.i32(unroll * 32));
      }, unroll);
    }

    for (const row of acc) {
      row.forEach((v, j) => f.get(c).get(v).store("v128.store", 16 * j));
      advance(f, c, () => f.get(cRow));
    }
  });
}

/**
 * Defines the product of two panels into C of any strides: (a, b, c, cRow,
 * cColumn, depth, mode, bias, height, width, scratch, aRow). Only what lies
 * inside C, `height` by `width` from here on, is touched. With `direct`, `a` is
 * the first of rows that lie `aRow` bytes from each other, and is no panel.
 */
export function defineTileProduct(
  m: ModuleBuilder,
  lane: "f32" | "f64",
  direct = false,
  tall: number = tileRows,
): number {
  const micro = defineMicroKernel(m, lane, direct, tall);
  const copy = defineTileCopy(m, lane);
  const bytes = lane === "f32" ? 4 : 8;
  const columns = tileColumns(lane);
  const parameters = Array.from({ length: 12 }, () => "i32" as const);
  return m.func("", parameters, [], (f) => {
    const [a, b, c, cRow, cColumn, depth, mode, bias] = [
      0,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
    ];
    const [height, width, scratch, aRow] = [8, 9, 10, 11];
    f.get(height).i32(tall).op("i32.ge_s");
    f.get(width).i32(columns).op("i32.ge_s").op("i32.and");
    f.get(cColumn).i32(bytes).op("i32.eq").op("i32.and").if(() => {
      f.get(a).get(b).get(c).get(cRow).get(depth).get(mode).get(bias);
      f.get(aRow).get(height).call(micro);
    }, () => {
      setMin(f, height, () => f.get(height), () => f.i32(tall));
      setMin(f, width, () => f.get(width), () => f.i32(columns));
      f.get(mode).i32(startModes.accumulate).op("i32.eq").if(() => {
        f.get(c).get(cRow).get(cColumn);
        f.get(scratch).i32(columns * bytes).i32(bytes);
        f.get(height).get(width).call(copy);
      });
      f.get(a).get(b).get(scratch).i32(columns * bytes);
      f.get(depth).get(mode).get(bias).get(aRow).get(height).call(micro);
      f.get(scratch).i32(columns * bytes).i32(bytes);
      f.get(c).get(cRow).get(cColumn);
      f.get(height).get(width).call(copy);
    });
  });
}

/**
 * A kernel that multiplies packed panels; its range counts blocks of C:
 * product by product, downwards, then across. With `direct` it reads rows of A
 * as they lie: slots are then addresses in a table.
 */
export function productKernel(
  lane: "f32" | "f64",
  direct: boolean,
): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const multiplyTile = defineTileProduct(m, lane, direct);
  const multiplyLow = direct
    ? defineTileProduct(m, lane, direct, lowRows)
    : multiplyTile;
  const bytes = lane === "f32" ? 4 : 8;
  const columns = tileColumns(lane);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, productParameters);
    const t = f.local("i32"), entry = f.local("i32"), rest = f.local("i32");
    const i = f.local("i32"), j = f.local("i32");
    const i0 = f.local("i32"), i1 = f.local("i32"), j1 = f.local("i32");
    const a = f.local("i32"), b = f.local("i32"), c = f.local("i32");
    const tile = f.local("i32"), bias = f.local("i32");
    const panelA = f.local("i32"), panelB = f.local("i32");
    const left = f.local("i32");

    f.get(p.tiles).global(thread).i32(tileBytes).op("i32.mul").op("i32.add");
    f.set(tile);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.blocksDown).get(p.blocksAcross).op("i32.mul").set(rest);
      f.get(t).get(rest).op("i32.div_u").i32(12).op("i32.mul");
      f.get(p.table).op("i32.add").set(entry);
      f.get(t).get(rest).op("i32.rem_u").set(rest);
      f.get(entry).load("i32.load");
      if (direct) {
        f.i32(2).op("i32.shl").get(p.a).op("i32.add").load("i32.load");
        f.get(p.aBytes).op("i32.add").set(a);
      } else {
        f.get(p.aBytes).op("i32.mul").get(p.a).op("i32.add").set(a);
      }
      f.get(entry).load("i32.load", 4).get(p.bBytes).op("i32.mul");
      f.get(p.b).op("i32.add").set(b);
      f.get(entry).load("i32.load", 8).get(p.cOffset).op("i32.add").set(c);
      f.get(rest).get(p.blocksAcross).op("i32.div_u").get(p.blockRows);
      f.op("i32.mul").set(i0);
      f.get(rest).get(p.blocksAcross).op("i32.rem_u").get(p.blockColumns);
      f.op("i32.mul").set(j);
      setMin(
        f,
        i1,
        () => f.get(i0).get(p.blockRows).op("i32.add"),
        () => f.get(p.rows),
      );
      setMin(
        f,
        j1,
        () => f.get(j).get(p.blockColumns).op("i32.add"),
        () => f.get(p.columns),
      );
      loopWhileBelow(f, j, () => f.get(j1), columns, () => {
        panelAddress(b, j, panelB);
        f.get(i0).set(i);
        loopWhileBelow(f, i, () => f.get(i1), 0, () => {
          if (direct) {
            f.get(i).get(p.aRow).op("i32.mul").get(a).op("i32.add");
            f.set(panelA);
          } else panelAddress(a, i, panelA);
          f.get(p.bias).get(i).get(j);
          f.get(p.mode).i32(startModes.rowBias).op("i32.eq").select();
          f.i32(bytes).op("i32.mul").op("i32.add").set(bias);
          const multiply = (tall: number, product: number) => {
            f.get(panelA).get(panelB);
            f.get(c).get(i).get(p.cRow).op("i32.mul").op("i32.add");
            f.get(j).get(p.cColumn).op("i32.mul").op("i32.add");
            f.get(p.cRow).get(p.cColumn).get(p.depth).get(p.mode).get(bias);
            f.get(p.rows).get(i).op("i32.sub");
            f.get(p.columns).get(j).op("i32.sub").get(tile).get(p.aRow);
            f.call(product);
            advance(f, i, () => f.i32(tall));
          };
          if (!direct) {
            multiply(tileRows, multiplyTile);
            return;
          }
          // Up to 4 rows are one low tile, 7 or 8 are two.
          f.get(i1).get(i).op("i32.sub").tee(left).i32(lowRows).op("i32.le_s");
          f.get(left).i32(2 * lowRows - 1).op("i32.sub").i32(2);
          f.op("i32.lt_u").op("i32.or").if(
            () => multiply(lowRows, multiplyLow),
            () => multiply(tileRows, multiplyTile),
          );
        });
      });
    });

    function panelAddress(base: number, index: number, into: number): void {
      f.get(index).get(p.depth).op("i32.mul").i32(bytes).op("i32.mul");
      f.get(base).op("i32.add").set(into);
    }
  });
  return createKernel(
    `product ${lane}${direct ? " of rows" : ""}`,
    m.toBytes(),
  );
}

/** Defines a copy of part of a tile: (from, row, column, to, row, column, height, width). */
function defineTileCopy(m: ModuleBuilder, lane: "f32" | "f64"): number {
  const parameters = Array.from({ length: 8 }, () => "i32" as const);
  return m.func("", parameters, [], (f) => {
    const [from, fromRow, fromColumn, to, toRow, toColumn, height, width] = [
      0,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
    ];
    const x = f.local("i32"), source = f.local("i32"), target = f.local("i32");
    repeat(f, height, () => {
      f.get(width).set(x).get(from).set(source).get(to).set(target);
      repeat(f, x, () => {
        f.get(target).get(source);
        if (lane === "f32") f.load("i32.load").store("i32.store");
        else f.load("i64.load").store("i64.store");
        advance(f, source, () => f.get(fromColumn));
        advance(f, target, () => f.get(toColumn));
      });
      advance(f, from, () => f.get(fromRow));
      advance(f, to, () => f.get(toRow));
    });
  });
}
