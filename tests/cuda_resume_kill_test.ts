/**
 * A training on CUDA, on the stand-ins: killed and resumed it ends with the
 * bits of an unbroken one, and the same seed gives the same bits twice.
 */

import { assert, assertEquals } from "@std/assert";
import { readMetrics } from "../train/run_log.ts";
import { decaf, inFolder, writeDigits } from "./cli_helpers.ts";
import { cudaHost } from "./cuda_host/mod.ts";
import { compare, contentOf } from "./resume_kill.ts";

const host = await cudaHost();

function test(name: string, fn: (folder: string) => Promise<void>): void {
  const { absent } = host;
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent})`,
    ignore: absent !== undefined,
    fn: () =>
      inFolder(async (folder) => {
        await writeDigits(`${folder}/digits`, {
          train: 96,
          test: 16,
          size: 16,
        });
        await fn(folder);
      }),
  });
}

for (
  const [how, flags] of [["plain", []], ["captured", ["--graph"]]] as const
) {
  test(`resume: on cuda a perceptron that learns by ${how} steps and is killed at random moments ends with the same bits`, (folder) =>
    compare(folder, [
      ...["train", "mnist", `${folder}/digits`, "--model", "mlp"],
      ...["--hidden", "24", "--batch-size", "8", "--epochs", "6"],
      ...["--device", "cuda", "--ema", "0.9", "--clip-norm", "1", ...flags],
    ], 4));
}

/** Trains a LeNet for an epoch; its losses, and the weights. */
async function lenet(folder: string, run: string, ...more: string[]) {
  const path = `${folder}/${run}`;
  const { code, stderr } = await decaf([
    ...["train", "mnist", `${folder}/digits`, "--model", "lenet"],
    ...["--batch-size", "16", "--epochs", "1", "--log-every", "1"],
    ...["--no-curve", "--run", path, ...more],
  ]);
  assertEquals(code, 0, stderr);
  const losses = (await readMetrics(path)).flatMap((line) => {
    const loss = (line as unknown as Record<string, number>)["train/loss"];
    return loss === undefined ? [] : [loss];
  });
  return { losses, weights: await contentOf(`${path}/model.safetensors`) };
}

test("train: LeNet on cuda, on auto and as a graph reaches the losses of the CPU, and the same bits twice", async (folder) => {
  const cpu = await lenet(folder, "cpu", "--device", "cpu");
  assert(cpu.losses.length >= 6, `${cpu.losses}`);
  const cuda = await lenet(folder, "cuda", "--device", "cuda");
  assertEquals(cuda.losses.length, cpu.losses.length);
  cuda.losses.forEach((loss, i) =>
    assert(
      Math.abs(loss - cpu.losses[i]) <= 1e-3 * Math.max(1, cpu.losses[i]),
      `${cuda.losses} instead of ${cpu.losses}`,
    )
  );
  for (
    const [run, flags] of Object.entries({
      auto: ["--device", "auto"],
      graph: ["--device", "cuda", "--graph"],
    })
  ) {
    const { losses, weights } = await lenet(folder, run, ...flags);
    assertEquals(losses, cuda.losses, run);
    assertEquals(weights, cuda.weights, run);
  }
});
