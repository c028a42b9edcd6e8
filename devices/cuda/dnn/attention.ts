/**
 * Attention by cuDNN's fused engines, for f16 and bf16.
 *
 * @module
 */

import type { Strided } from "../../../core/device.ts";
import type {
  AttentionGradients,
  AttentionGradLayout,
  AttentionKernels,
  AttentionLayout,
  AttentionOperands,
  AttentionSpec,
} from "../../../core/sequence_kernels.ts";
import { openCudnn } from "../../../ffi/cudnn.ts";
import { addressOf, type CudaContext } from "../context.ts";
import { attentionGradGraph, attentionGraph } from "./attention_graph.ts";
import { type Dnn, dnnOf } from "./dnn.ts";
import { graphType } from "./graph.ts";
import type { Plan } from "./plan.ts";

/** Versions of cuDNN: from the first on, scratch memory need not be cleared. */
const versions = { least: 90600, infinity: 91000, anyKeys: 91600 };

/** Versions whose attention is known to give wrong results. */
const broken = [91000, 91001];

/** Kinds of problems, in the keys of plans; convolutions have 0 to 2. */
const kinds = { forward: 100, backward: 101 };

const lowest = -3.4028234663852886e38;

/** Numbers on the host that a plan reads when it is run, and their addresses. */
interface HostNumbers {
  readonly values: Float32Array<ArrayBuffer>;
  readonly addresses: readonly bigint[];
}

function hostNumbers(numbers: readonly number[]): HostNumbers {
  // In a buffer of its own, which stays where it is.
  const values = new Float32Array(new ArrayBuffer(4 * numbers.length));
  values.set(numbers);
  const start = Deno.UnsafePointer.value(Deno.UnsafePointer.of(values));
  return {
    values,
    addresses: numbers.map((_, i) => start + BigInt(4 * i)),
  };
}

/** What attention is asked for most: the same few cases, step after step. */
class Attention implements AttentionKernels {
  readonly #context: CudaContext;
  readonly #numbers = new Map<string, HostNumbers>();

  constructor(context: CudaContext) {
    this.#context = context;
  }

  takes(spec: AttentionSpec, layout: AttentionGradLayout): boolean {
    const dnn = this.#library(spec);
    if (dnn === undefined) return false;
    return this.#forwardPlan(dnn, spec, layout) !== undefined &&
      (!spec.training ||
        this.#backwardPlan(dnn, spec, layout) !== undefined);
  }

  forward(spec: AttentionSpec, operands: AttentionOperands): boolean {
    const dnn = this.#library(spec);
    const { q, k, v, bias, kept, o, stats } = operands;
    if (dnn === undefined || !aligned([q, k, v, bias, kept, o])) return false;
    const plan = this.#forwardPlan(dnn, spec, {
      q: q.strides,
      k: k.strides,
      v: v.strides,
      o: o.strides,
    });
    if (plan === undefined) return false;
    const addresses = addressesOf([q, k, v, bias, kept, o, stats]);
    addresses.push(...this.#numbersOf(spec, kinds.forward).addresses);
    dnn.run(plan, addresses, "cudnnBackendExecute (attention)");
    return true;
  }

  backward(
    spec: AttentionSpec,
    operands: AttentionOperands,
    gradients: AttentionGradients,
  ): boolean {
    const dnn = this.#library(spec);
    const { q, k, v, bias, kept, o, stats } = operands;
    const { d, dq, dk, dv } = gradients;
    if (
      dnn === undefined || !aligned([q, k, v, bias, kept, o, d, dq, dk, dv])
    ) return false;
    const plan = this.#backwardPlan(dnn, spec, {
      q: q.strides,
      k: k.strides,
      v: v.strides,
      o: o.strides,
      d: d.strides,
      dq: dq.strides,
      dk: dk.strides,
      dv: dv.strides,
    });
    if (plan === undefined) return false;
    const addresses = addressesOf([q, k, v, bias, kept, o, stats, d, dq, dk]);
    addresses.push(addressOf(dv, dv.dtype));
    addresses.push(...this.#numbersOf(spec, kinds.backward).addresses);
    const rows = 4 * spec.batch * spec.heads * spec.queries;
    dnn.run(plan, addresses, "cudnnBackendExecute (gradient of attention)", [
      rows,
      rows * spec.depth,
    ]);
    return true;
  }

  /** The library, where it has attention for such operands. */
  #library(spec: AttentionSpec): Dnn | undefined {
    const { dtype, depth, width } = spec;
    const fits = (dtype === "f16" || dtype === "bf16") && depth % 8 === 0 &&
      width % 8 === 0 && depth <= 256 && width <= 256;
    if (!fits) return undefined;
    const dnn = dnnOf(this.#context);
    if (dnn === undefined) return undefined;
    const { version } = openCudnn();
    // Before 9.16, gradients read past the keys unless those fill whole tiles.
    const known = version >= versions.least && !broken.includes(version) &&
      (!spec.training || spec.keys % 128 === 0 || version >= versions.anyKeys);
    return known ? dnn : undefined;
  }

  #forwardPlan(
    dnn: Dnn,
    spec: AttentionSpec,
    layout: AttentionLayout,
  ): Plan | undefined {
    const key = keyOf(kinds.forward, spec);
    key.push(...layout.q, ...layout.k, ...layout.v, ...layout.o);
    return dnn.plan(key, spec.dtype, () => {
      const dtype = graphType(spec.dtype);
      return dtype === undefined
        ? undefined
        : attentionGraph(spec, dtype, layout);
    });
  }

  #backwardPlan(
    dnn: Dnn,
    spec: AttentionSpec,
    layout: AttentionGradLayout,
  ): Plan | undefined {
    const key = keyOf(kinds.backward, spec);
    const { q, k, v, o, d, dq, dk, dv } = layout;
    for (const steps of [q, k, v, o, d, dq, dk, dv]) key.push(...steps);
    return dnn.plan(key, spec.dtype, () => {
      const dtype = graphType(spec.dtype);
      return dtype === undefined
        ? undefined
        : attentionGradGraph(spec, dtype, layout);
    });
  }

  /** The numbers by value of a pass, in the order in which its graph declares them. */
  #numbersOf(spec: AttentionSpec, kind: number): HostNumbers {
    const { scale, causal, dropout } = spec;
    const key = `${kind} ${scale} ${causal} ${dropout}`;
    let found = this.#numbers.get(key);
    if (found === undefined) {
      const hidden = openCudnn().version < versions.infinity
        ? lowest
        : -Infinity;
      found = hostNumbers([
        scale,
        ...(kind === kinds.backward ? [1 - dropout] : []),
        ...(causal ? [hidden] : []),
        ...(dropout > 0 ? [1 / (1 - dropout)] : []),
      ]);
      this.#numbers.set(key, found);
    }
    return found;
  }
}

/** Numbers that tell a case from all others; the scale and the share are read at run time. */
function keyOf(kind: number, spec: AttentionSpec): number[] {
  const { dtype, batch, heads, groups, queries, keys, depth, width } = spec;
  return [
    kind,
    dtype === "f16" ? 0 : 1,
    spec.causal ? 1 : 0,
    spec.dropout > 0 ? 1 : 0,
    batch,
    heads,
    groups,
    queries,
    keys,
    depth,
    width,
    ...(spec.bias ?? [0, 0, 0, 0]),
  ];
}

/** Whether all rows start at multiples of 16 bytes, which the graphs promise. */
function aligned(operands: readonly (Strided | undefined)[]): boolean {
  return operands.every((x) =>
    x === undefined || (addressOf(x, x.dtype) & 15n) === 0n
  );
}

function addressesOf(operands: readonly (Strided | undefined)[]): bigint[] {
  return operands.flatMap((x) =>
    x === undefined ? [] : [addressOf(x, x.dtype)]
  );
}

/** The library's attention on a device. */
export function libraryAttention(context: CudaContext): AttentionKernels {
  return new Attention(context);
}
