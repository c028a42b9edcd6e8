/**
 * WebAssembly that packs strided matrices into panels, and converts between
 * half-precision matrices and dense f32 ones.
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
  repeat,
  setMin,
} from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel } from "./pool.ts";

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
