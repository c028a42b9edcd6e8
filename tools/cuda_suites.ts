/**
 * The tests that run on a CUDA device: those written for it, and those of the
 * foundation that are the same on every device, with it as the default.
 */

import { filesBelow, ROOT } from "./files.ts";

/** Tests of the foundation that are run once more with CUDA as the default device. */
export const foundationOnCuda: readonly string[] = [
  "tests/operators_test.ts",
  "tests/autograd_test.ts",
  "tests/autograd_custom_test.ts",
  "tests/creation_test.ts",
  "tests/elementwise_test.ts",
  "tests/indexing_test.ts",
  "tests/loss_test.ts",
  "tests/matmul_test.ts",
  "tests/models_zoo_test.ts",
  "tests/nn_golden_test.ts",
  "tests/nn_module_test.ts",
  "tests/normalization_test.ts",
  "tests/optim_methods_test.ts",
  "tests/optim_optimizer_test.ts",
  "tests/random_test.ts",
  "tests/reduction_test.ts",
  "tests/shape_test.ts",
  "tests/sorting_test.ts",
  "tests/train_evaluate_test.ts",
  "tests/train_fit_test.ts",
  "tests/train_stopping_test.ts",
  "tests/update_test.ts",
];

/** Tests written for CUDA. */
function ownOfCuda(): string[] {
  return filesBelow("tests", ["_test.ts"]).filter((path) =>
    path.startsWith("tests/cuda_")
  );
}

const preloaded = "tests/cuda_host/preload.ts";

/** Makes CUDA the default device of the tests that follow it on a command line. */
export const preload = `--preload=${preloaded}`;

/** Why tests cannot have CUDA as their default device. */
export interface NoCuda {
  /** In words. */
  readonly why: string;
  /** Whether that is no fault: this machine has nothing for it. */
  readonly absent: boolean;
}

/**
 * Tries what {@linkcode preload} does; undefined when it works. `deno test`
 * itself does not tell: it goes on after a preload that ends the process.
 *
 * @param env Variables beside those of this process.
 */
export async function tryPreload(
  env: Readonly<Record<string, string>> = {},
): Promise<NoCuda | undefined> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--cached-only", preloaded],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  if (code === 0) return undefined;
  const text = new TextDecoder().decode(stderr).trim();
  const why = /no CUDA device to test on: (.*)/.exec(text)?.[1] ?? text;
  return { why, absent: code === 3 };
}

/** A run of test files. */
export interface CudaSuite {
  readonly name: string;
  readonly files: readonly string[];
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What is run on a machine with a GPU, on the real libraries. */
export function suitesOnGpu(): CudaSuite[] {
  const env = { DECAF_TEST_CUDA: "real" };
  return [
    {
      name: "the foundation on CUDA",
      files: foundationOnCuda,
      flags: [preload],
      env,
    },
    { name: "the CUDA device", files: ownOfCuda(), flags: [], env },
  ];
}
