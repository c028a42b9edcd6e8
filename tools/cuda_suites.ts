/**
 * The tests that run on a CUDA device: those written for it, and those of the
 * foundation that are the same on every device, with it as the default.
 */

import { filesBelow } from "./files.ts";

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

/** Makes CUDA the default device of the tests that follow it on a command line. */
export const preload = "--preload=tests/cuda_host/preload.ts";

/** Exit code of such a run where there is no CUDA device. */
export const absentCode = 3;

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
