/**
 * Affine maps that end with an activation, as devices compute them: in one
 * pass where the library ends a product with it, else in operators.
 *
 * @module
 */

import type { ProductActivation } from "../core/device.ts";
import { materialize } from "../core/fuse.ts";
import { sizeOf } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { differentiate } from "../kernel/differentiate.ts";
import * as k from "../kernel/expr.ts";
import { gelu } from "./activation.ts";
import { relu } from "./activation_bent.ts";
import { Elementwise } from "./engine.ts";
import { geluTanh } from "./gelu_tanh.ts";
import { linear } from "./linear.ts";
import { isProductType, matrixOf } from "./products.ts";

/** Activations of an affine map: max(x, 0), the exact gelu, and its tanh form. */
export type LinearActivation = "relu" | "gelu" | "geluTanh";

/** Options of {@linkcode linearActivation} and {@linkcode feedForward}. */
export interface LinearActivationOptions {
  /** The activation; "relu" when omitted. */
  activation?: LinearActivation;
}

/** The activation in PyTorch. */
export const torchActivation =
  "{'relu': F.relu, 'gelu': F.gelu, 'geluTanh': lambda x: F.gelu(x, approximate='tanh')}[activation]";

const functions: Readonly<Record<LinearActivation, (x: Tensor) => Tensor>> = {
  relu,
  gelu: (x) => gelu(x),
  geluTanh: (x) => gelu(x, { approximate: "tanh" }),
};

/** The activation as an operator. */
export function functionOf(
  activation: LinearActivation,
): (x: Tensor) => Tensor {
  if (Object.hasOwn(functions, activation)) return functions[activation];
  throw new RangeError(
    `Cannot end a linear map with "${activation}": there is ${
      Object.keys(functions).join(", ")
    }; apply other activations to the result of linear`,
  );
}

/** g · f′, of what the backward pass keeps: for relu the result, for gelu what went in. */
export const slopes: Readonly<Record<ProductActivation, Elementwise>> = {
  relu: new Elementwise(
    "relu slope",
    2,
    ([y, g]) => k.select(k.le(y, 0), 0, g),
    "promote",
    false,
  ),
  geluTanh: new Elementwise(
    "gelu slope",
    2,
    ([x, g]) => {
      // Leaves of their own: x and g may be one expression.
      const [variable, seed] = [k.input(1000, x.type), k.input(1001, x.type)];
      const slope = differentiate(geluTanh(variable), variable, seed)!;
      return k.transform(
        slope,
        (e) => e === variable ? x : e === seed ? g : e,
      );
    },
    "promote",
    false,
  ),
};

/** A map with an activation, computed by the device. */
export interface Activated {
  /** f(x·wᵀ + b) [rows, out]. */
  readonly y: Tensor;
  /** What the device keeps for its own gradient, if it was asked to. */
  readonly bits: Tensor | undefined;
  /** What {@linkcode slopes} read: y for relu, x·wᵀ + b for gelu where it was kept. */
  readonly kept: Tensor | undefined;
}

function roundUp(n: number, multiple: number): number {
  return Math.ceil(n / multiple) * multiple;
}

/** f(x·wᵀ + b) of x [rows, in] by the device's library; undefined when it does not take it. */
export function activated(
  [x, w, b]: readonly (Tensor | undefined)[],
  activation: LinearActivation,
  keep: "nothing" | "slope" | "all",
): Activated | undefined {
  const { device, dtype } = x!;
  const kernel = device.kernels.activatedProduct;
  const [rows, depth] = x!.shape;
  const out = w!.shape[0];
  if (
    kernel === undefined || activation === "gelu" ||
    rows * depth * out === 0 || !isProductType(dtype)
  ) return undefined;
  for (const operand of [x, w, b]) if (operand) materialize(operand.value);
  if (b?.value.contiguous === false) return undefined;
  const y = new Tensor(Value.empty(device, dtype, [rows, out]));
  const bits = keep === "nothing" || (keep === "slope" && activation === "relu")
    ? undefined
    : new Tensor(
      activation === "relu"
        ? Value.empty(device, "u8", [rows, roundUp(out, 128) / 8])
        : Value.empty(device, dtype, [rows, roundUp(out, 8)]),
    );
  const taken = kernel({
    dtype,
    m: rows,
    n: out,
    k: depth,
    batchShape: [],
    a: matrixOf(x!.value, false, []),
    b: matrixOf(w!.value, true, []),
    c: matrixOf(y.value, false, []),
    bias: b?.value,
    activation,
    kept: bits?.value,
  });
  if (!taken) {
    y.dispose();
    bits?.dispose();
    return undefined;
  }
  if (activation === "relu") return { y, bits, kept: y };
  const kept = bits && new Tensor(
    bits.value.view([rows, out], bits.value.strides, bits.value.offset),
  );
  return { y, bits, kept };
}

/** Whether the device may end products with the activation, so that trying is worth it. */
export function mayFuse(x: Tensor, activation: LinearActivation): boolean {
  return x.device.kernels.activatedProduct !== undefined &&
    activation !== "gelu" && isProductType(x.dtype);
}

/** f(x·wᵀ + b) in operators. */
export function composed(
  [x, w, b]: readonly (Tensor | undefined)[],
  activation: LinearActivation,
): { y: Tensor; kept: Tensor } {
  const before = linear(x!, w!, b);
  const y = functionOf(activation)(before);
  return { y, kept: activation === "relu" ? y : before };
}

/** (g·w)·f′ and the sums of its columns by the device's library; undefined when it does not take it. */
export function backThrough(
  f: ProductActivation,
  g: Tensor,
  w: Tensor,
  bits: Tensor,
  wantSums: boolean,
): { d: Tensor; sums: Tensor | undefined } | undefined {
  const { device, dtype } = g;
  const kernel = device.kernels.activatedProductGrad;
  const [rows, out] = g.shape;
  const hidden = w.shape[1];
  if (
    kernel === undefined || !isProductType(dtype) ||
    sizeOf([rows, out, hidden]) === 0
  ) return undefined;
  materialize(g.value);
  materialize(w.value);
  const d = new Tensor(Value.empty(device, dtype, [rows, hidden]));
  const sums = wantSums
    ? new Tensor(Value.empty(device, dtype, [hidden]))
    : undefined;
  const taken = kernel({
    dtype,
    m: rows,
    n: hidden,
    k: out,
    batchShape: [],
    a: matrixOf(g.value, false, []),
    b: matrixOf(w.value, false, []),
    c: matrixOf(d.value, false, []),
    activation: f,
    kept: bits.value,
    sums: sums?.value,
  });
  if (taken) return { d, sums };
  d.dispose();
  sums?.dispose();
  return undefined;
}
