/**
 * WebAssembly for matrix products: packing into panels, and the product of
 * packed panels by a register-blocked micro-kernel.
 *
 * A panel holds, for each k, the elements of a few rows of A (or columns of B)
 * side by side, so the micro-kernel reads both operands in order. Panels are
 * always full: lanes beyond the matrix repeat its last row and their results
 * are never stored.
 *
 * @module
 */

import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import { type Elements, elements, type FloatDType } from "./elements.ts";
import {
  advance,
  type Emit,
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

/** Words of a packing kernel's parameter block. */
export const packParameters = [
  /** Table of addresses, one per slot. */
  "table",
  /** Bytes from there to the first element. */
  "offset",
  /** First panel. */
  "target",
  /** Bytes of a slot's panels. */
  "slotBytes",
  /** Bytes from row to row. */
  "rowStride",
  /** Bytes from k to k. */
  "depthStride",
  /** Rows. */
  "rows",
  /** Elements of a row. */
  "depth",
  /** Panels of a slot. */
  "panels",
] as const;

/** Words of a product kernel's parameter block. */
export const productParameters = [
  /** Table per product: slot of A, slot of B, address of C. */
  "table",
  /** First panel of A. */
  "a",
  /** Bytes of a slot of A. */
  "aBytes",
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

/** Words of a conversion kernel's parameter block. */
export const convertParameters = [
  /** Table of addresses of the strided matrices, one per slot. */
  "table",
  /** Bytes from row to row there. */
  "rowStride",
  /** Bytes from column to column there. */
  "columnStride",
  /** The dense f32 matrices. */
  "dense",
  /** Rows of a matrix. */
  "rows",
  /** Columns of a matrix. */
  "columns",
] as const;

/**
 * A kernel that rounds dense f32 matrices to strided ones of a half dtype, or
 * widens strided ones to dense f32; its range counts rows over all slots.
 */
export function convertKernel(
  dtype: "f16" | "bf16",
  direction: "narrow" | "widen",
): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, convertParameters);
    const t = f.local("i32"), count = f.local("i32");
    const strided = f.local("i32"), dense = f.local("i32");
    const narrow = direction === "narrow";
    const from = elements[narrow ? "f32" : dtype];
    const to = elements[narrow ? dtype : "f32"];
    const [source, target] = narrow ? [dense, strided] : [strided, dense];
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.rows).op("i32.div_u").i32(2).op("i32.shl");
      f.get(p.table).op("i32.add").load("i32.load");
      f.get(t).get(p.rows).op("i32.rem_u").get(p.rowStride).op("i32.mul");
      f.op("i32.add").set(strided);
      f.get(t).get(p.columns).op("i32.mul").i32(2).op("i32.shl");
      f.get(p.dense).op("i32.add").set(dense);
      f.get(p.columns).set(count);
      f.get(p.columnStride).i32(elements[dtype].bytes).op("i32.eq").if(() => {
        repeat(f, count, () => {
          to.store(f, () => f.get(target), () => from.load(f.get(source)));
          advance(f, source, () => f.i32(4 * from.bytes));
          advance(f, target, () => f.i32(4 * to.bytes));
        }, 4);
      });
      repeat(f, count, () => {
        to.storeOne(f, () => f.get(target), () => from.loadOne(f.get(source)));
        advance(f, strided, () => f.get(p.columnStride));
        advance(f, dense, () => f.i32(4));
      });
    });
  });
  return createKernel(`${direction} ${dtype}`, m.toBytes());
}

/** A kernel that packs panels of `lanes` rows of elements of a dtype; its range counts panels over all slots. */
export function packKernel(dtype: FloatDType, lanes: number): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, packParameters);
    const t = f.local("i32"), source = f.local("i32"), to = f.local("i32");
    const slot = f.local("i32"), first = f.local("i32");
    const valid = f.local("i32"), count = f.local("i32");
    const rows = Array.from({ length: lanes }, () => f.local("i32"));
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.panels).op("i32.div_u").set(slot);
      f.get(t).get(p.panels).op("i32.rem_u").i32(lanes).op("i32.mul");
      f.set(first);
      setMin(
        f,
        valid,
        () => f.i32(lanes),
        () => f.get(p.rows).get(first).op("i32.sub"),
      );
      f.get(slot).i32(2).op("i32.shl").get(p.table).op("i32.add");
      f.load("i32.load").get(p.offset).op("i32.add");
      f.get(first).get(p.rowStride).op("i32.mul").op("i32.add").set(source);
      f.get(slot).get(p.slotBytes).op("i32.mul").get(p.target).op("i32.add");
      f.get(first).get(p.depth).op("i32.mul");
      f.i32(laneBytes(elements[dtype])).op("i32.mul");
      f.op("i32.add").set(to);
      f.get(p.depth).set(count);
      emitPackPanel(f, elements[dtype], {
        source,
        to,
        valid,
        count,
        rowStride: p.rowStride,
        depthStride: p.depthStride,
        rows,
      });
    });
  });
  return createKernel(`pack ${dtype} by ${lanes}`, m.toBytes());
}

/** Bytes of an element in a panel. */
export function laneBytes(e: Elements): number {
  return e.lane === "f32" ? 4 : 8;
}

/** Locals of a panel to be packed; all are clobbered but the strides. */
interface PackLocals {
  readonly source: number;
  readonly to: number;
  readonly valid: number;
  readonly count: number;
  readonly rowStride: number;
  readonly depthStride: number;
  readonly rows: readonly number[];
}

function emitPackPanel(
  f: FunctionBuilder,
  e: Elements,
  locals: PackLocals,
): void {
  const { source, to, valid, count, rowStride, depthStride, rows } = locals;
  const lanes = rows.length;
  const size = laneBytes(e);
  f.get(valid).i32(lanes).op("i32.eq");
  f.get(rowStride).i32(e.bytes).op("i32.eq").op("i32.and").if(() => {
    // Rows lie side by side: copy vectors.
    repeat(f, count, () => {
      for (let r = 0; r < lanes; r += e.lanes) {
        f.get(to).get(source);
        if (lanes - r >= e.lanes) {
          e.load(f, r * e.bytes);
          f.store("v128.store", r * size);
        } else {
          e.loadTwo(f, r * e.bytes);
          f.storeLane("v128.store64_lane", 0, r * size);
        }
      }
      advance(f, source, () => f.get(depthStride));
      advance(f, to, () => f.i32(lanes * size));
    });
  }, () => {
    // One pointer per row; lanes beyond the matrix follow its last row.
    rows.forEach((row, r) => {
      f.get(source);
      pushClamped(f, r, valid);
      f.get(rowStride).op("i32.mul").op("i32.add").set(row);
    });
    f.get(depthStride).i32(e.bytes).op("i32.eq").if(() => {
      emitPackRuns(f, e, rows, to, count);
    }, () => {
      emitPackElements(f, e, rows, to, count, () => f.get(depthStride));
    });
  });
}

/** Pushes min(r, valid − 1). */
export function pushClamped(
  f: FunctionBuilder,
  r: number,
  valid: number,
): void {
  f.i32(r).get(valid).i32(1).op("i32.sub");
  f.i32(r).get(valid).op("i32.lt_s").select();
}

/** Packs `count` consecutive elements behind each row pointer; pointers and target advance. */
export function emitPackRuns(
  f: FunctionBuilder,
  e: Elements,
  rows: readonly number[],
  to: number,
  count: number,
): void {
  const lanes = rows.length, size = laneBytes(e);
  repeat(f, count, () => {
    for (let r = 0; r < lanes; r += e.lanes) {
      emitTranspose(f, e, rows.slice(r, r + e.lanes), to, r, lanes);
    }
    for (const row of rows) advance(f, row, () => f.i32(e.lanes * e.bytes));
    advance(f, to, () => f.i32(e.lanes * lanes * size));
  }, e.lanes);
  emitPackElements(f, e, rows, to, count, () => f.i32(e.bytes));
}

/** Packs `count` elements behind each row pointer, `stride` bytes apart; pointers and target advance. */
function emitPackElements(
  f: FunctionBuilder,
  e: Elements,
  rows: readonly number[],
  to: number,
  count: number,
  stride: Emit,
): void {
  const size = laneBytes(e);
  repeat(f, count, () => {
    rows.forEach((row, r) => {
      elements[e.lane].storeOne(
        f,
        () => f.get(to).i32(r * size).op("i32.add"),
        () => e.loadOne(f.get(row)),
      );
      advance(f, row, stride);
    });
    advance(f, to, () => f.i32(rows.length * size));
  });
}

/** Reads a vector of each of up to four rows and writes them transposed at lane `r` of a panel. */
function emitTranspose(
  f: FunctionBuilder,
  e: Elements,
  rows: readonly number[],
  to: number,
  r: number,
  lanes: number,
): void {
  const size = laneBytes(e);
  const v = rows.map((row) => {
    const local = f.local("v128");
    e.load(f.get(row));
    f.set(local);
    return local;
  });
  function storeAt(k: number, value: Emit): void {
    f.get(to);
    value();
    f.store("v128.store", (k * lanes + r) * size);
  }
  if (e.lane === "f64") {
    storeAt(0, () => f.get(v[0]).get(v[1]).shuffle(words(2, [0, 2])));
    storeAt(1, () => f.get(v[0]).get(v[1]).shuffle(words(2, [1, 3])));
    return;
  }
  const low = words(4, [0, 4, 1, 5]), high = words(4, [2, 6, 3, 7]);
  if (rows.length === 2) {
    const pairs = [low, high];
    pairs.forEach((pattern, half) => {
      const pair = f.local("v128");
      f.get(v[0]).get(v[1]).shuffle(pattern).set(pair);
      for (const lane of [0, 1]) {
        f.get(to).get(pair).storeLane(
          "v128.store64_lane",
          lane,
          ((2 * half + lane) * lanes + r) * size,
        );
      }
    });
    return;
  }
  const [l01, h01, l23, h23] = [[0, 1, low], [0, 1, high], [2, 3, low], [
    2,
    3,
    high,
  ]].map(([i, j, pattern]) => {
    const local = f.local("v128");
    f.get(v[i as number]).get(v[j as number]);
    f.shuffle(pattern as number[]).set(local);
    return local;
  });
  const first = words(2, [0, 2]), second = words(2, [1, 3]);
  storeAt(0, () => f.get(l01).get(l23).shuffle(first));
  storeAt(1, () => f.get(l01).get(l23).shuffle(second));
  storeAt(2, () => f.get(h01).get(h23).shuffle(first));
  storeAt(3, () => f.get(h01).get(h23).shuffle(second));
}

/** The bytes of a shuffle of whole words, `count` per vector. */
function words(count: 2 | 4, order: readonly number[]): number[] {
  const bytes = 16 / count;
  return order.flatMap((w) =>
    Array.from({ length: bytes }, (_, i) => w * bytes + i)
  );
}

/**
 * Defines the micro-kernel (a, b, c, cRow, depth, mode, bias): a tile of C
 * whose columns lie side by side, from one panel of A and one of B.
 */
export function defineMicroKernel(
  m: ModuleBuilder,
  lane: "f32" | "f64",
): number {
  const i32 = "i32";
  const parameters = [i32, i32, i32, i32, i32, i32, i32] as const;
  return m.func("", parameters, [], (f) => {
    const [a, b, c, cRow, depth, mode, bias] = [0, 1, 2, 3, 4, 5, 6];
    const bytes = lane === "f32" ? 4 : 8;
    const splat = lane === "f32" ? "v128.load32_splat" : "v128.load64_splat";
    const acc = Array.from(
      { length: tileRows },
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

    function step(u: number): void {
      bv.forEach((v, j) => f.get(b).load("v128.load", (2 * u + j) * 16).set(v));
      acc.forEach((row, i) => {
        f.get(a).load(splat, (u * tileRows + i) * bytes).set(av);
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
        advance(f, a, () => f.i32(unroll * tileRows * bytes));
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
 * cColumn, depth, mode, bias, height, width, scratch). Only what lies inside
 * C, `height` by `width` from here on, is touched.
 */
export function defineTileProduct(
  m: ModuleBuilder,
  lane: "f32" | "f64",
): number {
  const micro = defineMicroKernel(m, lane);
  const copy = defineTileCopy(m, lane);
  const bytes = lane === "f32" ? 4 : 8;
  const columns = tileColumns(lane);
  const parameters = Array.from({ length: 11 }, () => "i32" as const);
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
    const [height, width, scratch] = [8, 9, 10];
    f.get(height).i32(tileRows).op("i32.ge_s");
    f.get(width).i32(columns).op("i32.ge_s").op("i32.and");
    f.get(cColumn).i32(bytes).op("i32.eq").op("i32.and").if(() => {
      f.get(a).get(b).get(c).get(cRow).get(depth).get(mode).get(bias);
      f.call(micro);
    }, () => {
      setMin(f, height, () => f.get(height), () => f.i32(tileRows));
      setMin(f, width, () => f.get(width), () => f.i32(columns));
      f.get(mode).i32(startModes.accumulate).op("i32.eq").if(() => {
        f.get(c).get(cRow).get(cColumn);
        f.get(scratch).i32(columns * bytes).i32(bytes);
        f.get(height).get(width).call(copy);
      });
      f.get(a).get(b).get(scratch).i32(columns * bytes);
      f.get(depth).get(mode).get(bias).call(micro);
      f.get(scratch).i32(columns * bytes).i32(bytes);
      f.get(c).get(cRow).get(cColumn);
      f.get(height).get(width).call(copy);
    });
  });
}

/**
 * A kernel that multiplies packed panels; its range counts blocks of C:
 * product by product, downwards, then across.
 */
export function productKernel(lane: "f32" | "f64"): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  const multiplyTile = defineTileProduct(m, lane);
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

    f.get(p.tiles).global(thread).i32(tileBytes).op("i32.mul").op("i32.add");
    f.set(tile);
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.blocksDown).get(p.blocksAcross).op("i32.mul").set(rest);
      f.get(t).get(rest).op("i32.div_u").i32(12).op("i32.mul");
      f.get(p.table).op("i32.add").set(entry);
      f.get(t).get(rest).op("i32.rem_u").set(rest);
      f.get(entry).load("i32.load").get(p.aBytes).op("i32.mul");
      f.get(p.a).op("i32.add").set(a);
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
        loopWhileBelow(f, i, () => f.get(i1), tileRows, () => {
          panelAddress(a, i, panelA);
          f.get(p.bias).get(i).get(j);
          f.get(p.mode).i32(startModes.rowBias).op("i32.eq").select();
          f.i32(bytes).op("i32.mul").op("i32.add").set(bias);
          f.get(panelA).get(panelB);
          f.get(c).get(i).get(p.cRow).op("i32.mul").op("i32.add");
          f.get(j).get(p.cColumn).op("i32.mul").op("i32.add");
          f.get(p.cRow).get(p.cColumn).get(p.depth).get(p.mode).get(bias);
          f.get(p.rows).get(i).op("i32.sub");
          f.get(p.columns).get(j).op("i32.sub").get(tile).call(multiplyTile);
        });
      });
    });

    function panelAddress(base: number, index: number, into: number): void {
      f.get(index).get(p.depth).op("i32.mul").i32(bytes).op("i32.mul");
      f.get(base).op("i32.add").set(into);
    }
  });
  return createKernel(`product ${lane}`, m.toBytes());
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
