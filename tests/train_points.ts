/** A small training: points in the plane, a network, and the options of fit. */

import "../mod.ts";
import { manualSeed } from "../core/random.ts";
import { arrayDataset, type Batch, type Dataset } from "../data/mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import type { FitOptions } from "../train/fit_options.ts";

/** Points in the plane: class 1 above the line y = x. */
function points(count: number, seed: number): Dataset<Batch> {
  const at = (i: number) => ((i + 1 + seed * 977) * 0.6180339887498949) % 1;
  const inputs = Float32Array.from({ length: 2 * count }, (_, i) => {
    const place = Math.floor(i / 2);
    return i % 2 === 0 ? at(place) * 2 - 1 : at(place * 7 + 3) * 2 - 1;
  });
  const targets = Int32Array.from(
    { length: count },
    (_, i) => Number(inputs[2 * i + 1] > inputs[2 * i]),
  );
  return arrayDataset(
    { data: inputs, shape: [count, 2], dtype: "f32" },
    { data: targets, shape: [count], dtype: "i32" },
  );
}

/** The network that learns, always the same. */
export function network(): nn.Sequential {
  manualSeed(11);
  return nn.sequential(
    nn.linear(2, 16),
    nn.relu(),
    nn.dropout(0.1),
    nn.linear(16, 2),
  );
}

/** What is learned, and what it is tested on. */
export const data = { train: points(200, 1), test: points(60, 2) };

interface Run {
  readonly model: nn.Sequential;
  readonly options: FitOptions;
}

/** A network and the options of a short training. */
export function setUp(options: Partial<FitOptions> = {}): Run {
  const model = network();
  const optimizer = optim.adam(model, { lr: 0.02 });
  return {
    model,
    options: { optimizer, epochs: 3, batchSize: 16, seed: 5, ...options },
  };
}

/** All parameters and buffers to the bit, as text. */
export function weightsOf(model: nn.Module): string {
  return Object.entries(model.stateDict()).map(([name, t]) =>
    `${name} ${new Uint8Array((t.data() as Float32Array).buffer).toHex()}`
  ).join("\n");
}
