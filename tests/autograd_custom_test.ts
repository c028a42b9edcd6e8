/** Gradients that users steer: custom functions, hooks and recomputation. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  customFunction,
  detach,
  fromHost,
  gradients,
  keep,
  manualSeed,
  nn,
  noGrad,
  ones,
  randn,
  recompute,
  scope,
  type Tensor,
} from "../mod.ts";
import { GradientError } from "../core/errors.ts";
import { assertNear, gradientPenalty, leaf, list } from "./autograd_checks.ts";

// ---- custom functions ----

Deno.test("autograd: a function with a gradient of its own", () => {
  const cube = customFunction({
    name: "cube",
    forward: (x) => x.mul(x).mul(x),
    // ∂x³: 3x²·g
    backward: ({ inputs: [x], grads: [g] }) => [x.mul(x).mul(3).mul(g!)],
  });
  const x = leaf([2, -1]);
  const y = cube(x);
  assertEquals(y.node?.name, "cube");
  const [first] = gradients(y.sum(), [x], { createGraph: true });
  assertEquals(list(first), [12, 3]);
  assertEquals(list(gradients(first!.sum(), [x])[0]), [12, -6]);
  assert(!noGrad(() => cube(x)).requiresGrad);
});

Deno.test("autograd: custom functions with several results, unused ones and saved outputs", () => {
  const parts = customFunction<Tensor[]>({
    name: "expAndNeg",
    forward: (x, y) => [x.exp(), x.neg().mul(y)],
    backward: ({ inputs: [x, y], outputs: [e], grads: [a, b] }) => {
      const fromExp = a?.mul(e);
      const fromNeg = b?.mul(y).neg();
      return [
        fromExp && fromNeg ? add(fromExp, fromNeg) : fromExp ?? fromNeg,
        b?.mul(x).neg(),
      ];
    },
  });
  const x = leaf([0.5]), y = leaf([3]);
  const [e, n] = parts(x, y);
  add(e, n).sum().backward();
  assertNear(list(x.grad), [Math.exp(0.5) - 3]);
  assertNear(list(y.grad), [-0.5]);
  const onlyFirst = gradients(parts(x, y)[0].sum(), [x, y]);
  assertNear(list(onlyFirst[0]), [Math.exp(0.5)]);
  assertEquals(onlyFirst[1], undefined);
});

Deno.test("autograd: a custom function that returns its input leaves the input alone", () => {
  const scaled = customFunction({
    name: "scaledGradient",
    forward: (x) => x,
    backward: ({ grads: [g] }) => [g!.mul(10)],
  });
  const x = leaf([1, 2]);
  scaled(x).mul(3).sum().backward();
  assert(x.isLeaf, "the input became the result");
  assertEquals(list(x.grad), [30, 30]);
});

Deno.test("autograd: wrong gradients of a custom function are refused", () => {
  const make = (backward: () => Tensor[]) =>
    customFunction({ name: "wrong", forward: (x) => x.mul(2), backward });
  const x = leaf([1, 2]);
  assertThrows(
    () => make(() => [])(x).sum().backward(),
    GradientError,
    "its backward returned 0 gradients for 1 inputs",
  );
  assertThrows(
    () => make(() => [ones([3], { dtype: "f64" })])(x).sum().backward(),
    GradientError,
    "of shape [3] for input 0 of shape [2]",
  );
});

// ---- hooks ----

Deno.test("autograd: hooks see and replace the gradients of intermediates", () => {
  const x = leaf([1, 2]);
  const h = x.mul(3);
  const seen: number[][] = [];
  h.registerHook((grad) => {
    seen.push(list(grad));
  });
  h.registerHook((grad) => grad.mul(100));
  const remove = h.registerHook(() => {
    throw new Error("removed");
  });
  remove();
  add(h.mul(h), h.mul(5)).sum().backward();
  assertEquals(seen, [[11, 17]]);
  assertEquals(list(x.grad), [3300, 5100]);
});

Deno.test("autograd: a hook of a leaf sees the whole gradient, once per backward", () => {
  const run = (differentiate: (loss: Tensor, x: Tensor) => Tensor) => {
    const x = leaf([1, 2]);
    const seen: number[][] = [];
    x.registerHook((grad) => {
      seen.push(list(grad));
      return grad.clamp(-4, 4);
    });
    const result = list(differentiate(x.mul(x).add(x.mul(3)).sum(), x));
    return { seen, result };
  };
  const expected = { seen: [[5, 7]], result: [4, 4] };
  const through = run((loss, x) => {
    loss.backward();
    return x.grad!;
  });
  assertEquals(through, expected);
  assertEquals(run((loss, x) => gradients(loss, [x])[0]!), expected);
});

Deno.test("autograd: what hooks keep or return stays alive", () => {
  const x = leaf([1, 2]);
  const h = x.mul(3);
  const fixed = fromHost(Float64Array.from([7, 8]), "f64", [2]);
  const kept: Tensor[] = [];
  h.registerHook((grad) => {
    kept.push(keep(grad));
    return fixed;
  });
  x.registerHook((grad) => {
    kept.push(keep(grad));
  });
  scope(() => h.mul(2).sum().backward());
  assertEquals(list(fixed), [7, 8]);
  assertEquals(kept.map(list), [[2, 2], [21, 24]]);
  assertEquals(list(x.grad), [21, 24]);
});

Deno.test("autograd: a hook must keep shape and dtype", () => {
  const x = leaf([1, 2]);
  const h = x.mul(3);
  h.registerHook((grad) => grad.sum());
  assertThrows(
    () => h.sum().backward(),
    GradientError,
    "Cannot replace a gradient of f64 [2] by one of f64 []",
  );
  assertThrows(
    () => detach(x).registerHook(() => {}),
    GradientError,
    "requires none",
  );
});

// ---- recomputation ----

function dropoutBlock() {
  const first = nn.linear(4, 6, { dtype: "f64" });
  const last = nn.linear(6, 4, { dtype: "f64" });
  const drop = nn.dropout(0.4);
  const body = (x: Tensor) =>
    last.forward(drop.forward(first.forward(x).tanh())).add(x);
  return { body, parameters: [...first.parameters(), ...last.parameters()] };
}

Deno.test("autograd: recompute gives the gradients of the plain run, dropout and parameters included", () => {
  manualSeed(3);
  const blocks = [dropoutBlock(), dropoutBlock()];
  const parameters = blocks.flatMap((block) => block.parameters);
  const x = randn([5, 4], { dtype: "f64", requiresGrad: true });
  const wanted = [x, ...parameters];
  const loss = (again: boolean) => {
    manualSeed(4);
    let h = x.mul(1);
    for (const { body } of blocks) h = again ? recompute(body, h) : body(h);
    return h.mul(h).mean();
  };
  const plain = gradients(loss(false), wanted).map(list);
  assertEquals(gradients(loss(true), wanted).map(list), plain);
  loss(true).backward();
  assertEquals(wanted.map(({ grad }) => list(grad)), plain);
  const drawn = (again: boolean) => {
    loss(again).backward();
    return list(randn([2]));
  };
  assertEquals(drawn(true), drawn(false), "backward moved the generator");
});

Deno.test("autograd: recompute inside second derivatives", () => {
  manualSeed(5);
  const { body, parameters } = dropoutBlock();
  const x = randn([3, 4], { dtype: "f64", requiresGrad: true });
  const penalty = (again: boolean) => {
    manualSeed(6);
    const y = again ? recompute(body, x) : body(x);
    return gradientPenalty(x, y.mul(y));
  };
  const wanted = [x, ...parameters];
  const grads = (again: boolean) =>
    gradients(penalty(again), wanted).map((g) => g && list(g));
  const plain = grads(false);
  grads(true).forEach((g, i) => {
    assertEquals(g === undefined, plain[i] === undefined, `tensor ${i}`);
    if (g !== undefined) assertNear(g, plain[i]!, 1e-12);
  });
});

Deno.test("autograd: recompute of data gives the gradients of what the body captures", () => {
  const w = leaf([2, 3]);
  const data = fromHost(Float64Array.from([5, 7]), "f64", [2]);
  const loss = () => recompute((x) => x.mul(w).mul(w), data).sum();
  assertEquals(list(gradients(loss(), [w])[0]), [20, 42]);
  loss().backward();
  assertEquals(list(w.grad), [20, 42]);
  // A captured result has a past that others use too.
  const h = w.mul(10);
  const total = recompute((x) => x.mul(h), data).add(h.mul(h)).sum();
  const [dw, dh] = gradients(total, [w, h], { retainGraph: true });
  assertEquals(list(dh), [5 + 40, 7 + 60]);
  assertEquals(list(dw), [450, 670]);
  total.backward();
  assertEquals(list(w.grad), [470, 712]);
});

Deno.test("autograd: recompute of several results, nested, and of the input itself", () => {
  const x = leaf([2]);
  const [a, b] = recompute<Tensor[]>((y) => [y.mul(y), y], x);
  assert(x.isLeaf);
  add(a, b.mul(3)).sum().backward();
  assertEquals(list(x.grad), [7]);
  const nested = recompute((y) => recompute((z) => z.exp(), y.mul(2)), x);
  assertNear(list(gradients(nested.sum(), [x])[0]), [2 * Math.exp(4)]);
});
