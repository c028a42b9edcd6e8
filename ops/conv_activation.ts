/**
 * A convolution that ends with an activation.
 *
 * @module
 */

import { oneOf } from "../core/attributes.ts";
import { gradEnabled } from "../core/autograd.ts";
import { operator } from "../core/op.ts";
import { sizeOf } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import {
  functionOf,
  type LinearActivation,
  slopes,
  torchActivation,
} from "./activated_products.ts";
import {
  conv,
  convInputGrad,
  convolutionOf,
  type ConvOptions,
  convWeightGrad,
  padding,
} from "./convolution.ts";
import { sum } from "./foundation.ts";
import { fused } from "./fused.ts";
import { t } from "./samples.ts";
import { overWindows } from "./window_kernels.ts";

/** Options of {@linkcode convActivation}. */
export interface ConvActivationOptions extends ConvOptions {
  /** The activation; "relu" when omitted. */
  activation?: LinearActivation;
}

type Attrs = Required<ConvActivationOptions>;

/** f(x ⋆ w + b) by the device's library; undefined where it does not take it. */
function byLibrary(
  operands: readonly (Tensor | undefined)[],
  { activation, ...options }: Attrs,
): Tensor | undefined {
  const [x, w, b] = operands;
  const { convActivated } = x!.device.kernels;
  if (convActivated === undefined) return undefined;
  const { windows, result } = convolutionOf(operands, options);
  if (sizeOf(result) === 0) return undefined;
  return overWindows(
    { images: [x!, w!], vectors: b === undefined ? [] : [b], result },
    windows,
    (spec, [xs, ws, bs], ys) => convActivated(spec, activation, xs, ws, bs, ys),
  );
}

/** f(x ⋆ w + b) in operators. */
function composed(
  [x, w, b]: readonly (Tensor | undefined)[],
  { activation, ...options }: Attrs,
): Tensor {
  return functionOf(activation)(conv(x!, w!, b, options));
}

/**
 * Convolution over one to three spatial axes, then an activation: f(x ⋆ w + b),
 * in one pass where the device's library has such a kernel.
 *
 * @param x Tensor [N, C, spatial…].
 * @param w Filters [M, C/groups, kernel…].
 * @param b Bias [M], or undefined for none.
 * @returns Tensor [N, M, output…].
 * @throws {ShapeError} when channels, groups or windows do not fit.
 */
export const convActivation: (
  x: Tensor,
  w: Tensor,
  b?: Tensor,
  options?: ConvActivationOptions,
) => Tensor = operator<
  (
    x: Tensor,
    w: Tensor,
    b?: Tensor,
    options?: ConvActivationOptions,
  ) => Tensor,
  Attrs
>({
  name: "convActivation",
  family: "convolution",
  inputs: ["x", "w", "b"],
  attrs: { stride: 1, padding: 0, dilation: 1, groups: 1, activation: "relu" },
  rules: { padding, activation: oneOf("relu", "gelu", "geluTanh") },
  formula: "f(conv(x, w, b))",
  torch:
    `${torchActivation}([F.conv1d, F.conv2d, F.conv3d][x.dim() - 3](x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups))`,
  caffe2: "ConvRelu",
  run: (inputs, attrs) => {
    const { activation, ...options } = attrs;
    const wanted = gradEnabled() && inputs.some((x) => x?.requiresGrad);
    // The slope of a rectifier is told by its result, that of others is not.
    if (wanted && activation !== "relu") return composed(inputs, attrs);
    const [y] = fused({
      name: "convActivation",
      inputs,
      compute: () => {
        const y = byLibrary(inputs, attrs) ?? composed(inputs, attrs);
        return { outputs: [y], extras: [y] };
      },
      // ∂f(x ⋆ w + b): d = g·f′, then as a convolution
      gradient: (context) => {
        const { inputs, extras, grad, differentiable, needs } = context;
        const [x, w, b] = inputs;
        const y = differentiable ? composed([x, w, b], attrs) : extras[0];
        const d = slopes.relu.apply([y, grad]);
        const spatial = x.shape.slice(2), kernel = w.shape.slice(2);
        return [
          needs(0) ? convInputGrad(d, w, spatial, options) : undefined,
          needs(1) ? convWeightGrad(x, d, kernel, options) : undefined,
          b !== undefined && needs(2)
            ? sum(d, d.shape.map((_, i) => i).filter((i) => i !== 1))
            : undefined,
        ];
      },
    });
    return y;
  },
  samples: [
    [t([2, 2, 5, 5]), t([3, 2, 3, 3]), t([3])],
    [t([1, 2, 4, 5]), t([2, 2, 2, 3]), undefined, {
      stride: [2, 1],
      padding: [1, 2],
    }],
    [t([1, 4, 5, 5]), t([4, 2, 2, 2]), t([4]), {
      groups: 2,
      dilation: 2,
      activation: "gelu",
    }],
    [t([2, 2, 7]), t([3, 2, 3]), t([3]), {
      stride: 2,
      padding: 1,
      activation: "geluTanh",
    }],
    [t([0, 2, 5, 5]), t([2, 2, 3, 3])],
  ],
});
