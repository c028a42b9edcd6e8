/** What is fused, counted in launches: the observer sees each kernel that runs. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
} from "@std/assert";
import {
  add,
  assign,
  explain,
  fromHost,
  gelu,
  gradients,
  memory,
  optim,
  scope,
  type Tensor,
  tensor,
} from "../mod.ts";
import { observer } from "../core/launches.ts";

/** Runs `body` and returns the names of the kernels that it launched over at least `size` positions. */
function launches(body: () => unknown, size = 1): string[] {
  const seen: string[] = [];
  const before = observer.launch;
  observer.launch = (launch) => {
    before?.(launch);
    if (launch.sizes.reduce((a, b) => a * b, 1) >= size) {
      seen.push(launch.name!);
    }
  };
  try {
    body();
  } finally {
    observer.launch = before;
  }
  return seen;
}

function stored(shape: number[], phase = 0): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from(
    { length: size },
    (_, i) => Math.sin(1 + i + phase),
  );
  return fromHost(data, "f32", shape);
}

function live(): number {
  return memory().devices.cpu.liveBytes;
}

function list(x: Tensor): number[] {
  return Array.from(x.data(), Number);
}

function near(actual: Tensor, expected: readonly number[]): void {
  const values = list(actual);
  assertEquals(values.length, expected.length);
  values.forEach((v, i) => assertAlmostEquals(v, expected[i], 1e-5));
}

const isPending = (x: Tensor) => x.value.expression !== undefined;

Deno.test("fusion: gelu(x·w + b) is one kernel and stores only its result", () => {
  scope(() => {
    const x = stored([32, 16]), w = stored([16], 1), b = stored([16], 2);
    const before = live();
    const y = gelu(x.mul(w).add(b));
    assertEquals(live(), before, "memory was taken before anything ran");
    const text = explain(y);
    assertMatch(text, /^f32\[32, 16\] on cpu: pending, one kernel\n/);
    assertEquals(text.match(/^in\d+: f32$/gm)?.length, 3);
    assertEquals(text.match(/^out\d+: /gm)?.length, 1);
    assert(text.includes("erf("), text);
    assertEquals(launches(() => y.materialize()), ["gelu"]);
    assertEquals(live(), before + 32 * 16 * 4);
    assertMatch(explain(y), /stored, strides \[16, 1\]/);
    assertEquals(launches(() => y.data()), []);
    const composed = scope(() =>
      gelu(x.mul(w).materialize().add(b).materialize()).materialize()
    );
    near(y, list(composed));
  });
});

Deno.test("fusion: a reduction takes what is pending into its own kernel", () => {
  scope(() => {
    const x = stored([8, 32]), y = stored([8, 32], 3);
    const before = live();
    const dots = x.mul(y).sub(0.5).sum(1);
    assertEquals(launches(() => dots.materialize()).length, 0, "ran at once");
    assertEquals(live(), before + 8 * 4);
    assertEquals(launches(() => x.mul(y).sub(0.5).sum(1)).length, 1);
    const [a, b] = [x, y].map(list);
    near(
      dots,
      Array.from(
        { length: 8 },
        (_, r) =>
          a.slice(32 * r, 32 * r + 32)
            .reduce((s, v, i) => s + v * b[32 * r + i] - 0.5, 0),
      ),
    );
  });
});

Deno.test("fusion: the backward pass of a chain is one kernel per gradient", () => {
  scope(() => {
    const x = stored([64]);
    x.requiresGrad = true;
    const w = stored([64], 1);
    const names = launches(() => {
      const loss = gelu(x.mul(w).add(1)).sum();
      gradients(loss, [x])[0]!.materialize();
    }, 64);
    assertEquals(names, ["sum", "mul gradient"]);
  });
});

Deno.test("fusion: a heavy value used by many kernels is stored, a cheap one is not", () => {
  scope(() => {
    const x = stored([128]);
    const before = live();
    const heavy = x.exp(), cheap = x.mul(2);
    for (let use = 1; use <= 3; use++) {
      scope(() => {
        heavy.add(use).materialize();
        cheap.add(use).materialize();
      });
      assert(isPending(cheap));
      assertEquals(isPending(heavy), use < 3, `after ${use} uses`);
    }
    assertEquals(live(), before + 128 * 4);
    const names = launches(() => heavy.add(4).materialize());
    assertEquals(names, ["add"]);
    near(heavy, list(x).map(Math.exp));
  });
});

Deno.test("fusion: a value used twice in one kernel is one subexpression", () => {
  scope(() => {
    const x = stored([16]);
    const e = x.exp();
    const y = e.mul(e.add(1)).div(e);
    assertEquals(launches(() => y.materialize()).length, 1);
    assert(isPending(e));
    near(y, list(x).map((v) => Math.exp(v) + 1));
  });
});

Deno.test("fusion: a pending value that is broadcast is computed once", () => {
  scope(() => {
    const row = stored([16]), x = stored([32, 16], 2);
    const scale = row.exp().add(1);
    const y = x.mul(scale);
    const names = launches(() => y.materialize());
    assertEquals(names, ["add", "mul"]);
    assert(!isPending(scale));
    const [r, v] = [row, x].map(list);
    near(y, v.map((value, i) => value * (Math.exp(r[i % 16]) + 1)));
  });
});

Deno.test("fusion: constants cost no launch and no memory", () => {
  scope(() => {
    const x = stored([16]);
    const before = live();
    const y = add(x, tensor(3).expand([16])).mul(0).add(7);
    assertEquals(launches(() => y.materialize()).length, 1);
    assertEquals(live() - before <= 16 * 4 + 8, true);
    near(y, Array(16).fill(7));
  });
});

Deno.test("fusion: more operands than a kernel reads are split", () => {
  scope(() => {
    const parts = Array.from({ length: 40 }, (_, i) => stored([8], i));
    const total = parts.reduce((a, b) => a.add(b));
    const names = launches(() => total.materialize());
    assert(names.length < 8, names.join());
    near(
      total,
      Array.from(
        { length: 8 },
        (_, k) => parts.reduce((s, p) => s + list(p)[k], 0),
      ),
    );
  });
});

Deno.test("fusion: readers that are pending see the values from before an update", () => {
  const change: Record<string, (w: Tensor) => void> = {
    assign: (w) => assign(w, tensor([100, 200], { dtype: "f32" })),
    sgd: (w) => {
      w.grad = tensor([98, 197], { dtype: "f32" }).neg();
      optim.sgd([w], { lr: 1 }).step();
    },
  };
  for (const [name, overwrite] of Object.entries(change)) {
    const w = tensor([2, 3], { dtype: "f32", requiresGrad: true });
    const doubled = w.detach().mul(2);
    const chained = doubled.add(w.detach().exp());
    overwrite(w);
    assertEquals(w.toArray(), [100, 200], name);
    assertEquals(doubled.toArray(), [4, 6], name);
    near(chained, [4 + Math.exp(2), 6 + Math.exp(3)]);
    assertEquals(w.detach().mul(2).toArray(), [200, 400], name);
    w.dispose();
  }
});

Deno.test("fusion: views see the values from before an update", () => {
  const w = tensor([2, 3], { dtype: "f32", requiresGrad: true });
  const cut = w.detach();
  const view = cut.reshape([2, 1]);
  cut.dispose(); // only the memory is shared now
  w.grad = tensor([1, 1], { dtype: "f32" });
  optim.sgd([w], { lr: 1 }).step();
  assertEquals(w.toArray(), [1, 2]);
  assertEquals(view.toArray(), [[2], [3]]);
});

Deno.test("fusion: an update whose operand reads its target sees one state", () => {
  const w = tensor([2, 3], { dtype: "f32", requiresGrad: true });
  w.grad = w.detach().mul(w.detach());
  const optimizer = optim.sgd([w], { lr: 0.5 });
  optimizer.step();
  assertEquals(w.toArray(), [0, -1.5]);
  // Without other owners the update is in place.
  const other = tensor([1, 1], { dtype: "f32", requiresGrad: true });
  other.grad = tensor([1, 2], { dtype: "f32" });
  const { address } = other.value.storage;
  optim.sgd([other], { lr: 0.5 }).step();
  assertEquals(other.toArray(), [0.5, 0]);
  assertEquals(other.value.storage.address, address);
});
