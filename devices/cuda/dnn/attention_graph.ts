/**
 * Attention as graphs of cuDNN, in the pattern that its fused engines know:
 * scores, softmax and products in one kernel that stores no scores.
 *
 * @module
 */

import type {
  AttentionGradLayout,
  AttentionLayout,
  AttentionSpec,
} from "../../../core/sequence_kernels.ts";
import {
  DataType,
  PointwiseMode as P,
  ReduceOperator as R,
} from "../../../ffi/cudnn_enums.ts";
import { Graph, type GraphTensor, type GraphType } from "./graph.ts";

/** Steps of a tensor [batch, heads, time, width], in elements. */
export type Steps = readonly number[];

/** Extents and steps with the last two axes exchanged. */
function exchanged(list: Steps): number[] {
  const [batch, heads, rows, columns] = list;
  return [batch, heads, columns, rows];
}

/** Builds the parts that both passes share. */
class AttentionGraph extends Graph {
  /** Extents of the scores. */
  readonly scores: readonly number[];
  /** Extents of what is one per row of scores. */
  readonly rows: readonly number[];

  /** For operands of one element type. */
  constructor(readonly spec: AttentionSpec, readonly dtype: GraphType) {
    super();
    const { batch, heads, queries, keys } = spec;
    this.scores = [batch, heads, queries, keys];
    this.rows = [batch, heads, queries, 1];
  }

  /** An operand in memory. */
  operand(dims: readonly number[], strides: Steps): GraphTensor {
    return this.tensor({ dtype: this.dtype, dims, strides });
  }

  /** f32 in memory, row-major. */
  real(dims: readonly number[]): GraphTensor {
    return this.tensor({ dtype: DataType.FLOAT, dims });
  }

  /** The bias and the mask of kept weights, where there are such. */
  extras(): { bias?: GraphTensor; kept?: GraphTensor } {
    const { bias, dropout } = this.spec;
    return {
      bias: bias && this.real(bias),
      kept: dropout > 0
        ? this.tensor({ dtype: this.dtype, dims: this.scores })
        : undefined,
    };
  }

  /** An intermediate result without memory. */
  between(
    dims: readonly number[],
    dtype: GraphType = DataType.FLOAT,
    strides?: Steps,
  ): GraphTensor {
    return this.virtual({ dtype, dims, strides });
  }

  /** mode(x, b), of the extents of x. */
  combine(
    mode: typeof P[keyof typeof P],
    x: GraphTensor,
    b?: GraphTensor,
    dtype: GraphType = DataType.FLOAT,
  ): GraphTensor {
    const y = this.between(x.dims, dtype);
    this.pointwise(mode, x, y, { b });
    return y;
  }

  /** q·kᵀ·scale + bias */
  scoresOf(
    q: GraphTensor,
    keys: GraphTensor,
    scale: GraphTensor,
    bias: GraphTensor | undefined,
  ): GraphTensor {
    const products = this.between(this.scores);
    this.matmul(q, keys, products);
    const scaled = this.combine(P.MUL, products, scale);
    return bias === undefined ? scaled : this.combine(P.ADD, scaled, bias);
  }

  /** x where the key comes no later than the query, `hidden` elsewhere. */
  causal(x: GraphTensor, hidden: GraphTensor): GraphTensor {
    const { INT32, BOOLEAN } = DataType;
    const positions = (axis: number) => {
      const y = this.between(x.dims, INT32);
      this.pointwise(P.GEN_INDEX, x, y, { axis, compute: INT32 });
      return y;
    };
    const row = positions(2), column = positions(3);
    const seen = this.between(x.dims, BOOLEAN);
    this.pointwise(P.CMP_GE, row, seen, { b: column, compute: BOOLEAN });
    const y = this.between(x.dims);
    this.pointwise(P.BINARY_SELECT, x, y, { b: hidden, t: seen });
    return y;
  }

  /** x reduced along the last axis. */
  perRow(operator: typeof R[keyof typeof R], x: GraphTensor): GraphTensor {
    const y = this.between(this.rows);
    this.reduce(operator, x, y);
    return y;
  }
}

/**
 * o = softmax(q·kᵀ·scale + bias)·v and the logarithm of each row's sum.
 *
 * Binds q, k, v, (bias,) (kept,) o, stats; then the numbers scale,
 * (what hides, when causal,) (1 / (1 − dropout)).
 */
export function attentionGraph(
  spec: AttentionSpec,
  dtype: GraphType,
  layout: AttentionLayout,
): Graph {
  const g = new AttentionGraph(spec, dtype);
  const { batch, heads, groups, queries, keys, depth, width } = spec;
  const q = g.operand([batch, heads, queries, depth], layout.q);
  const kT = g.operand([batch, groups, depth, keys], exchanged(layout.k));
  const v = g.operand([batch, groups, keys, width], layout.v);
  const { bias, kept } = g.extras();
  const o = g.operand([batch, heads, queries, width], layout.o);
  const stats = g.real(g.rows);
  const number = () => g.scalar(DataType.FLOAT);
  let s = g.scoresOf(q, kT, number(), bias);
  if (spec.causal) s = g.causal(s, number());
  const largest = g.perRow(R.MAX, s);
  const exponentials = g.combine(P.EXP, g.combine(P.SUB, s, largest));
  const sum = g.perRow(R.ADD, exponentials);
  g.pointwise(P.ADD, largest, stats, { b: g.combine(P.LOG, sum) });
  let weights: GraphTensor;
  if (kept === undefined) weights = g.combine(P.DIV, exponentials, sum, dtype);
  else {
    const scaled = g.combine(
      P.MUL,
      g.combine(P.DIV, exponentials, sum),
      number(),
    );
    weights = g.combine(P.MUL, scaled, kept, dtype);
  }
  g.matmul(weights, v, o);
  return g;
}

/**
 * Gradients of attention from its results and statistics.
 *
 * Binds q, k, v, (bias,) (kept,) o, stats, d, dq, dk, dv; then the numbers
 * scale, 1 − dropout, (what hides, when causal,) (1 / (1 − dropout)); then
 * scratch: f32 [batch, heads, queries, 1] and f32 [batch, heads, queries, depth].
 */
export function attentionGradGraph(
  spec: AttentionSpec,
  dtype: GraphType,
  layout: AttentionGradLayout,
): Graph {
  const g = new AttentionGraph(spec, dtype);
  const { batch, heads, groups, queries, keys, depth, width } = spec;
  const q = g.operand([batch, heads, queries, depth], layout.q);
  const kT = g.operand([batch, groups, depth, keys], exchanged(layout.k));
  const vT = g.operand([batch, groups, width, keys], exchanged(layout.v));
  const { bias, kept } = g.extras();
  const o = g.operand([batch, heads, queries, width], layout.o);
  const stats = g.real(g.rows);
  const d = g.operand([batch, heads, queries, width], layout.d);
  const dq = g.operand([batch, heads, queries, depth], layout.dq);
  const dk = g.operand([batch, groups, keys, depth], layout.dk);
  const dv = g.operand([batch, groups, keys, width], layout.dv);
  const number = () => g.scalar(DataType.FLOAT);
  const scale = number(), share = number();
  const hidden = spec.causal ? number() : undefined;
  const spread = kept === undefined ? undefined : number();
  const sums = g.real(g.rows);
  const gathered = g.real([batch, heads, queries, depth]);

  const product = g.perRow(R.ADD, g.combine(P.MUL, d, o));
  g.pointwise(P.MUL, product, sums, { b: share });

  // The weights again, from the scores and the statistics.
  let s = g.combine(P.SUB, g.scoresOf(q, kT, scale, bias), stats);
  if (hidden !== undefined) s = g.causal(s, hidden);
  const weights = g.combine(P.EXP, s);

  const drop = (x: GraphTensor) =>
    kept === undefined ? x : g.combine(P.MUL, x, kept);
  const restore = (x: GraphTensor) =>
    spread === undefined ? x : g.combine(P.MUL, x, spread);
  const turned = (x: GraphTensor) => {
    const steps = [heads * queries * keys, queries * keys, 1, keys];
    const y = g.between([batch, heads, keys, queries], dtype, steps);
    g.reshape(x, y);
    return y;
  };
  // Each key head serves several query heads, whose gradients add up.
  const multiply = (a: GraphTensor, b: GraphTensor, c: GraphTensor) => {
    if (heads === groups) return g.matmul(a, b, c);
    const each = g.between([batch, heads, ...c.dims.slice(2)], dtype);
    g.matmul(a, b, each);
    g.reduce(R.ADD, each, c);
  };

  multiply(turned(restore(drop(weights))), d, dv);

  const dweights = g.between(g.scores);
  g.matmul(d, vT, dweights);
  const centred = g.combine(P.SUB, drop(dweights), sums);
  const ds = g.combine(
    P.MUL,
    restore(g.combine(P.MUL, centred, weights)),
    scale,
    dtype,
  );
  multiply(turned(ds), q, dk);
  const k = g.between([batch, groups, keys, depth], dtype, layout.k);
  g.reshape(kT, k);
  g.matmul(ds, k, gathered);
  g.pointwise(P.IDENTITY, gathered, dq);
  return g;
}
