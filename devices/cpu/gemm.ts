/**
 * Matrix products on the CPU: C = A·B, with any strides, batches, bias.
 *
 * Operands are packed into panels, block by block (A only where its rows do not
 * lie in order), then blocks of C are computed in parallel. A sum is never split between threads, and blocks
 * depend on the shapes alone, so results do not depend on the number of
 * threads.
 *
 * @module
 */

import { fromBf16Bits, fromF16Bits } from "../../core/dtype.ts";
import { type Elements, elements, type FloatDType } from "./elements.ts";
import { offsets, resolveBatch } from "./gemm_batch.ts";
import { startModes, tileColumns, tileRows } from "./gemm_kernels.ts";
import { convertKernel, convertParameters, laneBytes } from "./gemm_pack.ts";
import { ceilTo, multiplyPanels, pack } from "./gemm_panels.ts";
import { multiplyRow } from "./gemv.ts";
import { allocate, heap, release } from "./memory.ts";
import { cachedKernel, runKernel } from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";

/** An operand of a product: a strided matrix, or one per batch index. Strides count elements. */
export interface MatrixOperand {
  /** Byte address of the first element. */
  readonly address: number;
  /** Elements from row to row. */
  readonly rowStride: number;
  /** Elements from column to column. */
  readonly columnStride: number;
  /** Elements from matrix to matrix along each batch axis; 0 repeats the matrix. */
  readonly batchStrides?: readonly number[];
}

/** What to multiply. */
export interface MatmulSpec {
  /** Dtype of A, B, C and bias. Half types are summed in f32. */
  readonly dtype: FloatDType;
  /** Rows of A and C. */
  readonly m: number;
  /** Columns of B and C. */
  readonly n: number;
  /** Columns of A, rows of B. */
  readonly k: number;
  /** Extents of the batch axes; none by default. */
  readonly batchShape?: readonly number[];
  /** Left operand, m×k. */
  readonly a: MatrixOperand;
  /** Right operand, k×n. */
  readonly b: MatrixOperand;
  /** Result, m×n; elements must not overlap each other or the operands. */
  readonly c: MatrixOperand;
  /** Adds the products to what C holds; not together with a bias. */
  readonly accumulate?: boolean;
  /** A vector added to each row of C (one element per column), or to each column. */
  readonly bias?: MatmulBias;
  /** Byte address of B as {@linkcode packRight} wrote it. */
  readonly packed?: number;
}

/** A vector to be added to a product. */
export interface MatmulBias {
  /** Byte address of the first element. */
  readonly address: number;
  /** Elements from one to the next. */
  readonly stride: number;
  /** Whether there is one element per column of C, or one per row. */
  readonly per: "column" | "row";
}

/** Longest sum in one pass over packed panels: two panels of f32 fit the first-level cache. */
const depthBytes = 2048;
/** Most bytes that the panels of one operand take. */
const panelsBytes = 2 ** 23;
/** Elements converted per hand-over. */
const worthConverting = 2 ** 14;

const convertBlock = new ParameterBlock(convertParameters.length);
const panelsA = new Scratch(), panelsB = new Scratch();
const convertTable = new Scratch(), biasRoom = new Scratch();

/** How the sums of a product are cut into passes: equal ones, a multiple of the micro-kernel's unrolling long. */
function depthOf(k: number, bytes: number): number {
  const passes = Math.max(1, Math.ceil(k * bytes / depthBytes));
  return Math.max(8, Math.ceil(k / passes / 8) * 8);
}

/** Elements that B, k×n, takes as {@linkcode packRight} writes it. */
export function packedElements(
  dtype: "f32" | "f64",
  k: number,
  n: number,
): number {
  return k * ceilTo(n, tileColumns(dtype));
}

/** Packs B, k×n, as products read it: panels of all columns, pass by pass. */
export function packRight(
  dtype: "f32" | "f64",
  k: number,
  n: number,
  b: MatrixOperand,
  target: number,
): void {
  const e = elements[dtype];
  const bytes = laneBytes(e), columns = tileColumns(e.lane);
  const { b: slots } = resolveBatch([b.address], [b.address], [0], 0, 1);
  const depth = depthOf(k, bytes);
  for (let k0 = 0; k0 < k; k0 += depth) {
    pack(e, columns, slots, target + k0 * ceilTo(n, columns) * bytes, {
      offset: k0 * b.rowStride * e.bytes,
      rowStride: b.columnStride * e.bytes,
      depthStride: b.rowStride * e.bytes,
      rows: n,
      depth: Math.min(depth, k - k0),
    });
  }
}

/** Computes a matrix product, or a batch of them; sizes of 0 are fine. */
export function matmul(spec: MatmulSpec): void {
  const { dtype, m, n, c } = spec;
  const shape = spec.batchShape ?? [];
  const count = shape.reduce((x, y) => x * y, 1);
  if (m === 0 || n === 0 || count === 0) return;
  if (dtype === "f16" || dtype === "bf16") {
    matmulHalf(spec, dtype, count);
    return;
  }
  const swap = spec.packed === undefined && c.rowStride === 1 &&
    (c.columnStride !== 1 || n === 1);
  const upright = swap ? transposed(spec) : spec;
  if (dtype === "f32" && count === 1 && rowProduct(upright)) return;
  multiply(upright, elements[dtype]);
}

/** Multiplies a single row by a matrix if it all lies suitably; says whether it did. */
function rowProduct(spec: MatmulSpec): boolean {
  const { m, n, k, a, b, c, bias } = spec;
  const fits = m === 1 && (c.columnStride === 1 || n === 1) &&
    (a.columnStride === 1 || k === 1) &&
    (bias === undefined || (bias.per === "column" && bias.stride === 1));
  if (!fits || (b.rowStride !== 1 && b.columnStride !== 1)) return false;
  const along = b.rowStride === 1 ? "k" : "n";
  multiplyRow({
    x: a.address,
    b: b.address,
    pitch: along === "k" ? b.columnStride : b.rowStride,
    along,
    y: c.address,
    start: spec.accumulate ? c.address : bias?.address ?? 0,
    k,
    n,
  });
  return true;
}

/** Cᵀ = Bᵀ·Aᵀ, where the columns of Cᵀ lie side by side. */
function transposed(spec: MatmulSpec): MatmulSpec {
  const { m, n, bias } = spec;
  return {
    ...spec,
    m: n,
    n: m,
    a: transposedOperand(spec.b),
    b: transposedOperand(spec.a),
    c: transposedOperand(spec.c),
    bias: bias && { ...bias, per: bias.per === "row" ? "column" : "row" },
  };
}

function transposedOperand(x: MatrixOperand): MatrixOperand {
  return { ...x, rowStride: x.columnStride, columnStride: x.rowStride };
}

/** Products of 16-bit floats: sums in f32, rounded once at the end. */
function matmulHalf(
  spec: MatmulSpec,
  dtype: "f16" | "bf16",
  count: number,
): void {
  const { m, n, c, batchShape = [] } = spec;
  const dense = allocate(count * m * n * 4);
  const strides = batchShape.map((_, i) =>
    batchShape.slice(i + 1).reduce((x, y) => x * y, m * n)
  );
  const table = offsets(batchShape, c.batchStrides, 2, c.address);
  function convert(direction: "narrow" | "widen"): void {
    const tableAddress = convertTable.at(4 * count);
    heap.i32.set(table, tableAddress >>> 2);
    const block = convertBlock.fill(
      tableAddress,
      c.rowStride * 2,
      c.columnStride * 2,
      dense,
      m,
      n,
    );
    runKernel(
      cachedKernel(
        `${direction} ${dtype}`,
        () => convertKernel(dtype, direction),
      ),
      block,
      count * m,
      Math.ceil(worthConverting / n),
    );
  }
  try {
    if (spec.accumulate) convert("widen");
    multiply({
      ...spec,
      c: {
        address: dense,
        rowStride: n,
        columnStride: 1,
        batchStrides: strides,
      },
    }, elements[dtype]);
    convert("narrow");
  } finally {
    release(dense);
  }
}

/** Multiplies; elements of A, B and bias are `e`'s, those of C its lanes. */
function multiply(spec: MatmulSpec, e: Elements): void {
  const { m, n, k, batchShape = [] } = spec;
  const bytes = laneBytes(e);
  const columns = tileColumns(e.lane);
  const cs = offsets(
    batchShape,
    spec.c.batchStrides,
    bytes,
    spec.c.address,
  );
  const as = offsets(
    batchShape,
    spec.a.batchStrides,
    e.bytes,
    spec.a.address,
  );
  const bs = offsets(
    batchShape,
    spec.b.batchStrides,
    e.bytes,
    spec.b.address,
  );
  const depth = depthOf(k, bytes);
  const most = Math.floor(panelsBytes / (depth * bytes));
  const rowsAtOnce = Math.min(m, floorTo(most, tileRows));
  const columnsAtOnce = spec.packed === undefined
    ? Math.min(n, floorTo(most, columns))
    : n;
  const together = Math.max(
    1,
    Math.floor(most / (rowsAtOnce + columnsAtOnce)),
  );
  const start = spec.accumulate
    ? startModes.accumulate
    : spec.bias === undefined
    ? startModes.zero
    : spec.bias.per === "column"
    ? startModes.columnBias
    : startModes.rowBias;
  const bias = spec.bias === undefined ? 0 : padBias(spec, spec.bias, e);

  const direct = readsDirectly(spec, e);

  for (let first = 0; first < cs.length; first += together) {
    const last = Math.min(first + together, cs.length);
    const batch = resolveBatch(as, bs, cs, first, last);
    for (let k0 = 0; k0 < Math.max(k, 1); k0 += depth) {
      const kc = Math.min(depth, k - k0);
      const mode = k0 === 0 ? start : startModes.accumulate;
      for (let j0 = 0; j0 < n; j0 += columnsAtOnce) {
        const nc = Math.min(columnsAtOnce, n - j0);
        const b = spec.packed === undefined
          ? panelsB.at(batch.b.count * ceilTo(nc, columns) * kc * bytes)
          : spec.packed + k0 * ceilTo(n, columns) * bytes;
        if (spec.packed === undefined) {
          pack(e, columns, batch.b, b, {
            offset: (k0 * spec.b.rowStride + j0 * spec.b.columnStride) *
              e.bytes,
            rowStride: spec.b.columnStride * e.bytes,
            depthStride: spec.b.rowStride * e.bytes,
            rows: nc,
            depth: kc,
          });
        }
        for (let i0 = 0; i0 < m; i0 += rowsAtOnce) {
          const mc = Math.min(rowsAtOnce, m - i0);
          const aOffset = (i0 * spec.a.rowStride + k0 * spec.a.columnStride) *
            e.bytes;
          const a = direct
            ? batch.a.table
            : panelsA.at(batch.a.count * ceilTo(mc, tileRows) * kc * bytes);
          if (!direct) {
            pack(e, tileRows, batch.a, a, {
              offset: aOffset,
              rowStride: spec.a.rowStride * e.bytes,
              depthStride: spec.a.columnStride * e.bytes,
              rows: mc,
              depth: kc,
            });
          }
          const { c } = spec;
          multiplyPanels(e.lane, {
            table: batch.products,
            count: last - first,
            a,
            direct: direct
              ? { offset: aOffset, row: spec.a.rowStride * e.bytes }
              : undefined,
            b,
            cOffset: (i0 * c.rowStride + j0 * c.columnStride) * bytes,
            cRow: c.rowStride * bytes,
            cColumn: c.columnStride * bytes,
            rows: mc,
            columns: nc,
            depth: kc,
            mode,
            bias: bias +
              (mode === startModes.rowBias ? i0 : j0) * bytes,
          });
        }
      }
    }
  }
}

/** Whether A is read as it lies: where its rows lie in order, packing them gains nothing. */
function readsDirectly({ k, a }: MatmulSpec, e: Elements): boolean {
  return e.dtype === e.lane && (a.columnStride === 1 || k === 1);
}

/** Copies a bias, widened, to where it may be read to the end of the last panel. */
function padBias(spec: MatmulSpec, bias: MatmulBias, e: Elements): number {
  const length = bias.per === "column" ? spec.n : spec.m;
  const target = biasRoom.at((length + 8) * laneBytes(e));
  const from = bias.address / e.bytes;
  const { stride } = bias;
  if (e.lane === "f64") {
    const to = target / 8;
    for (let i = 0; i < length; i++) {
      heap.f64[to + i] = heap.f64[from + i * stride];
    }
  } else if (e.dtype === "f32") {
    const to = target / 4;
    for (let i = 0; i < length; i++) {
      heap.f32[to + i] = heap.f32[from + i * stride];
    }
  } else {
    const widen = e.dtype === "f16" ? fromF16Bits : fromBf16Bits;
    const to = target / 4;
    for (let i = 0; i < length; i++) {
      heap.f32[to + i] = widen(heap.u16[from + i * stride]);
    }
  }
  return target;
}

function floorTo(value: number, unit: number): number {
  return Math.max(1, Math.floor(value / unit)) * unit;
}
