/**
 * Decaf: a deep-learning framework in pure TypeScript.
 *
 * @example
 * ```ts
 * import { fromHost } from "@decaf/decaf";
 *
 * const x = fromHost(new Float32Array([1, 2, 3]), "f32", [3], {
 *   requiresGrad: true,
 * });
 * x.mul(x).sum().backward();
 * if (x.grad!.toArray().toString() !== "2,4,6") throw new Error("d(x²) is 2x");
 * ```
 *
 * @module
 */

import "./devices/cpu/device.ts";
import "./devices/cuda/device.ts";
import "./ops/methods.ts";
import "./data/display.ts";

export * from "./core/mod.ts";
export * from "./ops/functions.ts";
export * from "./ops/creation.ts";
export * from "./ops/random.ts";
export * as nn from "./nn/mod.ts";
export * as optim from "./optim/mod.ts";
export * as data from "./data/mod.ts";
export * as models from "./models/mod.ts";
export * as train from "./train/mod.ts";
export * as dist from "./dist/mod.ts";
export type { TensorMethods } from "./ops/methods.ts";
