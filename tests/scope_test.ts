/** Scopes: what they free, what they hand on, in every way they can end. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  customFunction,
  DisposedError,
  gradients,
  keep,
  memory,
  nn,
  noGrad,
  ones,
  optim,
  randn,
  recompute,
  Scope,
  scope,
  type Tensor,
  tensor,
} from "../mod.ts";

interface Counts {
  tensors: number;
  bytes: number;
  blocks: number;
}

function counts(): Counts {
  const { tensors, devices: { cpu } } = memory();
  return {
    tensors,
    bytes: cpu?.liveBytes ?? 0,
    blocks: cpu?.blocks ?? 0,
  };
}

/** A net in training, warmed up so that gradients and optimizer state exist. */
function training() {
  const net = nn.sequential(
    nn.conv2d(1, 3, 3),
    nn.batchNorm2d(3),
    nn.relu(),
    nn.maxPool2d(2),
    nn.flatten(),
    nn.dropout(0.3),
    nn.linear(27, 4),
  );
  const optimizer = optim.adam(net, { lr: 0.01 });
  const step = (): Tensor => {
    const x = randn([2, 1, 8, 8]);
    const target = tensor([1, 3]);
    const loss = (net.forward(x) as Tensor).crossEntropy(target);
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
    return loss;
  };
  scope(() => {
    step();
  });
  return { net, optimizer, step };
}

/** Ways to run a training step that must leave nothing behind. */
const ways: Record<string, (step: () => Tensor) => void | Promise<void>> = {
  "using": (step) => {
    using _scope = new Scope();
    step();
  },
  "scope(body)": (step) => {
    scope(() => {
      step().item();
    });
  },
  "nested scopes": (step) => {
    using _outer = new Scope();
    const loss = scope(() => {
      scope(step);
      return { losses: [step()] };
    });
    loss.losses[0].item();
  },
  "an await inside": async (step) => {
    using _scope = new Scope();
    const loss = step();
    await Promise.resolve();
    loss.add(1).item();
    await new Promise((done) => setTimeout(done, 0));
    step();
  },
  "an exception inside": (step) => {
    assertThrows(
      () =>
        scope(() => {
          step();
          scope(() => {
            step();
            throw new RangeError("inside");
          });
        }),
      RangeError,
      "inside",
    );
  },
  "a rejection inside": async (step) => {
    await assertRejects(async () => {
      using _scope = new Scope();
      step();
      await Promise.resolve();
      step();
      throw new RangeError("inside");
    }, RangeError);
  },
  "a returned tensor, disposed": (step) => {
    const loss = scope(step);
    assert(Number.isFinite(loss.item()));
    loss.dispose();
  },
  "a kept tensor, disposed twice": (step) => {
    const kept = scope(() => {
      const inside = keep(step().mul(2));
      return { inside, other: step() };
    });
    kept.other.dispose();
    kept.inside.item();
    kept.inside.dispose();
    kept.inside.dispose();
  },
  "a scope ended twice": (step) => {
    using own = new Scope();
    step();
    own[Symbol.dispose]();
  },
  "a tape that is never walked": (step) => {
    using _scope = new Scope();
    step();
    const x = ones([3], { requiresGrad: true });
    x.exp().softmax(0).mul(x).sum().item();
  },
  "second derivatives": (step) => {
    using _scope = new Scope();
    step();
    const x = ones([3], { requiresGrad: true });
    const [first] = gradients(x.exp().mul(x).sum(), [x], { createGraph: true });
    first!.mul(first!).sum().backward();
  },
  "recomputation, hooks and a custom function": (step) => {
    using _scope = new Scope();
    step();
    const double = customFunction({
      name: "double",
      forward: (x) => x.mul(2),
      backward: ({ grads: [g] }) => [g!.mul(2)],
    });
    const x = ones([3], { requiresGrad: true });
    const inner = ones([3], { requiresGrad: true });
    const h = recompute((y) => double(y).mul(inner).softmax(0), x);
    h.registerHook((grad) => grad.mul(3));
    x.registerHook((grad) => grad.clamp(-1, 1));
    h.mul(h).sum().backward({ retainGraph: true });
    h.mul(h).sum().backward();
    gradients(recompute((y) => y.exp(), x).sum(), [x], { createGraph: true });
  },
  "a hook that throws": (step) => {
    using _scope = new Scope();
    step();
    const x = ones([3], { requiresGrad: true });
    const h = x.exp();
    h.registerHook(() => {
      throw new RangeError("inside");
    });
    assertThrows(() => h.softmax(0).sum().backward(), RangeError, "inside");
  },
};

for (const [name, way] of Object.entries(ways)) {
  Deno.test(`scope: nothing is left of a training step with ${name}`, async () => {
    const start = counts();
    const { net, optimizer, step } = training();
    const before = counts();
    assert(before.bytes > start.bytes);
    for (let i = 0; i < 3; i++) {
      await way(step);
      assertEquals(counts(), before, `after step ${i}`);
    }
    optimizer[Symbol.dispose]();
    net[Symbol.dispose]();
    assertEquals(counts(), start, "after disposing of the net");
  });
}

Deno.test("scope: results in arrays and plain objects live on in the enclosing scope", () => {
  const before = counts();
  {
    using _outer = new Scope();
    const { list: [a], deep: { b } } = scope(() => {
      const x = tensor([1, 2]);
      return { list: [x.add(1)], deep: { b: x.mul(3) }, number: 5 };
    });
    assertEquals([a.toArray(), b.toArray()], [[2, 3], [3, 6]]);
  }
  assertEquals(counts(), before);
});

Deno.test("scope: a returned tensor keeps its tape, the others lose theirs", () => {
  const before = counts();
  {
    using _outer = new Scope();
    const x = tensor([2, 3], { dtype: "f32", requiresGrad: true });
    const loss = scope(() => {
      x.exp().sum();
      return x.mul(x).sum();
    });
    loss.backward();
    assertEquals(x.grad!.toArray(), [4, 6]);
    x.dispose();
  }
  assertEquals(counts(), before);
});

Deno.test("scope: a tensor of an outer scope that an inner one returns stays with its owner", () => {
  const before = counts();
  {
    using _outer = new Scope();
    const x = ones([4]);
    for (let i = 0; i < 3; i++) assert(scope(() => x) === x);
    assert(!x.disposed);
  }
  assertEquals(counts(), before);
});

Deno.test("scope: a tensor used after its scope says so", () => {
  const late: Tensor[] = [];
  scope(() => {
    late.push(ones([2]));
  });
  assert(late[0].disposed);
  assertEquals(`${late[0]}`, "tensor(disposed)");
  assertThrows(
    () => late[0].add(1),
    DisposedError,
    "it was made in a scope that has ended; return it from the scope or pass it to keep()",
  );
});

Deno.test("scope: an inner scope that outlives the outer one", () => {
  const before = counts();
  const outer = new Scope();
  const first = ones([2]);
  const inner = new Scope();
  const second = ones([2]);
  outer[Symbol.dispose]();
  assertEquals([first.disposed, second.disposed], [true, false]);
  const third = ones([2]);
  inner[Symbol.dispose]();
  assertEquals([second.disposed, third.disposed], [true, true]);
  assertEquals(counts(), before);
});

Deno.test("scope: a body that returns a promise has its scope until it settles", async () => {
  const before = counts();
  const result = await scope(async () => {
    const x = tensor([1, 2]);
    await Promise.resolve();
    return [x.add(1), x.mul(2).materialize()];
  });
  assertEquals(result.map((x) => x.toArray()), [[2, 3], [2, 4]]);
  for (const x of result) x.dispose();
  await assertRejects(() =>
    scope(async () => {
      ones([2]).materialize();
      await Promise.resolve();
      throw new RangeError("inside");
    }), RangeError);
  assertEquals(counts(), before);
});

Deno.test("scope: modules free their intermediates under noGrad", () => {
  const net = nn.sequential(
    nn.linear(8, 16),
    nn.relu(),
    nn.sequential(nn.linear(16, 16), nn.tanh()),
    nn.linear(16, 2),
  );
  const x = randn([4, 8]);
  const before = counts();
  const y = noGrad(() => net.forward(x) as Tensor).materialize();
  assertEquals(counts().tensors, before.tensors + 1);
  assertEquals(counts().bytes, before.bytes + 4 * 2 * 4);
  y.dispose();
  const same = noGrad(() => nn.identity().forward(x));
  assert(!same.disposed);
  assertEquals(counts(), before);
});

Deno.test("scope: outside of every scope, a backward pass leaves nothing but the gradients", () => {
  const x = randn([4, 8]).materialize();
  const net = nn.sequential(nn.linear(8, 4), nn.tanh(), nn.linear(4, 1));
  const run = () => {
    const loss = (net.forward(x) as Tensor).sum().materialize();
    const before = memory().tensors;
    loss.backward();
    return memory().tensors - before;
  };
  assertEquals(run(), net.parameters().length);
  assertEquals(run(), 0, "gradients are added up in place");
  const y = ones([3], { requiresGrad: true });
  const total = y.mul(y).add(y.exp()).add(y.mul(3)).sum();
  const before = memory().tensors;
  const [grad] = gradients(total, [y]);
  assertEquals(memory().tensors, before + 1);
  grad!.dispose();
});
