/**
 * Makes CUDA the default device of the tests that come after: `deno test
 * --preload=tests/cuda_host/preload.ts …`. On the stand-in libraries, or with
 * DECAF_TEST_CUDA=real on a GPU. Where there is neither, nothing is run.
 */

import { setDefaultDevice } from "../../mod.ts";
import { cudaForTests } from "./device.ts";

const cuda = await cudaForTests();
if (cuda.absent !== undefined) {
  console.error(`There is no CUDA device to test on: ${cuda.absent}`);
  Deno.exit(3);
}
setDefaultDevice("cuda");
