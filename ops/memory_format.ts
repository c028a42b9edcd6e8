/**
 * The order of a tensor's elements in memory.
 *
 * @module
 */

import { oneOf } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { dense } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { channelsLastStrides, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { t } from "./samples.ts";

/**
 * How elements follow each other: row by row, or, of images [N, C, spatial…],
 * the channels of one position together (NHWC).
 */
export type MemoryFormat = "contiguous" | "channelsLast";

/** Options of {@linkcode contiguous}. */
export interface MemoryFormatOptions {
  /** Order of the elements; `contiguous` by default. */
  memoryFormat?: MemoryFormat;
}

function stridesOf(
  shape: Shape,
  format: MemoryFormat,
): readonly number[] | undefined {
  if (format === "contiguous") return undefined;
  if (shape.length < 3 || shape.length > 5) {
    throw new ShapeError(
      `Cannot store a tensor of shape ${
        shapeText(shape)
      } with its channels last: it must be [N, C, spatial…] with one to three spatial axes`,
    );
  }
  return channelsLastStrides(shape);
}

/**
 * The same elements, densely in memory in the given order. Shape and values do
 * not change. Convolutions of images whose channels lie last give such images,
 * and so do elementwise operators and normalisations: on GPUs that is the
 * faster way through a convolutional net.
 *
 * @param x Tensor; [N, C, spatial…] for `channelsLast`.
 * @returns The tensor itself where it lies so already, else a copy.
 * @throws {ShapeError} when the tensor holds no images.
 */
export const contiguous: (x: Tensor, options?: MemoryFormatOptions) => Tensor =
  operator<
    (x: Tensor, options?: MemoryFormatOptions) => Tensor,
    { memoryFormat: MemoryFormat }
  >({
    name: "contiguous",
    family: "shape",
    inputs: ["x"],
    attrs: { memoryFormat: "contiguous" },
    rules: { memoryFormat: oneOf("contiguous", "channelsLast") },
    formula: "y[…] = x[…]",
    torch: "x.contiguous()",
    saves: [],
    run: ([x], { memoryFormat }) =>
      new Tensor(dense(x.value, stridesOf(x.shape, memoryFormat))),
    // ∂contiguous: the gradient, in the same order
    gradient: ({ grad, attrs }) => [contiguous(grad, attrs)],
    samples: [
      [t([2, 3])],
      [t([2, 3, 2, 2]), { memoryFormat: "channelsLast" }],
      [t([1, 2, 3]), { memoryFormat: "channelsLast" }],
      [t([])],
    ],
  });
