/**
 * Trainings that are killed at random moments and resumed end with the bits of
 * an unbroken one: weights, optimizer, logs.
 */

import { inFolder, writeDigits, writeText } from "./cli_helpers.ts";
import { compare } from "./resume_kill.ts";

Deno.test("resume: a perceptron killed at random moments ends with the same bits", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/digits`);
    await compare(folder, [
      ...["train", "mnist", `${folder}/digits`, "--model", "mlp"],
      ...["--hidden", "24", "--batch-size", "16", "--epochs", "6"],
      ...["--ema", "0.9", "--clip-norm", "1"],
    ], 5);
  });
});

Deno.test("resume: a transformer with dropout killed at random moments ends with the same bits", async () => {
  await inFolder(async (folder) => {
    await writeText(`${folder}/text.txt`, 3000);
    await compare(folder, [
      ...["train", "text", `${folder}/text.txt`, "--model", "gpt"],
      ...["--layers", "1", "--heads", "2", "--width", "8", "--context", "16"],
      ...["--dropout", "0.2", "--batch-size", "8", "--epochs", "3"],
      ...["--warmup", "5", "--sample-length", "20", "--patience", "9"],
      ...["--epoch-windows", "168"],
    ], 4);
  });
});
