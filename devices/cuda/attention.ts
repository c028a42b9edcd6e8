/**
 * Attention on a GPU: by cuDNN where it takes the case, by Decaf's own kernels
 * otherwise.
 *
 * @module
 */

import type {
  AttentionGradients,
  AttentionGradLayout,
  AttentionKernels,
  AttentionOperands,
  AttentionSpec,
} from "../../core/sequence_kernels.ts";
import { OwnAttention } from "./attention_kernels.ts";
import type { CudaContext } from "./context.ts";
import { libraryAttention } from "./dnn/attention.ts";

/** The library first, then Decaf's own kernels. */
class Attention implements AttentionKernels {
  readonly #library: AttentionKernels;
  readonly #own: AttentionKernels;

  constructor(context: CudaContext) {
    this.#library = libraryAttention(context);
    this.#own = new OwnAttention(context);
  }

  takes(spec: AttentionSpec, layout: AttentionGradLayout): boolean {
    return this.#library.takes(spec, layout) || this.#own.takes(spec, layout);
  }

  forward(spec: AttentionSpec, operands: AttentionOperands): boolean {
    return this.#library.forward(spec, operands) ||
      this.#own.forward(spec, operands);
  }

  backward(
    spec: AttentionSpec,
    operands: AttentionOperands,
    gradients: AttentionGradients,
  ): boolean {
    if (this.#library.backward(spec, operands, gradients)) return true;
    const { q, k, v, o } = operands;
    const { d, dq, dk, dv } = gradients;
    const like = {
      q: q.strides,
      k: k.strides,
      v: v.strides,
      o: o.strides,
      d: o.strides,
      dq: dq.strides,
      dk: dk.strides,
      dv: dv.strides,
    };
    // What the library takes once the gradient lies like the result is copied for it.
    const copied = `${d.strides}` !== `${o.strides}`;
    if (copied && this.#library.takes(spec, like)) return false;
    return this.#own.backward(spec, operands, gradients);
  }
}

/** Attention on a device. */
export function attentionKernels(context: CudaContext): AttentionKernels {
  return new Attention(context);
}
