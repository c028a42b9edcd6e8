/**
 * TensorFlow.js on its WebAssembly backend.
 *
 * Run: `deno run -A --no-lock bench/peers/tfjs_wasm.ts`
 */

import { noise, report } from "./measure.ts";
import { npmFolder } from "./npm_folder.ts";

// The names are no literals, so that checking this file does not fetch the packages.
const VERSION = "4.22.0";
const BACKEND = "@tensorflow/tfjs-backend-wasm";

// deno-lint-ignore no-explicit-any
type Any = any;

const tf: Any = await import(`npm:@tensorflow/tfjs@${VERSION}`);
const backend: Any = await import(`npm:${BACKEND}@${VERSION}`);
backend.setWasmPaths(`${await npmFolder(BACKEND, VERSION)}/dist/`);
await tf.setBackend("wasm");
await tf.ready();

// Its threads need a browser's workers; in Deno it runs on one.
const threads = 1;

function tensor(...shape: number[]): Any {
  return tf.tensor(noise(shape.reduce((a, b) => a * b, 1)), shape);
}

/** Runs `work`, which computes at once, and releases its results. */
function finish(work: () => Any): void {
  const result = work();
  for (const tensor of [result].flat()) tensor.dispose();
}

await report("matmul 1024, 1 thread", threads, () => {
  const [a, b] = [tensor(1024, 1024), tensor(1024, 1024)];
  return () => finish(() => tf.matMul(a, b));
});

await report("conv forward", threads, () => {
  const [x, w] = [tensor(16, 28, 28, 32), tensor(3, 3, 32, 64)];
  return () => finish(() => tf.conv2d(x, w, 1, "same"));
});

await report("conv forward+backward", threads, () => {
  const [x, w] = [tensor(16, 28, 28, 32), tensor(3, 3, 32, 64)];
  const gradients = tf.grads((x: Any, w: Any) => tf.conv2d(x, w, 1, "same"));
  return () => finish(() => gradients([x, w]));
});

await report("softmax 1024x1024", threads, () => {
  const x = tensor(1024, 1024);
  return () => finish(() => tf.softmax(x));
});

await report("gelu(x*w+b) 1M", threads, () => {
  const [x, w, b] = [0, 1, 2].map(() => tensor(1024 * 1024));
  const gelu = () => {
    const y = x.mul(w).add(b);
    return y.mul(0.5).mul(tf.erf(y.mul(Math.SQRT1_2)).add(1));
  };
  return () => finish(() => tf.tidy(gelu));
});

await report("mlp step", threads, () => {
  const parameters = [
    tf.variable(tensor(784, 256).mul(0.03)),
    tf.variable(tensor(256).mul(0.03)),
    tf.variable(tensor(256, 10).mul(0.06)),
    tf.variable(tensor(10).mul(0.06)),
  ];
  const [w1, b1, w2, b2] = parameters;
  const x = tensor(128, 784);
  const labels = Int32Array.from({ length: 128 }, (_, i) => i % 10);
  const target = tf.oneHot(tf.tensor1d(labels, "int32"), 10);
  const optimizer = tf.train.sgd(0.01);
  const loss = () => {
    const hidden = tf.relu(tf.matMul(x, w1).add(b1));
    return tf.losses.softmaxCrossEntropy(
      target,
      tf.matMul(hidden, w2).add(b2),
    );
  };
  return () => optimizer.minimize(loss, false, parameters);
});

await report("lenet step", threads, () => {
  const [k1, k2, w1, w2] = [
    [5, 5, 1, 20],
    [5, 5, 20, 50],
    [800, 500],
    [500, 10],
  ].map((shape) => tf.variable(tensor(...shape).mul(0.04)));
  const x = tensor(64, 28, 28, 1);
  const labels = Int32Array.from({ length: 64 }, (_, i) => i % 10);
  const target = tf.oneHot(tf.tensor1d(labels, "int32"), 10);
  const optimizer = tf.train.momentum(0.01, 0.9);
  const loss = () => {
    const one = tf.maxPool(tf.conv2d(x, k1, 1, "valid"), 2, 2, "valid");
    const two = tf.maxPool(tf.conv2d(one, k2, 1, "valid"), 2, 2, "valid");
    const hidden = tf.relu(tf.matMul(two.reshape([64, 800]), w1));
    return tf.losses.softmaxCrossEntropy(target, tf.matMul(hidden, w2));
  };
  return () => optimizer.minimize(loss, false, [k1, k2, w1, w2]);
});

await report("add 32 floats x1000", threads, () => {
  const [x, y] = [tensor(32), tensor(32)];
  return () =>
    tf.tidy(() => {
      let z = y;
      for (let i = 0; i < 1000; i++) z = tf.add(z, x);
      return z.dataSync()[0];
    });
});

Deno.exit(0);
