/** What all optimizers share: groups, clipping, state, averages, refusals, memory. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import { cast, fromHost, memory, nn, scope, type Tensor } from "../mod.ts";
import * as optim from "../optim/mod.ts";
import { liveBytes } from "./live_bytes.ts";

function parameter(...data: number[]): Tensor {
  return fromHost(Float32Array.from(data), "f32", [data.length], {
    requiresGrad: true,
  });
}

function setGrad(w: Tensor, ...data: number[]): void {
  w.grad = fromHost(Float32Array.from(data), "f32", w.shape);
}

function values(x: Tensor): number[] {
  return Array.from(x.data(), Number);
}

function near(actual: number[], expected: number[], bound = 1e-6): void {
  assertEquals(actual.length, expected.length);
  actual.forEach((x, i) => assertAlmostEquals(x, expected[i], bound));
}

Deno.test("a step uses the gradients that backward made", () => {
  const w = parameter(3, -1);
  using optimizer = optim.sgd([w], { lr: 0.25 });
  for (let n = 0; n < 3; n++) {
    optimizer.zeroGrad();
    scope(() => w.mul(w).sum().backward());
    optimizer.step();
  }
  // w ← w − 0.25·2w, three times
  near(values(w), [3 / 8, -1 / 8]);
  assertEquals(optimizer.iteration, 3);
});

Deno.test("groups have options of their own", () => {
  const a = parameter(1), b = parameter(1), c = parameter(1);
  using optimizer = optim.sgd(
    [
      { parameters: [a] },
      { parameters: [b], lr: 0.5, weightDecay: 1 },
      { parameters: [c], policy: (i) => i },
    ],
    { lr: 0.1 },
  );
  for (let n = 0; n < 2; n++) {
    for (const w of [a, b, c]) setGrad(w, 1);
    optimizer.step();
  }
  near(values(a), [0.8]);
  near(values(b), [-0.5]); // 1 − ½·(1 + 1) = 0, then 0 − ½·(1 + 0)
  near(values(c), [0.9]); // factors 0 and 1
  assertEquals([0, 1, 2].map((g) => optimizer.learningRate(g)), [
    0.1,
    0.5,
    0.2,
  ]);
});

Deno.test("the learning rate may be a function of the iteration", () => {
  const w = parameter(0);
  using optimizer = optim.sgd([w], { lr: (i) => [1, 0.5][i] });
  for (let n = 0; n < 2; n++) {
    setGrad(w, 1);
    optimizer.step();
  }
  near(values(w), [-1.5]);
  setGrad(w, 1);
  assertThrows(() => optimizer.step(), RangeError, "NaN at iteration 2");
});

Deno.test("parameters without a gradient stay and are not counted", () => {
  const a = parameter(1), b = parameter(1);
  using optimizer = optim.adam([a, b], { lr: 0.1 });
  setGrad(a, 1);
  optimizer.step();
  setGrad(a, 1);
  setGrad(b, 1);
  optimizer.step();
  near(values(b), [0.9], 1e-5); // its own first step
  const { numbers } = optimizer.stateDict();
  assertEquals(numbers, { 0: { steps: 2 }, 1: { steps: 1 } });
});

Deno.test("the global norm bounds all gradients together", () => {
  const a = parameter(0, 0), b = parameter(0);
  using optimizer = optim.sgd([a, b], { lr: 1, maxGradientNorm: 1 });
  setGrad(a, 6, 0);
  setGrad(b, 8);
  optimizer.step();
  near(values(a), [-0.6, 0]);
  near(values(b), [-0.8]);
  setGrad(a, 0.3, 0);
  setGrad(b, 0.4);
  optimizer.step(); // within the bound
  near([...values(a), ...values(b)], [-0.9, 0, -1.2]);
});

Deno.test("each element of the gradients can be bounded, before the norm", () => {
  const w = parameter(0, 0, 0);
  using optimizer = optim.sgd([w], {
    lr: 1,
    maxGradientValue: 2,
    maxGradientNorm: 1.5,
  });
  setGrad(w, 9, -9, 1); // clamped to 2, −2, 1: norm 3
  optimizer.step();
  near(values(w), [-1, 1, -0.5]);
});

Deno.test("clipGradNorm and clipGradValue change the gradients in place", () => {
  const a = parameter(0, 0), b = parameter(0);
  setGrad(a, 3, 0);
  setGrad(b, -4);
  using norm = optim.clipGradNorm([a, b], 1);
  assertEquals(norm.item(), 5);
  near([...values(a.grad!), ...values(b.grad!)], [0.6, 0, -0.8]);
  using largest = optim.clipGradNorm([a, b], 0.4, { type: Infinity });
  assertAlmostEquals(largest.item(), 0.8, 1e-6);
  near([...values(a.grad!), ...values(b.grad!)], [0.3, 0, -0.4]);
  optim.clipGradValue([a, b], 0.35);
  near([...values(a.grad!), ...values(b.grad!)], [0.3, 0, -0.35]);
});

Deno.test("gradients that share memory are clipped one by one", () => {
  const a = parameter(1, 2), b = parameter(3, 4);
  scope(() => a.add(b).sum().backward()); // one gradient of ones for both
  using norm = optim.clipGradNorm([a, b], 1);
  assertEquals(norm.item(), 2);
  near([...values(a.grad!), ...values(b.grad!)], [0.5, 0.5, 0.5, 0.5]);
});

/** Twenty steps on gradients that depend on the weights; saved and loaded after `at`. */
function train(
  make: (w: Tensor[]) => optim.Optimizer,
  at: number | undefined,
): number[] {
  let weights = [parameter(1, -2, 3, 0.5), parameter(0.25)];
  let optimizer = make(weights);
  for (let n = 0; n < 20; n++) {
    if (n === at) {
      const state = optimizer.stateDict();
      const { tensors, ...plain } = state;
      const copies = Object.fromEntries(
        Object.entries(tensors).map(([name, x]) => [
          name,
          fromHost(x.data(), x.dtype, x.shape),
        ]),
      );
      weights = weights.map((w) => parameter(...values(w)));
      optimizer[Symbol.dispose]();
      optimizer = make(weights);
      optimizer.loadStateDict({
        ...JSON.parse(JSON.stringify(plain)),
        tensors: copies,
      });
    }
    for (const w of weights) {
      setGrad(w, ...values(w).map((x, i) => x * x - ((n * 7 + i) % 5) / 2));
    }
    optimizer.step();
  }
  optimizer[Symbol.dispose]();
  return weights.flatMap(values);
}

for (const name of optim.methods.keys()) {
  Deno.test(`${name} goes on from saved state to the bit`, () => {
    const options = {
      lr: 0.02,
      policy: optim.policies.exp({ gamma: 0.9 }),
      weightDecay: 0.01,
      ...(name === "sgd" && { momentum: 0.9 }),
    };
    const make = (w: Tensor[]) => optim.create(name, w, options);
    const unbroken = train(make, undefined);
    assert(unbroken.every(Number.isFinite));
    for (const at of [1, 13]) assertEquals(train(make, at), unbroken);
  });
}

Deno.test("the state of an observing policy is saved with the optimizer", () => {
  const make = () => {
    const policy = optim.policies.reduceOnPlateau({ patience: 0 });
    return { policy, optimizer: optim.sgd([parameter(1)], { lr: 1, policy }) };
  };
  const one = make(), two = make();
  [1, 2].forEach((metric) => one.policy.observe(metric));
  two.optimizer.loadStateDict(one.optimizer.stateDict());
  assertAlmostEquals(two.optimizer.learningRate(), 0.1);
});

Deno.test("state that does not fit is refused and changes nothing", () => {
  const saved = (...sizes: number[]) => {
    const ws = sizes.map((n) => parameter(...Array(n).fill(1)));
    const optimizer = optim.adam(ws);
    for (const w of ws) setGrad(w, ...Array(w.size).fill(1));
    optimizer.step();
    return optimizer.stateDict();
  };
  const w = parameter(1, 2);
  using optimizer = optim.adam([w]);
  const load = (state: optim.OptimizerState) => () =>
    optimizer.loadStateDict(state);
  assertThrows(
    load({ ...saved(2), method: "sgd" }),
    TypeError,
    "state of optimizer sgd into optimizer adam",
  );
  assertThrows(load({ ...saved(2), groups: [] }), TypeError, "0 groups");
  assertThrows(
    load(saved(2, 1)),
    TypeError,
    `"1" is not in the optimizer`,
  );
  assertThrows(
    load(saved(3)),
    TypeError,
    `"0/mean" of shape [3]: for its parameter of shape [2] it must have shape [2]`,
  );
  const state = saved(2);
  assertThrows(
    load({ ...state, tensors: { "o/mean": state.tensors["0/mean"] } }),
    TypeError,
    `there is no parameter "o"`,
  );
  assertEquals(optimizer.iteration, 0);
  assertEquals(optimizer.stateDict().tensors, {});
  load(state)();
  assertEquals(optimizer.iteration, 1);
});

Deno.test("half-precision parameters keep their state in f32", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const w = cast(parameter(1, 2), dtype).detach();
    w.requiresGrad = true;
    using optimizer = optim.adam([w], { lr: 0.5 });
    w.grad = cast(parameter(1, -1), dtype).detach();
    optimizer.step();
    assertEquals(w.dtype, dtype);
    near(values(w), [0.5, 2.5], 1e-2);
    assertEquals(optimizer.stateDict().tensors["0/mean"].dtype, "f32");
  }
});

Deno.test("gradients of a module are clipped as those of its parameters", () => {
  const module = nn.linear(1, 1);
  const { weight, bias } = module.stateDict();
  const clipped = (clip: () => void): number[] => {
    setGrad(weight, 3);
    setGrad(bias, -4);
    clip();
    return [weight, bias].flatMap((p) => values(p.grad!));
  };
  const norm = clipped(() => {
    near(values(optim.clipGradNorm(module, 1)), [5]);
  });
  near(norm, [0.6, -0.8]);
  near(clipped(() => optim.clipGradValue(module, 3.5)), [3, -3.5]);
});

Deno.test("an average follows its parameters and can stand in for them", async () => {
  const w = parameter(1, 2);
  using average = optim.ema([w], { decay: 0.75 });
  setGrad(w, 4, 9);
  optim.sgd([w], { lr: 1 }).step(); // w = [−3, −7]
  average.update();
  const expected = [0.75 * 1 - 0.25 * 3, 0.75 * 2 - 0.25 * 7];
  average.during(() => near(values(w), expected));
  near(values(w), [-3, -7]);
  await average.during(async () => {
    await Promise.resolve();
    near(values(w), expected);
  });
  near(values(w), [-3, -7]);
  assertThrows(() =>
    average.during(() => {
      throw new TypeError("stop");
    }), TypeError);
  near(values(w), [-3, -7]);

  // With a warm-up, d at update t is at most (1 + t)/(10 + t).
  const moved = parameter(0);
  using warm = optim.ema([moved], { decay: 0.15, warmup: true });
  setGrad(moved, -1);
  optim.sgd([moved], { lr: 1 }).step(); // w = 1
  let mean = 0;
  for (const d of [1 / 10, 0.15, 0.15]) {
    warm.update();
    mean = d * mean + 1 - d;
    near(values(warm.stateDict().tensors["0"]), [mean]);
  }

  using other = optim.ema([parameter(0, 0)]);
  other.loadStateDict(average.stateDict());
  near(values(other.stateDict().tensors["0"]), expected);
  assertThrows(
    () => other.loadStateDict({ updates: 1, tensors: {} }),
    TypeError,
    `"0" is missing`,
  );
  assertThrows(
    () => other.loadStateDict({ updates: 1, tensors: { "0": parameter(1) } }),
    TypeError,
    "shape [1]",
  );
});

Deno.test("an average with a warm-up starts fast", () => {
  const w = parameter(1);
  using average = optim.ema([w], { decay: 0.5, warmup: true });
  setGrad(w, 1);
  optim.sgd([w], { lr: 1 }).step(); // 0
  average.update(); // d = 1/10
  near(values(average.stateDict().tensors["0"]), [0.1]);
});

Deno.test("bad hyper-parameters are refused", () => {
  const w = parameter(1);
  const bad: [() => unknown, new () => Error, string][] = [
    [
      () => optim.sgd([w], { lr: -1 }),
      RangeError,
      "Cannot make optimizer sgd with lr -1: lr (learning rate) must be a finite number of at least 0",
    ],
    [() => optim.adam([w], { beta1: 1 }), RangeError, "beta1 1"],
    [() => optim.adam([w], { eps: NaN }), RangeError, "eps NaN"],
    [() => optim.sgd([w], { weightDecay: -1 }), RangeError, "weightDecay -1"],
    [
      () => optim.sgd([w], { maxGradientNorm: 0 }),
      RangeError,
      "maxGradientNorm 0",
    ],
    [
      () => optim.sgd([w], { nesterov: true }),
      RangeError,
      "needs a momentum above 0",
    ],
    [
      () => optim.create("sgd", [w], { momentom: 1 }),
      TypeError,
      `did you mean "momentum"?`,
    ],
    [() => optim.create("adan", [w]), TypeError, `did you mean "adam"?`],
    [
      () => optim.create("rmsProp", [w], { form: "keras" }),
      TypeError,
      `form (where ε stands) must be "torch" or "caffe2"`,
    ],
    [
      () => optim.create("sgd", [w], { nesterov: 1 }),
      TypeError,
      "must be true or false",
    ],
    [() => optim.sgd([]), TypeError, "no parameters"],
    [() => optim.sgd([w, w]), TypeError, "same tensor as parameter 0"],
    [() => optim.sgd([3 as never]), TypeError, "of type number"],
    [() => optim.sgd([w.mul(2)]), TypeError, "the result of mul"],
    [
      () => optim.sgd([fromHost(new Int32Array(1), "i32", [1])]),
      TypeError,
      "dtype i32",
    ],
    [
      () => optim.sgd([w], { lr: () => 1, policy: () => 1 }),
      TypeError,
      "give lr as a number beside a policy",
    ],
    [
      () => optim.sgd([w], { policy: 3 as never }),
      TypeError,
      "a policy is a function",
    ],
    [
      () => optim.sgd([{ parameters: [w], maxGradientNorm: 1 } as never]),
      TypeError,
      "option of the optimizer",
    ],
    [() => optim.ema([w], { decay: 1 }), RangeError, "decay 1"],
    [() => optim.clipGradNorm([w], 0), RangeError, "maxNorm 0"],
    [() => optim.clipGradNorm([w], 1, { type: 1 }), RangeError, "type 1"],
    [() => optim.clipGradValue([w], -1), RangeError, "bound -1"],
  ];
  for (const [make, kind, said] of bad) assertThrows(make, kind, said);
});

Deno.test("a step without gradients says so", () => {
  const w = parameter(1);
  using optimizer = optim.sgd([w]);
  assertThrows(() => optimizer.step(), Error, "no parameter has a gradient");
  assertThrows(() => optim.clipGradValue([w], 1), Error, "call backward first");
  assertEquals(optimizer.iteration, 0);
});

for (const name of optim.methods.keys()) {
  Deno.test(`${name} leaves no tensor behind`, () => {
    const w = fromHost(Float32Array.of(1, 2, 3, 4), "f32", [2, 2], {
      requiresGrad: true,
    });
    const before = memory();
    const bytes = liveBytes();
    {
      using optimizer = optim.create(name, [w], {
        maxGradientNorm: 1,
        maxGradientValue: 1,
        weightDecay: 0.1,
      });
      let settled = 0;
      for (let n = 0; n < 12; n++) {
        scope(() => w.mul(w).sum().backward());
        optimizer.step();
        optimizer.zeroGrad();
        if (n === 8) settled = liveBytes();
      }
      assertEquals(liveBytes(), settled);
    }
    assertEquals(memory().tensors, before.tensors);
    assertEquals(liveBytes(), bytes);
  });
}
