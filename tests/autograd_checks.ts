/** What tests of differentiation share. */

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { assign, fromHost, gradients, scope, type Tensor } from "../mod.ts";

/** A leaf of f64 that requires a gradient. */
export function leaf(data: readonly number[], shape = [data.length]): Tensor {
  return fromHost(Float64Array.from(data), "f64", shape, {
    requiresGrad: true,
  });
}

/** The elements of a tensor that must be there. */
export function list(x: Tensor | undefined): number[] {
  assert(x !== undefined, "there is no tensor");
  return Array.from(x.data(), Number);
}

/** Compares numbers with a relative tolerance. */
export function assertNear(
  actual: readonly number[],
  expected: readonly number[],
  tolerance = 1e-10,
): void {
  assertEquals(actual.length, expected.length);
  actual.forEach((a, i) =>
    assertAlmostEquals(
      a,
      expected[i],
      tolerance * (1 + Math.abs(expected[i])),
      `number ${i}`,
    )
  );
}

/** Compares gradients of a loss with respect to parameters with central differences along three directions. */
export function checkAgainstDifferences(
  parameters: readonly Tensor[],
  loss: () => Tensor,
): void {
  const grads = scope(() => gradients(loss(), parameters));
  const starts = parameters.map(list);
  const direction = (n: number, i: number, k: number) =>
    Math.sin(1 + 5 * n + 3 * i + 7 * k);
  const lossAt = (n: number, step: number) => {
    parameters.forEach((p, i) => {
      const moved = starts[i].map((v, k) => v + step * direction(n, i, k));
      const fresh = fromHost(Float64Array.from(moved), "f64", p.shape);
      assign(p, fresh);
      fresh.dispose();
    });
    return scope(() => loss().item());
  };
  for (let n = 0; n < 3; n++) {
    const h = 1e-5;
    const numeric = (lossAt(n, h) - lossAt(n, -h)) / (2 * h);
    let exact = 0;
    grads.forEach((g, i) => {
      if (g === undefined) return; // a last bias: it drops out of the slope
      list(g).forEach((v, k) => exact += v * direction(n, i, k));
    });
    assert(Math.abs(numeric) > 1e-6, "the direction says nothing");
    assertAlmostEquals(exact, numeric, 1e-5 * (1 + Math.abs(numeric)));
  }
}

/** (|∂ sum y/∂x| − 1)², the penalty of a Wasserstein critic. */
export function gradientPenalty(x: Tensor, y: Tensor): Tensor {
  const [slope] = gradients(y.sum(), [x], { createGraph: true });
  const norm = slope!.mul(slope!).sum().sqrt();
  return norm.sub(1).mul(norm.sub(1));
}
