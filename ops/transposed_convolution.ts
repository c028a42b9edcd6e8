/**
 * Transposed convolution, over one, two or three spatial axes.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { add } from "./arithmetic.ts";
import { convInputGrad } from "./convolution.ts";
import { reshape } from "./foundation.ts";
import { t } from "./samples.ts";
import { type PerAxis, perAxis } from "./windows.ts";

/** Options of transposed convolutions. */
export interface ConvTransposeOptions {
  /** Step of the filters in the output; 1 by default. */
  stride?: PerAxis;
  /** Rows and columns cut off the output. */
  padding?: PerAxis;
  /** Rows and columns added at the end of the output. */
  outputPadding?: PerAxis;
  /** Distance of filter taps. */
  dilation?: PerAxis;
  /** Groups that channels are split into. */
  groups?: number;
}

/**
 * Transposed convolution: the adjoint of a convolution, as a map of its own.
 *
 * @param x Tensor [N, C, spatial…].
 * @param w Filters [C, M/groups, kernel…].
 * @param b Bias [M], or undefined for none.
 * @returns Tensor [N, M, output…] with output = (in − 1)·stride − 2·padding + dilation·(k − 1) + outputPadding + 1.
 * @throws {ShapeError} when channels or groups do not fit.
 */
export const convTranspose: (
  x: Tensor,
  w: Tensor,
  b?: Tensor,
  options?: ConvTransposeOptions,
) => Tensor = operator<
  (x: Tensor, w: Tensor, b?: Tensor, options?: ConvTransposeOptions) => Tensor,
  {
    stride: PerAxis;
    padding: PerAxis;
    outputPadding: PerAxis;
    dilation: PerAxis;
    groups: number;
  }
>({
  name: "convTranspose",
  family: "convolution",
  inputs: ["x", "w", "b"],
  attrs: { stride: 1, padding: 0, outputPadding: 0, dilation: 1, groups: 1 },
  formula:
    "y[n, c, q] = b[c] + Σ x[n, m, p] · w[m, c, k] over p · stride + k · dilation − padding = q",
  torch:
    "[F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][x.dim() - 3](x, w, b, stride=stride, padding=padding, output_padding=outputPadding, groups=groups, dilation=dilation)",
  onnx: "ConvTranspose",
  caffe2: "ConvTranspose",
  run: ([x, w, b], { stride, padding, outputPadding, dilation, groups }) => {
    const rank = x.rank - 2;
    if (
      rank < 1 || rank > 3 || w.rank !== x.rank || w.shape[0] !== x.shape[1] ||
      x.shape[1] % groups !== 0
    ) {
      throw new ShapeError(
        `Cannot apply a transposed convolution with filters of shape ${
          shapeText(w.shape)
        } in ${groups} groups to ${
          shapeText(x.shape)
        }: the input is [N, C, spatial…], the filters [C, M/groups, kernel…]`,
      );
    }
    const s = perAxis(stride, rank, "stride"),
      p = perAxis(padding, rank, "padding");
    const extra = perAxis(outputPadding, rank, "outputPadding");
    const step = perAxis(dilation, rank, "dilation");
    extra.forEach((n, d) => {
      if (n >= Math.max(s[d], step[d])) {
        throw new RangeError(
          `Cannot use outputPadding ${shapeText(extra)} with stride ${
            shapeText(s)
          } and dilation ${
            shapeText(step)
          }: it must be smaller than either along each axis`,
        );
      }
    });
    const spatial = x.shape.slice(2).map((n, d) =>
      (n - 1) * s[d] - 2 * p[d] + step[d] * (w.shape[2 + d] - 1) + extra[d] + 1
    );
    const y = convInputGrad(x, w, spatial, {
      stride,
      padding,
      dilation,
      groups,
    });
    return b === undefined
      ? y
      : add(y, reshape(b, [b.size, ...spatial.map(() => 1)]));
  },
  samples: [
    [t([1, 2, 3, 3]), t([2, 3, 3, 3]), t([3])],
    [t([1, 2, 3, 4]), t([2, 2, 2, 3]), undefined, {
      stride: 2,
      padding: 1,
      outputPadding: 1,
    }],
    [t([1, 4, 3, 3]), t([4, 1, 2, 2]), t([2]), { groups: 2, dilation: 2 }],
    [t([2, 2, 4]), t([2, 3, 3]), t([3]), { stride: 2 }],
    [t([1, 2, 2, 2, 2]), t([2, 2, 2, 2, 2])],
  ],
});
