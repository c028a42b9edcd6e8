/**
 * onnxruntime-web on its WebAssembly backend; single operators, for it does not
 * train.
 *
 * Run: `deno run -A --no-lock bench/peers/ort_web.ts THREADS`
 */

import { noise, report } from "./measure.ts";
import { onnxModel } from "./onnx_model.ts";

// The name is no literal, so that checking this file does not fetch the package.
const PACKAGE = "npm:onnxruntime-web@1.30.0";

// deno-lint-ignore no-explicit-any
type Any = any;

const threads = Number(Deno.args[0] ?? 1);
const ort: Any = await import(PACKAGE);
ort.env.wasm.numThreads = threads;
ort.env.logLevel = "error";

/** Prepares a session and its inputs; what is returned runs it once. */
async function session(
  nodes: Parameters<typeof onnxModel>[0],
  inputs: Record<string, number[]>,
  output: [string, number[]],
): Promise<() => Promise<unknown>> {
  const model = onnxModel(nodes, inputs, output);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    intraOpNumThreads: threads,
  });
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, new ort.Tensor("float32", noise(size), shape)];
    }),
  );
  return () => session.run(feeds);
}

await report(
  threads === 1 ? "matmul 1024, 1 thread" : "matmul 1024, 2 threads",
  threads,
  () =>
    session(
      [{ op: "MatMul", inputs: ["a", "b"], outputs: ["y"] }],
      { a: [1024, 1024], b: [1024, 1024] },
      ["y", [1024, 1024]],
    ),
);

if (threads === 2) {
  await report("conv forward", threads, () =>
    session(
      [{
        op: "Conv",
        inputs: ["x", "w"],
        outputs: ["y"],
        ints: { pads: [1, 1, 1, 1] },
      }],
      { x: [16, 32, 28, 28], w: [64, 32, 3, 3] },
      ["y", [16, 64, 28, 28]],
    ));

  await report("softmax 1024x1024", threads, () =>
    session(
      [{ op: "Softmax", inputs: ["x"], outputs: ["y"] }],
      { x: [1024, 1024] },
      ["y", [1024, 1024]],
    ));

  const size = [1024 * 1024];
  await report("gelu(x*w+b) 1M", threads, () =>
    session(
      [
        { op: "Mul", inputs: ["x", "w"], outputs: ["p"] },
        { op: "Add", inputs: ["p", "b"], outputs: ["s"] },
        { op: "Gelu", inputs: ["s"], outputs: ["y"] },
      ],
      { x: size, w: size, b: size },
      ["y", size],
    ));
}

Deno.exit(0);
