/** The network that tests of fit train on CUDA: with running statistics and random numbers. */

import { manualSeed, nn } from "../mod.ts";

/** Six numbers to three classes, always the same. */
export function net(): nn.Sequential {
  manualSeed(3);
  return nn.sequential(
    nn.linear(6, 8),
    nn.batchNorm1d(8),
    nn.relu(),
    nn.dropout(0.25),
    nn.linear(8, 3),
  );
}
