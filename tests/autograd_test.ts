/**
 * Differentiation itself: what the table of operators cannot show. Gradients
 * are compared with central differences in f64 and with formulas.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  assign,
  concat,
  detach,
  fromHost,
  gradEnabled,
  gradients,
  keep,
  manualSeed,
  mul,
  nn,
  noGrad,
  ones,
  optim,
  randn,
  scope,
  sum,
  type Tensor,
  tensor,
  withGrad,
} from "../mod.ts";
import { DisposedError, GradientError } from "../core/errors.ts";
import {
  assertNear,
  checkAgainstDifferences,
  gradientPenalty,
  leaf,
  list,
} from "./autograd_checks.ts";

const penalised: Record<string, () => [nn.AnyModule, Tensor]> = {
  "convolution, batch norm and linear": () => [
    nn.sequential(
      nn.conv2d(2, 3, 3, { padding: 1, dtype: "f64" }),
      nn.batchNorm2d(3, { dtype: "f64" }),
      nn.tanh(),
      nn.maxPool2d(2),
      nn.flatten(),
      nn.linear(12, 2, { dtype: "f64" }),
    ),
    randn([3, 2, 4, 4], { dtype: "f64", requiresGrad: true }),
  ],
  "strided convolution, group norm and layer norm": () => [
    nn.sequential(
      nn.conv2d(2, 4, 3, { stride: 2, dtype: "f64" }),
      nn.groupNorm(2, 4, { dtype: "f64" }),
      nn.gelu(),
      nn.flatten(),
      nn.layerNorm([16], { dtype: "f64" }),
      nn.linear(16, 1, { dtype: "f64" }),
      nn.sigmoid(),
    ),
    randn([2, 2, 5, 5], { dtype: "f64", requiresGrad: true }),
  ],
};

for (const [name, make] of Object.entries(penalised)) {
  Deno.test(`autograd: gradient penalty through ${name}`, () => {
    manualSeed(1);
    const [net, x] = make();
    checkAgainstDifferences(
      net.parameters(),
      () => gradientPenalty(x, net.forward(x) as Tensor),
    );
  });
}

Deno.test("autograd: gradient penalty through an LSTM", () => {
  manualSeed(2);
  const net = nn.lstm(3, 4, { layers: 2, dtype: "f64" });
  const x = randn([5, 2, 3], { dtype: "f64", requiresGrad: true });
  checkAgainstDifferences(net.parameters(), () => {
    const [y] = net.forward(x);
    return gradientPenalty(x, y.mul(y));
  });
});

Deno.test("autograd: third derivatives", () => {
  const x = leaf([0.3, -1.2]);
  let total = x.sin().mul(x).sum();
  for (let order = 0; order < 3; order++) {
    const [next] = gradients(total, [x], { createGraph: true });
    total = next!.sum();
    if (order < 2) continue;
    // (x sin x)‴ = −3 sin x − x cos x
    const expected = list(x).map((v) => -3 * Math.sin(v) - v * Math.cos(v));
    assertNear(list(next), expected);
  }
});

Deno.test("autograd: the product of a Hessian and a vector, and of a Jacobian through two backwards", () => {
  const x = leaf([1, 2, 3]);
  const v = fromHost(Float64Array.from([1, -1, 2]), "f64", [3]);
  // f = Σx³ + (Σx)²: H = diag(6x) + 2
  const f = x.pow(3).sum().add(x.sum().mul(x.sum()));
  const [g] = gradients(f, [x], { createGraph: true });
  const [hv] = gradients(g!.mul(v).sum(), [x]);
  assertNear(list(hv), [6 + 4, -12 + 4, 36 + 4]);
  // The seed is a leaf here: J·v = ∂(Jᵀu)/∂u · v
  const u = leaf([0, 0, 0]);
  const [jtu] = gradients(x.mul(x), [x], { seed: u, createGraph: true });
  const [jv] = gradients(jtu!, [u], { seed: v });
  assertNear(list(jv), [2, -4, 12]);
});

Deno.test("autograd: a seed that is a leaf gets its gradient", () => {
  const x = leaf([2, 5]);
  const seed = leaf([3, 4]);
  const [same] = gradients(x, [x], { seed, createGraph: true });
  same!.mul(10).sum().backward();
  assertEquals(list(seed.grad), [10, 10]);
});

// ---- noGrad, detach ----

Deno.test("autograd: nothing is recorded under noGrad, and detach cuts", async () => {
  const w = leaf([2, 3]);
  const cut = noGrad(() => w.mul(w));
  assertEquals([cut.requiresGrad, cut.isLeaf], [false, true]);
  w.mul(cut).add(detach(w).mul(5)).add(w.mul(w).detach()).sum().backward();
  assertEquals(list(w.grad), [4, 9]);
  assertThrows(() => noGrad(() => w.mul(w)).sum().backward(), GradientError);
  assertThrows(() =>
    noGrad(() => {
      throw new RangeError("inside");
    }), RangeError);
  assert(gradEnabled(), "an exception left recording off");
  await noGrad(async () => {
    await Promise.resolve();
    assert(!gradEnabled(), "recording came back at an await");
  });
  assert(gradEnabled());
});

Deno.test("autograd: calls of noGrad that overlap end in any order", async () => {
  const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));
  const seen: boolean[] = [];
  const first = noGrad(async () => {
    await wait(5);
    seen.push(gradEnabled());
  });
  const second = noGrad(async () => {
    await wait(15);
    seen.push(gradEnabled());
  });
  await first;
  assert(!gradEnabled(), "the second has not ended");
  await second;
  assertEquals(seen, [false, false]);
  assert(gradEnabled(), "recording stayed off");
  const off = noGrad(() => wait(5));
  const on = withGrad(true, () => wait(15));
  await off;
  assert(gradEnabled(), "the one that records has not ended");
  await on;
  assert(gradEnabled());
});

// ---- errors ----

Deno.test("autograd: each misuse has its own sentence", () => {
  const x = leaf([1, 2]);
  assertThrows(
    () => x.mul(2).backward(),
    GradientError,
    "from a tensor of shape [2] without a seed: reduce it to one element",
  );
  assertThrows(
    () => x.mul(2).backward({ seed: ones([3], { dtype: "f64" }) }),
    GradientError,
    "with a seed of shape [3]: the shapes must be equal",
  );
  assertThrows(
    () => x.mul(2).backward({ seed: ones([2]) }),
    GradientError,
    "dtype f64 with a seed of dtype f32",
  );
  assertThrows(
    () => tensor([1, 2], { dtype: "i64" }).sum().backward(),
    GradientError,
    "Cannot differentiate a tensor of dtype i64",
  );
  assertThrows(
    () => tensor([1.5, 2]).sum().backward(),
    GradientError,
    "depends on nothing that requires a gradient",
  );
  assertThrows(
    () => gradients(x.sum(), [tensor([1, 2], { dtype: "i32" })]),
    GradientError,
    "input 0: it has dtype i32",
  );
  assertThrows(
    () => gradients(x.sum(), [x, tensor([1.5, 2])]),
    GradientError,
    "input 1: it requires no gradient",
  );
  assertThrows(
    () => tensor([1, 2], { dtype: "i64" }).requiresGrad = true,
    GradientError,
    "Cannot collect a gradient of a tensor of dtype i64",
  );
  assertThrows(() =>
    fromHost(new Int32Array(2), "i32", [2], { requiresGrad: true })
  );
});

Deno.test("autograd: a freed tape is refused before anything is added", () => {
  const x = leaf([1, 2]);
  const y = x.exp();
  const total = y.sum();
  total.backward();
  const before = list(x.grad);
  assertThrows(
    () => total.backward(),
    GradientError,
    "by an earlier backward (pass { retainGraph: true } to that one)",
  );
  // A new loss over the freed part.
  assertThrows(() => add(x, y).sum().backward(), GradientError, "exp");
  assertEquals(list(x.grad), before);
  const late = { loss: undefined as Tensor | undefined };
  scope(() => {
    late.loss = keep(x.exp().sum());
  });
  assertThrows(
    () => late.loss!.backward(),
    GradientError,
    "at the end of its scope",
  );
  late.loss!.dispose();
  assertThrows(() => late.loss!.backward(), DisposedError);
});

Deno.test("autograd: retainGraph keeps the tape", () => {
  const x = leaf([1, 2]);
  const total = x.exp().mul(x).sum();
  total.backward({ retainGraph: true });
  const once = list(x.grad);
  total.backward();
  assertNear(list(x.grad), once.map((v) => 2 * v));
  assertThrows(() => total.backward(), GradientError, "freed");
});

// ---- leaves ----

Deno.test("autograd: gradients add up over backwards, and in one handle", () => {
  const x = leaf([1, 2]);
  x.mul(3).sum().backward();
  const held = x.grad!;
  x.mul(x).sum().backward();
  assert(held === x.grad);
  assertEquals(list(held), [5, 7]);
});

Deno.test("autograd: a leaf used several times, and several ways, gets the sum", () => {
  const x = leaf([1, 2, 3, 4], [2, 2]);
  const y = concat([x, x.transpose(0, 1), x.mul(x)], 0);
  const weights = tensor([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]], {
    dtype: "f64",
  });
  y.mul(weights).add(x.sum()).sum().backward();
  // w₁ + w₂ᵀ + 2x·w₃ + 12
  assertEquals(list(x.grad), [
    1 + 5 + 2 * 9 + 12,
    2 + 7 + 4 * 10 + 12,
    3 + 6 + 6 * 11 + 12,
    4 + 8 + 8 * 12 + 12,
  ]);
  assertEquals(
    gradients(x.mul(x).sum(), [x, x]).map(list),
    [[2, 4, 6, 8], [2, 4, 6, 8]],
  );
});

Deno.test("autograd: gradients of intermediates, and of what does not matter", () => {
  const x = leaf([1, 2]), other = leaf([1]);
  const h = x.mul(3);
  const total = h.mul(h).sum();
  const [dx, dh, none] = gradients(total, [x, h, other]);
  assertEquals(list(dx), [18, 36]);
  assertEquals(list(dh), [6, 12]);
  assertEquals(none, undefined);
  assertEquals([x.grad, other.grad], [undefined, undefined]);
  assertEquals(list(gradients(x.mul(1).sum(), [x])[0]), [1, 1]);
});

Deno.test("autograd: a leaf that is itself the root", () => {
  const x = leaf([5]);
  x.backward();
  assertEquals(list(x.grad), [1]);
  x.sum().backward({ seed: tensor(2, { dtype: "f64" }) });
  assertEquals(list(x.grad), [3]);
});

// ---- saved values ----

Deno.test("autograd: overwriting a parameter does not change what was saved", () => {
  const overwrite: Record<string, (w: Tensor) => void> = {
    "assign": (w) => {
      assign(w, tensor([100, 200], { dtype: "f64" }));
    },
    "an optimizer": (w) => {
      w.grad = tensor([50, 60], { dtype: "f64" });
      optim.sgd([w], { lr: 1 }).step();
      w.grad?.dispose();
      w.grad = undefined;
    },
    "adam": (w) => {
      w.grad = tensor([50, 60], { dtype: "f64" });
      optim.adam([w], { lr: 1 }).step();
      w.grad?.dispose();
      w.grad = undefined;
    },
  };
  for (const [name, change] of Object.entries(overwrite)) {
    const w = leaf([2, 3]);
    const x = leaf([5, 7]);
    // Saved stored, saved as a view, and still pending.
    const loss = w.mul(w).mul(x).add(
      w.reshape([2, 1]).matmul(w.reshape([1, 2])).sum(),
    ).sum();
    const pending = w.exp();
    change(w);
    assert(list(w)[0] !== 2, `${name} changed nothing`);
    assertNear(list(pending), [Math.exp(2), Math.exp(3)]);
    // ∂Σ(w²x + (Σw)²): 2wx + 2·2·Σw
    loss.backward();
    assertEquals(list(w.grad), [20 + 20, 42 + 20], name);
    assertEquals(list(x.grad), [4, 9], name);
    assert(w.isLeaf && w.requiresGrad, name);
  }
});

Deno.test("autograd: second derivatives reach a leaf that was overwritten", () => {
  const w = leaf([2, 3]);
  const cube = mul(mul(w, w), w);
  assign(w, tensor([100, 200], { dtype: "f64" }));
  const [first] = gradients(sum(cube), [w], { createGraph: true });
  assertEquals(list(first), [12, 27]);
  first!.sum().backward();
  assertEquals(list(w.grad), [12, 18]);
});

Deno.test("autograd: a gradient that reaches a disposed leaf is dropped", () => {
  const w = leaf([2]), x = leaf([3]);
  const total = w.mul(x).sum();
  w.dispose();
  total.backward();
  assertEquals(list(x.grad), [2]);
  assertEquals(w.grad, undefined);
});
