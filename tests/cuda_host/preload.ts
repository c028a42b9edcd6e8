/**
 * Makes CUDA the default device of the tests that come after: `deno test
 * --preload=tests/cuda_host/preload.ts …`. On the stand-in libraries, or with
 * DECAF_TEST_CUDA=real on a GPU. Where that does not work, no test is run:
 * after a preload that throws they would run, on the CPU. As a program it ends
 * with 3 where there is no device, and with 1 where it fails to open.
 */

import { setDefaultDevice } from "../../mod.ts";
import { cudaForTests } from "./device.ts";

const { absent } = await cudaForTests();
if (absent !== undefined) end(3, absent);
try {
  setDefaultDevice("cuda");
} catch (error) {
  end(1, (error as Error).message);
}

function end(code: number, why: string): never {
  console.error(`There is no CUDA device to test on: ${why}`);
  Deno.exit(code);
}
