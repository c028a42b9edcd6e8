/**
 * Activations as modules.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import * as ops from "../ops/activation.ts";
import * as bent from "../ops/activation_bent.ts";
import * as hard from "../ops/activation_hard.ts";
import {
  logSoftmax as logSoftmaxOf,
  softmax as softmaxOf,
  softmin as softminOf,
} from "../ops/softmax.ts";
import { tanh as tanhOf } from "../ops/trigonometry.ts";
import { Functional } from "./containers.ts";
import { checkCall, show } from "./extents.ts";

function simple(name: string, f: (x: Tensor) => Tensor): Functional {
  return new Functional(name, (x) => f(x));
}

function withOptions<O extends object>(
  name: string,
  f: (x: Tensor, options?: O) => Tensor,
  options: O | undefined,
): Functional {
  checkCall(name, { operator: f, options });
  return new Functional(name, (x) => f(x, options), show({ ...options }));
}

function along(
  name: string,
  f: (x: Tensor, axis?: number) => Tensor,
  axis: number,
): Functional {
  checkCall(name, { operator: f, args: { axis } });
  return new Functional(name, (x) => f(x, axis), show({ axis }));
}

/** max(x, 0). */
export function relu(): Functional {
  return new Functional("ReLU", (x) => bent.relu(x), "", "relu");
}

/** min(max(x, 0), 6). */
export function relu6(): Functional {
  return simple("ReLU6", hard.relu6);
}

/** x where positive, slope·x elsewhere. */
export function leakyRelu(options?: bent.LeakyReluOptions): Functional {
  return withOptions("LeakyReLU", bent.leakyRelu, options);
}

/** x where positive, α·(eˣ − 1) elsewhere. */
export function elu(options?: bent.AlphaOptions): Functional {
  return withOptions("ELU", bent.elu, options);
}

/** Scaled {@linkcode elu} whose outputs keep mean 0 and variance 1. */
export function selu(): Functional {
  return simple("SELU", bent.selu);
}

/** max(x, 0) + min(0, α·(e^(x/α) − 1)). */
export function celu(options?: bent.AlphaOptions): Functional {
  return withOptions("CELU", bent.celu, options);
}

/** x·Φ(x) with the normal distribution function, or its tanh approximation. */
export function gelu(options?: ops.GeluOptions): Functional {
  checkCall("GELU", { operator: ops.gelu, options });
  const ending = options?.approximate === "tanh" ? "geluTanh" : "gelu";
  const details = show({ ...options });
  return new Functional("GELU", (x) => ops.gelu(x, options), details, ending);
}

/** x·σ(x). */
export function silu(): Functional {
  return simple("SiLU", ops.silu);
}

/** x·tanh(ln(1 + eˣ)). */
export function mish(): Functional {
  return simple("Mish", ops.mish);
}

/** σ(x) = 1 / (1 + e⁻ˣ). */
export function sigmoid(): Functional {
  return simple("Sigmoid", ops.sigmoid);
}

/** ln σ(x). */
export function logSigmoid(): Functional {
  return simple("LogSigmoid", ops.logSigmoid);
}

/** tanh(x). */
export function tanh(): Functional {
  return simple("Tanh", tanhOf);
}

/** x − tanh(x). */
export function tanhShrink(): Functional {
  return simple("Tanhshrink", ops.tanhShrink);
}

/** ln(1 + e^(βx)) / β. */
export function softplus(options?: ops.SoftplusOptions): Functional {
  return withOptions("Softplus", ops.softplus, options);
}

/** x / (1 + |x|). */
export function softsign(): Functional {
  return simple("Softsign", ops.softsign);
}

/** x limited to [min, max]. */
export function hardTanh(options?: hard.HardTanhOptions): Functional {
  return withOptions("Hardtanh", hard.hardTanh, options);
}

/** A line in place of σ, limited to [0, 1]. */
export function hardSigmoid(): Functional {
  return simple("Hardsigmoid", hard.hardSigmoid);
}

/** x·hardSigmoid(x). */
export function hardSwish(): Functional {
  return simple("Hardswish", hard.hardSwish);
}

/** x outside of [−λ, λ], 0 inside. */
export function hardShrink(options?: hard.ShrinkOptions): Functional {
  return withOptions("Hardshrink", hard.hardShrink, options);
}

/** x brought nearer to 0 by λ, 0 within. */
export function softShrink(options?: hard.ShrinkOptions): Functional {
  return withOptions("Softshrink", hard.softShrink, options);
}

/** x above the threshold, `value` elsewhere. */
export function threshold(bound: number, value: number): Functional {
  const args = { threshold: bound, value };
  checkCall("Threshold", { operator: bent.threshold, args });
  return new Functional(
    "Threshold",
    (x) => bent.threshold(x, bound, value),
    show(args),
  );
}

/** eˣ / Σ eˣ along an axis, the last when omitted. */
export function softmax(axis = -1): Functional {
  return along("Softmax", softmaxOf, axis);
}

/** e⁻ˣ / Σ e⁻ˣ along an axis, the last when omitted. */
export function softmin(axis = -1): Functional {
  return along("Softmin", softminOf, axis);
}

/** ln softmax(x) along an axis, the last when omitted. */
export function logSoftmax(axis = -1): Functional {
  return along("LogSoftmax", logSoftmaxOf, axis);
}
