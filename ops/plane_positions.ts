/**
 * Values at positions of planes: taken out, and put back.
 *
 * @module
 */

import { runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { contiguousStrides, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { cast } from "./foundation.ts";
import { t } from "./samples.ts";
import { withBlocks } from "./window_kernels.ts";

/**
 * Adds values to the given positions of zero planes: the adjoint of {@linkcode pickAt}.
 *
 * @param x Values [N, C, positions…].
 * @param indices Row-major positions in the plane, same shape (i64).
 * @param spatial Extents of the planes.
 * @returns Tensor [N, C, spatial…].
 */
export const placeAt: (x: Tensor, indices: Tensor, spatial: Shape) => Tensor =
  operator<
    (x: Tensor, indices: Tensor, spatial: Shape) => Tensor,
    { spatial: Shape }
  >({
    name: "placeAt",
    family: "pooling",
    inputs: ["x", "indices"],
    attrs: { spatial: [] },
    bind: (x, indices, spatial) => ({
      inputs: [x, indices],
      attrs: { spatial },
    }),
    torch:
      "torch.zeros(*x.shape[:2], math.prod(spatial), dtype=x.dtype).scatter_add(2, indices.flatten(2), x.flatten(2)).reshape(*x.shape[:2], *spatial)",
    saves: [1],
    run: ([x, indices], { spatial }) => {
      const [n, c] = x.shape;
      const plane = spatial.reduce((a, b) => a * b, 1);
      if (x.dtype === "f16" || x.dtype === "bf16") {
        // Halves are added in f32.
        return cast(placeAt(cast(x, "f32"), indices, spatial), x.dtype);
      }
      const shape = [n, c, ...spatial];
      const { kernels } = x.device;
      if (kernels.placeAt !== undefined && x.size > 0) {
        const planes = n * c;
        const positions = x.size / planes;
        const spec = { dtype: x.dtype, planes, size: plane, positions };
        const done = withBlocks([x.value, indices.value], (values, places) => {
          const result = new Tensor(Value.empty(x.device, x.dtype, shape));
          if (kernels.placeAt!(spec, values, places, result.value)) {
            return result;
          }
          result.dispose();
          return undefined;
        });
        if (done !== undefined) return done;
      }
      const target = filled(x, [n * c, plane]);
      if (x.size > 0) {
        withBlocks([x.value, indices.value], (source, index) => {
          x.device.scatter({
            dtype: x.dtype,
            mode: "add",
            outer: n * c,
            targetSize: plane,
            sourceSize: x.size / (n * c),
            inner: 1,
            target,
            source,
            index,
            perElement: true,
          });
        });
      }
      const result = target.view(shape, contiguousStrides(shape), 0);
      target.release();
      return new Tensor(result);
    },
    // ∂placeAt: the gradient at the positions
    gradient: ({ inputs: [, indices], grad }) => [pickAt(grad, indices)],
    samples: [[
      t([1, 2, 3]),
      t([1, 2, 3], { dtype: "i64", data: [0, 3, 3, 1, 2, 5] }),
      [2, 3],
    ]],
  });

function filled(like: Tensor, shape: Shape): Value {
  const [zeros] = runRows(like.device, {
    name: `zeros ${like.dtype}`,
    space: shape,
    axes: [],
    streams: [],
    passes: 1,
    build: () => ({
      stages: [],
      outputs: [{
        dtype: like.dtype,
        per: "element",
        value: k.constant(0, k.computeType(like.dtype)),
      }],
    }),
  });
  return zeros;
}

/**
 * The elements at the given positions of planes.
 *
 * @param x Tensor [N, C, spatial…].
 * @param indices Row-major positions in the plane [N, C, positions…] (i64).
 * @returns Tensor of the shape of `indices`.
 */
export const pickAt: (x: Tensor, indices: Tensor) => Tensor = operator<
  (x: Tensor, indices: Tensor) => Tensor
>({
  name: "pickAt",
  family: "pooling",
  inputs: ["x", "indices"],
  torch: "x.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape)",
  saves: [1],
  run: ([x, indices]) => {
    const plane = x.shape.slice(2).reduce((a, b) => a * b, 1);
    const [value] = runRows(x.device, {
      name: "pickAt",
      space: indices.shape,
      axes: [],
      streams: [indices.value],
      tables: [x.value],
      scalars: [plane, x.shape[1]],
      scalarTypes: ["i32", "i32"],
      passes: 1,
      build: ({ streams: [index], scalars: [size, channels], coord, load }) => {
        const start = k.mul(k.add(k.mul(coord(0), channels), coord(1)), size);
        return {
          stages: [],
          outputs: [{
            dtype: x.dtype,
            per: "element",
            value: load(0, k.add(start, k.cast(index, "i32"))),
          }],
        };
      },
    });
    return new Tensor(value);
  },
  // ∂pickAt: the gradient placed where the elements came from
  gradient: (
    { inputs: [, indices], shapes: [shape], grad },
  ) => [placeAt(grad, indices, shape.slice(2))],
  samples: [[
    t([1, 2, 2, 3]),
    t([1, 2, 4], { dtype: "i64", data: [0, 3, 3, 1, 2, 5, 0, 0] }),
  ]],
});
