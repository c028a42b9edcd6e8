/**
 * What a device is asked to compute: operands and geometry of launches,
 * products, windows, scatters, sorts and scans.
 *
 * @module
 */

import type { Storage } from "./device.ts";
import type { DType } from "./dtype.ts";
import type { Program } from "../kernel/program.ts";

/** Strided data in a storage, as kernels see it. */
export interface Strided {
  /** Block of memory. */
  readonly storage: Storage;
  /** Element type. */
  readonly dtype: DType;
  /** First element, counted in elements from the start of the block. */
  readonly offset: number;
  /** Step per axis, in elements. */
  readonly strides: readonly number[];
}

/** One i32 that kernels set to 1, and that the host looks at when it waits next. */
export interface DeviceFlag {
  /** Where it is. */
  readonly address: number;
}

/** One run of a row program. */
export interface Launch {
  /** What it computes, for profiles and messages. */
  readonly name?: string;
  /** What to compute. */
  readonly program: Program;
  /** Extents of the outer axes, then of the inner axes. */
  readonly sizes: readonly number[];
  /** How many of `sizes` are outer axes. */
  readonly outerRank: number;
  /** Operands; strides per axis of `sizes` (ignored for operands read by `load` only). */
  readonly inputs: readonly Strided[];
  /** Elements that `load` may reach in each operand. */
  readonly limits: readonly number[];
  /** Results; strides per axis of `sizes`, 0 along inner axes for per-row outputs. */
  readonly outputs: readonly Strided[];
  /** Run-time scalars. */
  readonly scalars: readonly number[];
  /** The scalars of the next run when the launch is part of a graph; they stay as they are without. */
  readonly live?: () => readonly number[];
  /** Set where the program refuses an element; there must be one if it may. */
  readonly flag?: DeviceFlag;
}

/** A matrix operand: strides in elements. */
export interface MatrixOperand extends Block {
  /** Step from row to row. */
  readonly rowStride: number;
  /** Step from column to column. */
  readonly columnStride: number;
  /** Step along each batch axis; 0 repeats the matrix. */
  readonly batchStrides: readonly number[];
}

/** A right factor [k, n] that many products share. */
export interface FactorSpec {
  /** Element type. */
  readonly dtype: "f32" | "f64";
  /** Rows. */
  readonly k: number;
  /** Columns. */
  readonly n: number;
  /** The factor; no batch. */
  readonly b: MatrixOperand;
}

/** c = a·b (+ bias per column), for each matrix of the batch. */
export interface MatmulSpec {
  /** Element type of all operands. */
  readonly dtype: "f32" | "f64" | "f16" | "bf16";
  /** Rows of a and c. */
  readonly m: number;
  /** Columns of b and c. */
  readonly n: number;
  /** Columns of a, rows of b. */
  readonly k: number;
  /** Extents of the batch axes. */
  readonly batchShape: readonly number[];
  /** Left factor [m, k]. */
  readonly a: MatrixOperand;
  /** Right factor [k, n]. */
  readonly b: MatrixOperand;
  /** Result [m, n]. */
  readonly c: MatrixOperand;
  /** Vector [n] added to every row. */
  readonly bias?: Block;
  /** The right factor as `packFactor` wrote it; only without a batch. */
  readonly packed?: Block;
}

/** Functions that a product may end with: max(x, 0), and gelu in its tanh form. */
export type ProductActivation = "relu" | "geluTanh";

/** c = f(a·b + bias), without batch axes. */
export interface ActivatedProduct extends MatmulSpec {
  /** f. */
  readonly activation: ProductActivation;
  /**
   * Filled with what the gradient reads, where it will be wanted: for
   * `geluTanh` a·b + bias, rows ⌈n/8⌉·8 elements apart; for `relu` one bit per
   * element in the device's own order, rows ⌈n/128⌉·128 bits apart.
   */
  readonly kept?: Block;
}

/** c = f′(kept) · (a·b), without batch axes: the gradient on its way through a product, then through f. */
export interface ActivatedProductGrad extends MatmulSpec {
  /** f. */
  readonly activation: ProductActivation;
  /** What {@linkcode ActivatedProduct.kept} was filled with. */
  readonly kept: Block;
  /** Filled with the sum [n] of the rows of c, where it is wanted. */
  readonly sums?: Block;
}

/** c = a·b, without batch axes, and the sum of each row of a: the gradients of weights and bias in one pass. */
export interface ProductWithSums extends MatmulSpec {
  /** Filled with the sums [m]. */
  readonly sums: Block;
}

/** c = (a·b) · scaleA · scaleB of numbers of eight bits, all contiguous. */
export interface ScaledProduct {
  /** Element type of the result. */
  readonly dtype: "f32" | "f16" | "bf16";
  /** Rows of a and c. */
  readonly m: number;
  /** Columns of b and c. */
  readonly n: number;
  /** Columns of a, rows of b. */
  readonly k: number;
  /** Format of a's bytes. */
  readonly formatA: "e4m3" | "e5m2";
  /** Format of b's bytes. */
  readonly formatB: "e4m3" | "e5m2";
  /** Bytes of a, [m, k]. */
  readonly a: Block;
  /** Bytes of bᵀ, [n, k]. */
  readonly b: Block;
  /** Factor of a's numbers, one f32. */
  readonly scaleA: Block;
  /** Factor of b's numbers, one f32. */
  readonly scaleB: Block;
  /** Result [m, n]. */
  readonly c: Block;
}

/** Windows over one to three spatial axes of images, for convolutions and pooling. */
export interface WindowSpec {
  /** Element type of all operands. */
  readonly dtype: DType;
  /** Whether images and filters lie in memory with their channels last ([N, spatial…, C]) or row by row ([N, C, spatial…]); dense in either case. */
  readonly channelsLast: boolean;
  /** Images. */
  readonly batch: number;
  /** Channels of the input. */
  readonly inChannels: number;
  /** Channels of the result. */
  readonly outChannels: number;
  /** Groups that channels are split into; filters have inChannels / groups channels. */
  readonly groups: number;
  /** Spatial extents of the input. */
  readonly input: readonly number[];
  /** Spatial extents of the result: windows along each axis. */
  readonly output: readonly number[];
  /** Extents of a window. */
  readonly kernel: readonly number[];
  /** Steps from window to window. */
  readonly stride: readonly number[];
  /** Distance of the taps of a window. */
  readonly dilation: readonly number[];
  /** Cells added before each axis. */
  readonly before: readonly number[];
  /** Cells added after each axis. */
  readonly after: readonly number[];
}

/** Positions in planes: [planes, size] cells, [planes, positions] places in them. */
export interface PlanesSpec {
  /** Element type of the cells. */
  readonly dtype: DType;
  /** Number of planes. */
  readonly planes: number;
  /** Cells of a plane. */
  readonly size: number;
  /** Places in each plane. */
  readonly positions: number;
}

/** How scattered values meet what is there. */
export type ScatterMode = "set" | "add" | "mul" | "max" | "min";

/** Where a contiguous block of elements starts. */
export interface Block {
  /** Block of memory. */
  readonly storage: Storage;
  /** First element. */
  readonly offset: number;
}

/**
 * Scatter along the middle axis of contiguous [outer, n, inner] data, in the
 * order of the source (so sums are reproducible).
 */
export interface ScatterSpec {
  /** Element type of source and target. */
  readonly dtype: DType;
  /** What happens where a target is hit. */
  readonly mode: ScatterMode;
  /** Extent before the axis. */
  readonly outer: number;
  /** Extent of the axis in the target. */
  readonly targetSize: number;
  /** Extent of the axis in the source. */
  readonly sourceSize: number;
  /** Extent after the axis. */
  readonly inner: number;
  /** Updated in place. */
  readonly target: Block;
  /** Values, [outer, sourceSize, inner]. */
  readonly source: Block;
  /** Positions (i64), checked to be in range: one per source element, or one per position along the axis. */
  readonly index: Block;
  /** Whether `index` has the shape of the source, or is one vector [sourceSize]. */
  readonly perElement: boolean;
}

/** Row-wise operation over contiguous [rows, length] data. */
export interface RowsSpec {
  /** Element type. */
  readonly dtype: DType;
  /** Number of rows. */
  readonly rows: number;
  /** Elements per row. */
  readonly length: number;
  /** Source. */
  readonly input: Block;
}

/** Stable sort of each row. NaN counts as the largest value. */
export interface SortSpec extends RowsSpec {
  /** Largest first. */
  readonly descending: boolean;
  /** Sorted values. */
  readonly values: Block;
  /** Where each value stood (i64). */
  readonly indices: Block;
}

/** Running sum, product or extremum of each row. */
export interface ScanSpec extends RowsSpec {
  /** Combination. */
  readonly op: "sum" | "prod" | "max" | "min";
  /** Results, as many as elements. */
  readonly output: Block;
  /** For max and min: position of each running extremum (i64). */
  readonly indices?: Block;
}
