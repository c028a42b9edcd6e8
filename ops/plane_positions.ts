/**
 * Values at positions of planes: taken out, and put back.
 *
 * @module
 */

import { dense, runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import {
  channelsLastStrides,
  contiguousStrides,
  type Shape,
} from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { cast } from "./foundation.ts";
import { ImageOrder } from "./image_order.ts";
import { t } from "./samples.ts";
import { withBlocks } from "./window_kernels.ts";
import {
  allOf,
  type Geometry,
  geometryRule,
  offsetOf,
  windowExprs,
  windowScalars,
} from "./windows.ts";

/** Options of {@linkcode placeAt}. */
export interface PlaceOptions {
  /** The windows whose cells the positions are, one position per window, where they are such. */
  windows?: Geometry;
}

/**
 * Adds values to the given positions of zero planes: the adjoint of {@linkcode pickAt}.
 *
 * @param x Values [N, C, positions…].
 * @param indices Row-major positions in the plane, same shape (i64).
 * @param spatial Extents of the planes.
 * @returns Tensor [N, C, spatial…].
 */
export const placeAt: (
  x: Tensor,
  indices: Tensor,
  spatial: Shape,
  options?: PlaceOptions,
) => Tensor = operator<
  (
    x: Tensor,
    indices: Tensor,
    spatial: Shape,
    options?: PlaceOptions,
  ) => Tensor,
  { spatial: Shape; windows: Geometry | undefined }
>({
  name: "placeAt",
  family: "pooling",
  inputs: ["x", "indices"],
  attrs: { spatial: [], windows: undefined },
  rules: { windows: geometryRule },
  bind: (x, indices, spatial, options) => ({
    inputs: [x, indices],
    attrs: { spatial, ...options },
  }),
  formula: "y[n, c, q] = Σ x[n, c, p] over indices[n, c, p] = q",
  torch:
    "torch.zeros(*x.shape[:2], math.prod(spatial), dtype=x.dtype).scatter_add(2, indices.flatten(2), x.flatten(2)).reshape(*x.shape[:2], *spatial)",
  saves: [1],
  run: ([x, indices], { spatial, windows }) => {
    const [n, c] = x.shape;
    const plane = spatial.reduce((a, b) => a * b, 1);
    const ownKernel = x.device.kernels.placeAt !== undefined;
    if (windows !== undefined && !ownKernel && x.size > 0) {
      return gathered(x, indices, windows);
    }
    if (x.dtype === "f16" || x.dtype === "bf16") {
      // Halves are added in f32.
      return cast(placeAt(cast(x, "f32"), indices, spatial), x.dtype);
    }
    const shape = [n, c, ...spatial];
    const { kernels } = x.device;
    if (ownKernel && x.size > 0) {
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

/** Each cell adds up the windows around it whose position it is. */
function gathered(x: Tensor, indices: Tensor, g: Geometry): Tensor {
  const rank = g.input.length;
  const [n, c] = x.shape;
  const order = ImageOrder.of(x.materialize());
  const { scalars, types } = windowScalars(g);
  // Windows that a cell lies in, along each axis, at most.
  const around = g.kernel.map((extent, d) =>
    Math.ceil(((extent - 1) * g.dilation[d] + 1) / g.stride[d])
  );
  const places = dense(
    indices.value,
    order.last ? channelsLastStrides(indices.shape) : undefined,
  );
  const tables = [order.table(x.value), order.table(places)];
  const [value] = runRows(x.device, {
    name: `placeAt windows${order.name}`,
    space: [...order.extents([n, c, ...g.input]), ...around],
    axes: around.map((_, d) => 2 + rank + d),
    streams: [],
    tables,
    scalars: [...scalars, c],
    scalarTypes: [...types, "i32"],
    passes: 1,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const position = order.position(coord);
      const { spatial: cell } = position;
      const window = cell.map((at, d) =>
        k.sub(
          k.div(k.add(at, w.before[d]), w.stride[d]),
          coord(2 + rank + d),
        )
      );
      const exists = allOf(
        window.flatMap((at, d) => [k.ge(at, 0), k.lt(at, w.output[d])]),
      );
      const place = order.offset(
        { ...position, spatial: window },
        w.output,
        s[6 * rank],
      );
      const index = k.cast(load(1, place), "i32");
      const own = k.and(exists, k.eq(index, offsetOf(cell, w.input)));
      const value = load(0, place);
      const sum = k.stage(0, value.type);
      return {
        stages: [{ op: "sum", value: k.select(own, value, 0) }],
        outputs: [{
          dtype: x.dtype,
          per: "row",
          value: k.roundTo(sum, x.dtype),
        }],
      };
    },
  });
  for (const table of [...tables, places]) table.release();
  return order.images(value);
}

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
  formula: "y[n, c, p] = x[n, c, indices[n, c, p]]",
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
