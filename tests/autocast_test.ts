/** Autocast: dtypes, losses and gradients as PyTorch has them, and what it converts. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  autocast,
  autocastRules,
  batchNorm,
  concat,
  conv,
  crossEntropy,
  exp,
  gradients,
  linear,
  matmul,
  maxPool,
  memory,
  noGrad,
  ones,
  operators,
  optim,
  recompute,
  relu,
  reshape,
  scope,
  sum,
  Tensor,
  tensor,
} from "../mod.ts";
import { isFloat } from "../core/dtype.ts";
import { argumentsOf } from "./golden/samples.ts";
import golden from "./golden/precision/precision.json" with { type: "json" };
import { numbers } from "./precision_cases.ts";

function mlp(x: Tensor, w: Tensor[]): Tensor {
  return linear(relu(linear(x, w[0], w[1])), w[2], w[3]);
}

function convnet(x: Tensor, w: Tensor[]): Tensor {
  const h = maxPool(relu(conv(x, w[0], w[1])), 2);
  return linear(reshape(h, [h.shape[0], -1]), w[2], w[3]);
}

const nets = {
  mlp: { net: mlp, x: [4, 6], w: [[8, 6], [8], [3, 8], [3]] },
  convnet: {
    net: convnet,
    x: [2, 2, 8, 8],
    w: [[3, 2, 3, 3], [3], [4, 27], [4]],
  },
};

function assertNear(
  actual: ArrayLike<number>,
  expected: readonly number[],
  bound: number,
  what: string,
): void {
  assertEquals(actual.length, expected.length, what);
  const most = Math.max(...expected.map(Math.abs));
  expected.forEach((e, i) => {
    assert(
      Math.abs(actual[i] - e) <= bound * most,
      `${what}: element ${i} is ${actual[i]}, PyTorch has ${e}`,
    );
  });
}

const names: Record<string, string> = { f32: "float32", bf16: "bfloat16" };

for (const name of ["mlp", "convnet"] as const) {
  Deno.test(`autocast of ${name} in bf16 is PyTorch's: dtypes, loss, gradients`, () => {
    const before = memory().tensors;
    scope(() => {
      const { net, x, w } = nets[name];
      const expected = golden.nets[name];
      const weights = w.map((shape, i) => {
        const tensor = numbers(shape, i + 1);
        tensor.requiresGrad = true;
        return tensor;
      });
      const classes = w[w.length - 1][0];
      const labels = tensor(
        Array.from({ length: x[0] }, (_, i) => i % classes),
        { dtype: "i64" },
      );
      const { y, loss } = autocast("bf16", () => {
        const y = net(numbers(x, 0.3, 1), weights);
        return { y, loss: crossEntropy(y, labels) };
      });
      assertEquals(names[y.dtype], expected.dtype);
      assertEquals(names[loss.dtype], expected.lossDtype);
      assertNear(y.data() as Float32Array, expected.output, 1e-2, "output");
      assertNear([loss.item()], [expected.loss], 1e-2, "loss");
      gradients(loss, weights).forEach((g, i) => {
        assertEquals(names[g!.dtype], expected.gradientDtypes[i]);
        assertNear(
          g!.data() as Float32Array,
          expected.gradients[i],
          3e-2,
          `gradient ${i}`,
        );
      });
    });
    assertEquals(memory().tensors, before);
  });
}

/** What PyTorch's names are called here where they are not the same words; those of "" are no operators. */
const called: Record<string, string> = {
  "conv1d conv2d conv3d convolution _convolution": "conv",
  "conv_transpose1d conv_transpose2d conv_transpose3d": "convTranspose",
  "mm mv": "matmul",
  "bmm": "batchMatmul",
  "lstm_cell _thnn_fused_lstm_cell": "lstm",
  "gru_cell _thnn_fused_gru_cell": "gru",
  "rnn_tanh_cell rnn_relu_cell": "rnn",
  "_scaled_dot_product_flash_attention": "flashAttention",
  "cumprod": "cumProd",
  "cumsum": "cumSum",
  "logsumexp": "logSumExp",
  "nll_loss2d": "nllLoss",
  "native_layer_norm": "layerNorm",
  "frobenius_norm linalg_vector_norm": "norm",
  "grid_sampler": "gridSample",
  "conv_tbc addmm addmv addr addbmm baddbmm chain_matmul": "",
  "linalg_vecdot linalg_multi_dot linalg_matrix_norm nuclear_norm": "",
  "multilabel_margin_loss dist pdist cdist renorm": "",
  "cross vdot index_put tensordot": "",
};

Deno.test("PyTorch's lists of operators for autocast on CUDA are kept", async () => {
  const names = new Map(
    Object.entries(called).flatMap(([theirs, ours]) =>
      theirs.split(" ").map((name) => [name, ours])
    ),
  );
  const file = new URL("./golden/names/autocast.txt", import.meta.url);
  const [, ...lists] = (await Deno.readTextFile(file)).trim().split("\n");
  let compared = 0;
  for (const list of lists) {
    const [rule, ...theirs] = list.split(" ");
    for (const name of theirs) {
      const ours = name.includes("upsample")
        ? "interpolate"
        : names.get(name) ??
          name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
      if (ours === "") continue;
      assert(operators().has(ours), `${name}: there is no ${ours}`);
      assertEquals(autocastRules.get(ours), rule, `${name}, here ${ours}`);
      compared++;
    }
  }
  assert(compared > 75, `${compared}`);
});

Deno.test("every operator runs under autocast, its rule decides its type, and gradients have their operand's dtype", () => {
  for (const name of autocastRules.keys()) {
    assert(operators().has(name), `there is a rule for ${name}, which is none`);
  }
  const before = memory().tensors;
  for (const dtype of ["bf16", "f16"] as const) {
    for (const [name, info] of operators()) {
      for (const sample of info.samples.slice(0, 3)) {
        scope(() => {
          const made = new Map<Tensor, { dtype: string; grad: boolean }>();
          const args = argumentsOf(sample, made as never);
          const dtypes = new Set([...made.values()].map((s) => s.dtype));
          if (!dtypes.has("f32")) return;
          const leaves = [...made].filter(([x, s]) =>
            s.grad && isFloat(x.dtype)
          ).map(([x]) => x);
          for (const leaf of leaves) leaf.requiresGrad = true;
          const result = autocast(dtype, () => info.call(...args));
          const outputs = (Array.isArray(result) ? result : [result])
            .filter((y) => y instanceof Tensor && isFloat(y.dtype)) as Tensor[];
          const rule = autocastRules.get(name);
          const only = !dtypes.has("f64");
          if (only && rule === "low" && outputs.length > 0) {
            assertEquals(outputs[0].dtype, dtype, name);
          }
          if (only && rule === "f32" && outputs.length > 0) {
            assertEquals(outputs[0].dtype, "f32", name);
          }
          const learned = outputs.filter((y) => y.requiresGrad);
          if (learned.length === 0 || leaves.length === 0) return;
          const total = learned.map((y) => sum((y as Tensor).cast("f32")))
            .reduce((a, b) => a.add(b));
          gradients(total, leaves).forEach((g, i) => {
            if (g !== undefined) {
              assertEquals(g.dtype, leaves[i].dtype, `gradient of ${name}`);
              g.data();
            }
          });
        });
      }
    }
  }
  assertEquals(memory().tensors, before);
});

Deno.test("autocast converts a parameter once, leaves f64 alone, ends at f32 and at its end", () => {
  scope(() => {
    const w = tensor([[1, 2], [3, 4]], { requiresGrad: true });
    const x = ones([1, 2]);
    let casts = 0;
    const seen = new Set<unknown>();
    autocast("bf16", () => {
      const y = linear(linear(x, w), w);
      assertEquals(y.dtype, "bf16");
      for (const edge of y.node!.edges) {
        if (edge?.node?.name === "cast" && !seen.has(edge.node)) {
          seen.add(edge.node);
          casts++;
        }
      }
      assertEquals(exp(y).dtype, "f32");
      assertEquals(concat([y, x]).dtype, "f32");
      assertEquals(matmul(x.cast("f64"), w.cast("f64")).dtype, "f64");
      assertEquals(autocast("f32", () => linear(x, w)).dtype, "f32");
      // A parameter that was converted without a gradient is converted anew with one.
      assertEquals(noGrad(() => linear(x, w)).requiresGrad, false);
      assertEquals(linear(x, w).requiresGrad, true);
      // Recomputed in the backward pass, it computes as before.
      const [g] = gradients(
        sum(recompute((x) => {
          const z = linear(x, w);
          assertEquals(z.dtype, "bf16");
          return z;
        }, x)),
        [w],
      );
      assertEquals(g!.dtype, "f32");
    });
    assertEquals(casts, 1);
    assertEquals(linear(x, w).dtype, "f32");
    assertThrows(
      () => autocast("half" as "f16", () => 0),
      RangeError,
      "Cannot compute in mixed precision with half: there is bf16, f16",
    );
  });
});

Deno.test("autocast refuses an asynchronous body, and has ended by then", async () => {
  const body = async () => {
    await Promise.resolve();
    throw new Error("what becomes of the body is not told");
  };
  assertThrows(
    () => autocast("bf16", body),
    TypeError,
    "Cannot run an asynchronous body in mixed precision",
  );
  scope(() => assertEquals(linear(ones([1, 2]), ones([2, 2])).dtype, "f32"));
  await new Promise((done) => setTimeout(done, 0));
});

Deno.test("batch normalisation under autocast takes 16 bits with f32 statistics, and gives 16 bits", () => {
  scope(() => {
    for (const training of [true, false]) {
      const x = numbers([4, 3, 2, 2], 0.5).cast("bf16").detach();
      const w = numbers([3], 1), b = numbers([3], 2);
      for (const leaf of [x, w, b]) leaf.requiresGrad = true;
      const mean = numbers([3], 3), variance = ones([3]);
      const y = autocast(
        "bf16",
        () => batchNorm(x, mean, variance, w, b, { training }),
      );
      const exact = batchNorm(
        x.cast("f32"),
        numbers([3], 3),
        ones([3]),
        w,
        b,
        { training },
      );
      assertEquals(y.dtype, "bf16");
      assertNear(
        y.data() as Float32Array,
        [...exact.data() as Float32Array],
        1e-2,
        "result",
      );
      const weights = numbers([4, 3, 2, 2], 7).add(0.7);
      const found = gradients(sum(y.cast("f32").mul(weights)), [x, w, b]);
      const wanted = gradients(sum(exact.mul(weights)), [x, w, b]);
      assertEquals(found.map((g) => g!.dtype), ["bf16", "f32", "f32"]);
      found.forEach((g, i) =>
        assertNear(
          g!.data() as Float32Array,
          [...wanted[i]!.data() as Float32Array],
          3e-2,
          `gradient ${i}`,
        )
      );
    }
  });
});

Deno.test("autocast converts a parameter again after an update", () => {
  const w = tensor([[1, 2], [3, 4]], { requiresGrad: true });
  using optimizer = optim.sgd([w], { lr: 1 });
  scope(() =>
    autocast("bf16", () => {
      const x = tensor([[1, 1]]);
      assertEquals(x.matmul(w).toArray(), [[4, 6]]);
      // Its gradient comes another way, so that the product's tape is still there.
      w.mul(1).sum().backward();
      optimizer.step();
      assertEquals(w.toArray(), [[0, 1], [2, 3]]);
      assertEquals(x.matmul(w).toArray(), [[2, 4]]);
    })
  );
  w.dispose();
});
