/**
 * Images whose channels lie last in memory: who keeps that order, and that no
 * value depends on it.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import * as d from "../mod.ts";
import { ShapeError } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";
import { channelsLastStrides, isChannelsLast } from "../core/shape.ts";

const { nn, optim } = d;

function images(shape: readonly number[] = [2, 3, 4, 5]): Tensor {
  return d.randn(shape);
}

const last = (x: Tensor) => d.contiguous(x, { memoryFormat: "channelsLast" });

/** Equal but for the order of sums. */
function close(a: Tensor, b: Tensor, what?: string): void {
  assertEquals(a.shape, b.shape, what);
  const far = d.max(d.abs(d.sub(a, b))).item();
  assert(far < 1e-4, `${what}: they differ by ${far}`);
}

const liesLast = (x: Tensor) => x.materialize().value.channelsLast;

Deno.test("memory format: strides of images with channels last", () => {
  assertEquals(channelsLastStrides([2, 3, 4, 5]), [60, 1, 15, 3]);
  assertEquals(channelsLastStrides([2, 3, 4]), [12, 1, 3]);
  assert(isChannelsLast([2, 3, 4, 5], [60, 1, 15, 3]));
  assert(!isChannelsLast([2, 3, 4, 5], [60, 20, 5, 1]));
  // One channel: both orders are the same, and it counts as row-major.
  assert(!isChannelsLast([2, 1, 4, 5], [20, 1, 5, 1]));
  assert(!isChannelsLast([3, 4], [1, 3]));
});

Deno.test("memory format: contiguous copies where it must, and only there", () => {
  using x = images();
  using y = last(x);
  assertEquals(y.shape, x.shape);
  assertEquals(y.toArray(), x.toArray());
  assert(liesLast(y));
  using again = last(y);
  assert(again.value === y.value);
  using back = d.contiguous(y);
  assert(back.value.contiguous);
  assertEquals(back.toArray(), x.toArray());
  assertThrows(() => last(d.ones([2, 3])), ShapeError, "channels last");
});

Deno.test("memory format: elementwise results lie as their operands do", () => {
  using x = images();
  using y = images();
  using bias = d.randn([3, 1, 1]);
  const xs = last(x), ys = last(y);
  const cases: [string, (x: Tensor, y: Tensor) => Tensor, boolean][] = [
    ["relu", (x) => d.relu(x), true],
    ["add", (x, y) => d.add(x, y), true],
    ["chain", (x, y) => d.gelu(d.add(d.mul(x, y), 1)), true],
    ["broadcast", (x) => d.mul(x, bias), true],
    ["broadcast in a chain", (x, y) => d.add(d.mul(x, bias), y), true],
    ["constant of full size", (x) => d.add(x, d.ones([2, 3, 4, 5])), true],
    ["cast", (x) => d.cast(x, "f64"), true],
    ["mixed", (x) => d.add(x, y), false],
    [
      "larger than its operands",
      (x) => d.add(x, d.ones([2, 2, 3, 4, 5])),
      false,
    ],
    ["softmax", (x) => d.softmax(x, 1), true],
    ["concat", (x, y) => d.concat([x, y], 1), true],
    ["concat of rows", (x, y) => d.concat([x, y], 3), true],
    ["slice", (x) => d.relu(x.narrow(0, 1, 1)), true],
    ["sum", (x) => d.sum(x, [2, 3]), false],
  ];
  for (const [name, f, kept] of cases) {
    const plain = f(x, y), ordered = f(xs, ys);
    assertEquals(liesLast(ordered), kept, name);
    close(ordered, plain, name);
  }
});

Deno.test("memory format: batch and layer norms keep the order, forward and backward", () => {
  for (const training of [true, false]) {
    const results = [false, true].map((ordered) => {
      d.manualSeed(3);
      const norm = new nn.BatchNorm2d(3);
      if (!training) norm.eval();
      const x = ordered ? last(images()) : images();
      x.requiresGrad = true;
      const y = norm.forward(x);
      assertEquals(liesLast(y), ordered);
      d.mul(y, y).sum().backward();
      assertEquals(liesLast(x.grad!), ordered);
      return [y, x.grad!, norm.weight!.grad!];
    });
    results[0].forEach((expected, i) => close(results[1][i], expected));
  }
});

Deno.test("memory format: a net converts, trains to the same numbers and keeps its filters in order", () => {
  const losses = [false, true].map((ordered) => {
    d.manualSeed(1);
    const net = nn.sequential(
      nn.conv2d(3, 4, 3, { padding: 1 }),
      nn.batchNorm2d(4),
      nn.relu(),
      nn.conv2d(4, 2, 3, { stride: 2 }),
    );
    const x = images([2, 3, 6, 6]);
    if (ordered) net.to({ memoryFormat: "channelsLast" });
    const sgd = optim.sgd(net, { lr: 0.1, momentum: 0.9 });
    const losses: number[] = [];
    for (let step = 0; step < 3; step++) {
      const y = net.forward(ordered ? last(x) : x);
      const loss = d.mul(y, y).mean();
      losses.push(loss.item());
      net.zeroGrad();
      loss.backward();
      sgd.step();
    }
    const filters = net.parameters().filter((p) => p.rank === 4);
    assertEquals(filters.length, 2);
    for (const p of filters) assertEquals(p.value.channelsLast, ordered);
    return losses;
  });
  losses[0].forEach((loss, i) => assert(Math.abs(loss - losses[1][i]) < 1e-5));
});

Deno.test("memory format: a format of another name is refused", () => {
  const net = nn.conv2d(3, 4, 3);
  assertThrows(
    () => net.to({ memoryFormat: "nhwc" as "channelsLast" }),
    RangeError,
    '"nhwc"',
  );
});

Deno.test("memory format: what is loaded into filters takes their order, whatever its own", () => {
  const net = nn.conv2d(3, 4, 3);
  net.to({ memoryFormat: "channelsLast" });
  const { weight } = net;
  const fresh = images([4, 3, 3, 3]);
  net.loadStateDict({ ...net.stateDict(), weight: fresh });
  assert(weight.value.channelsLast);
  close(weight, fresh);
  net.to({ memoryFormat: "contiguous" });
  net.loadStateDict({ ...net.stateDict(), weight: last(fresh) });
  assert(weight.value.contiguous);
  close(weight, fresh);
});
