/**
 * jax-js on its WebAssembly backend.
 *
 * Run: `deno run -A --no-lock bench/peers/jax_js.ts`
 */

import { noise, report } from "./measure.ts";

// The name is no literal, so that checking this file does not fetch the package.
const PACKAGE = "npm:@jax-js/jax@0.1.25";

// deno-lint-ignore no-explicit-any
type Any = any;

const jax: Any = await import(PACKAGE);
const { numpy: np, nn, lax, tree } = jax;
await jax.init("wasm");
jax.defaultDevice("wasm");

const threads = 2;

function tensor(...shape: number[]): Any {
  return np.array(noise(shape.reduce((a, b) => a * b, 1))).reshape(shape);
}

/** Waits for a result and releases it. */
async function finish(result: Any): Promise<void> {
  await jax.blockUntilReady(result);
  for (const leaf of tree.leaves(result)) leaf.dispose();
}

await report("matmul 1024, 2 threads", threads, () => {
  const [a, b] = [tensor(1024, 1024), tensor(1024, 1024)];
  return () => finish(np.matmul(a.ref, b.ref));
});

function conv(x: Any, w: Any): Any {
  return lax.convGeneralDilated(x, w, [1, 1], "SAME");
}

await report("conv forward", threads, () => {
  const [x, w] = [tensor(16, 32, 28, 28), tensor(64, 32, 3, 3)];
  return () => finish(conv(x.ref, w.ref));
});

await report("conv forward+backward", threads, () => {
  const [x, w] = [tensor(16, 32, 28, 28), tensor(64, 32, 3, 3)];
  const gradient = jax.jit(
    jax.grad(({ x, w }: Any) => np.sum(conv(x, w))),
  );
  return () => finish(gradient({ x: x.ref, w: w.ref }));
});

await report("softmax 1024x1024", threads, () => {
  const x = tensor(1024, 1024);
  const softmax = jax.jit((x: Any) => nn.softmax(x, -1));
  return () => finish(softmax(x.ref));
});

await report("gelu(x*w+b) 1M", threads, () => {
  const [x, w, b] = [0, 1, 2].map(() => tensor(1024 * 1024));
  const fused = jax.jit((x: Any, w: Any, b: Any) =>
    nn.gelu(np.add(np.multiply(x, w), b), { approximate: false })
  );
  return () => finish(fused(x.ref, w.ref, b.ref));
});

/** Mean cross entropy of logits against one-hot targets. */
function crossEntropy(logits: Any, target: Any, batch: number): Any {
  return np.sum(nn.logSoftmax(logits, -1).mul(target)).mul(-1 / batch);
}

function oneHot(batch: number): Any {
  const labels = Int32Array.from({ length: batch }, (_, i) => i % 10);
  return nn.oneHot(np.array(labels), 10);
}

await report("mlp step", threads, () => {
  let parameters: Any = {
    w1: tensor(784, 256).mul(0.03),
    b1: tensor(256).mul(0.03),
    w2: tensor(256, 10).mul(0.06),
    b2: tensor(10).mul(0.06),
  };
  const [x, target] = [tensor(128, 784), oneHot(128)];
  const loss = (p: Any, x: Any, target: Any) => {
    const hidden = nn.relu(np.matmul(x, p.w1).add(p.b1));
    return crossEntropy(np.matmul(hidden, p.w2).add(p.b2), target, 128);
  };
  const step = jax.jit((p: Any, x: Any, target: Any) => {
    const gradients = jax.grad(loss)(tree.ref(p), x, target);
    return tree.map((p: Any, g: Any) => p.sub(g.mul(0.01)), p, gradients);
  });
  return async () => {
    parameters = step(parameters, x.ref, target.ref);
    await jax.blockUntilReady(tree.ref(parameters));
  };
});

await report("lenet step", threads, () => {
  let state: Any = {
    p: {
      k1: tensor(20, 1, 5, 5).mul(0.2),
      c1: tensor(1, 20, 1, 1).mul(0.2),
      k2: tensor(50, 20, 5, 5).mul(0.04),
      c2: tensor(1, 50, 1, 1).mul(0.04),
      w1: tensor(800, 500).mul(0.03),
      b1: tensor(500).mul(0.03),
      w2: tensor(500, 10).mul(0.04),
      b2: tensor(10).mul(0.04),
    },
  };
  state.v = tree.map((p: Any) => np.zerosLike(p), tree.ref(state.p));
  const [x, target] = [tensor(64, 1, 28, 28), oneHot(64)];
  const pool = (x: Any, channels: number, side: number) =>
    np.max(
      np.max(x.reshape([64, channels, side, 2, side, 2]), 5),
      3,
    );
  const valid = (x: Any, w: Any) =>
    lax.convGeneralDilated(x, w, [1, 1], "VALID");
  const loss = (p: Any, x: Any, target: Any) => {
    const one = pool(valid(x, p.k1).add(p.c1), 20, 12);
    const two = pool(valid(one, p.k2).add(p.c2), 50, 4);
    const hidden = nn.relu(np.matmul(two.reshape([64, 800]), p.w1).add(p.b1));
    return crossEntropy(np.matmul(hidden, p.w2).add(p.b2), target, 64);
  };
  const step = jax.jit(({ p, v }: Any, x: Any, target: Any) => {
    const gradients = jax.grad(loss)(tree.ref(p), x, target);
    const moved = tree.map((v: Any, g: Any) => v.mul(0.9).add(g), v, gradients);
    return {
      p: tree.map((p: Any, v: Any) => p.sub(v.mul(0.01)), p, tree.ref(moved)),
      v: moved,
    };
  });
  return async () => {
    state = step(state, x.ref, target.ref);
    await jax.blockUntilReady(tree.ref(state));
  };
});

await report("add 32 floats x1000", 1, () => {
  const [x, y] = [tensor(32), tensor(32)];
  return () => {
    let z = y.ref;
    for (let i = 0; i < 1000; i++) z = np.add(z, x.ref);
    return z.dataSync()[0];
  };
});

Deno.exit(0);
