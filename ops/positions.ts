/**
 * What masks and counts share: positions in order, those where a mask is set,
 * the largest of integers. Nothing here is recorded.
 *
 * @module
 */

import type { Device } from "../core/device.ts";
import { runRows } from "../core/row_kernels.ts";
import { scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { reshape } from "./foundation.ts";
import { slice } from "./slicing.ts";

/** 0, 1, 2, … as i64. */
export function countUp(device: Device, size: number): Tensor {
  const [value] = runRows(device, {
    name: "count up",
    space: [size],
    axes: [],
    streams: [],
    passes: 1,
    build: ({ coord }) => ({
      stages: [],
      outputs: [{ dtype: "i64", value: coord(0), per: "element" }],
    }),
  });
  return new Tensor(value);
}

/** The row-major positions of the elements that are not 0, as an i64 vector; waits for their number. */
export function flatPositions(mask: Tensor): Tensor {
  return scope(() => {
    const { device, size } = mask;
    if (size === 0) return new Tensor(Value.empty(device, "i64", [0]));
    const flat = reshape(mask, [size]);
    const [flags] = runRows(device, {
      name: "flags",
      space: [size],
      axes: [],
      streams: [flat.value],
      passes: 1,
      build: ({ streams: [x] }) => ({
        stages: [],
        outputs: [{
          dtype: "i64",
          value: k.cast(k.ne(x, k.constant(0, x.type)), "i32"),
          per: "element",
        }],
      }),
    }).map((value) => new Tensor(value));
    const running = new Tensor(Value.empty(device, "i64", [size]));
    device.scan({
      dtype: "i64",
      op: "sum",
      rows: 1,
      length: size,
      input: flags.value,
      output: running.value,
    });
    const count = slice(running, [-1]).item();
    // Each one goes to its slot; all others to a slot behind the last.
    const [slots] = runRows(device, {
      name: "slots",
      space: [size],
      axes: [],
      streams: [flags.value, running.value],
      scalars: [count],
      scalarTypes: ["i64"],
      passes: 1,
      build: ({ streams: [flag, order], scalars: [behind] }) => ({
        stages: [],
        outputs: [{
          dtype: "i64",
          value: k.select(k.ne(flag, 0), k.sub(order, 1), behind),
          per: "element",
        }],
      }),
    }).map((value) => new Tensor(value));
    const target = new Tensor(Value.empty(device, "i64", [count + 1]));
    device.scatter({
      dtype: "i64",
      mode: "set",
      outer: 1,
      inner: 1,
      targetSize: count + 1,
      sourceSize: size,
      target: target.value,
      source: countUp(device, size).value,
      index: slots.value,
      perElement: false,
    });
    return slice(target, [[0, count]]);
  });
}

/** The largest element of an integer tensor; −1 when it is empty. */
export function largest(x: Tensor): number {
  if (x.size === 0) return -1;
  return scope(() => {
    const type = x.dtype === "i64" ? "i64" : "i32";
    const [value] = runRows(x.device, {
      name: "largest",
      space: x.shape,
      axes: x.shape.map((_, d) => d),
      streams: [x.value],
      passes: 1,
      build: ({ streams }) => ({
        stages: [{ op: "max", value: streams[0] }],
        outputs: [{ dtype: type, value: k.stage(0, type), per: "row" }],
      }),
    });
    return new Tensor(value).item();
  });
}
