/**
 * The CUDA device that tests run on: the stand-in libraries, or with
 * DECAF_TEST_CUDA=real the ones that this machine has.
 */

import { assertEquals } from "@std/assert";
import { memory, setDefaultDevice } from "../../mod.ts";
import { type CudaHost, cudaHost } from "./mod.ts";

/** The device, or why there is none. */
export interface TestDevice {
  /** Why there is no device; tests say it in brackets. */
  readonly absent?: string;
  /** The stand-ins' controls; undefined on a real GPU. */
  readonly host?: CudaHost;
}

/** Finds the device; call it once at the top of a test file. */
export async function cudaForTests(): Promise<TestDevice> {
  if (Deno.env.get("DECAF_TEST_CUDA") === "real") return {};
  const host = await cudaHost();
  return host.absent === undefined ? { host } : host;
}

/** Registers a test that needs the device; it is ignored, with the reason, where there is none. */
export function cudaTest(
  device: TestDevice,
  name: string,
  body: () => void | Promise<void>,
): void {
  const { absent, host } = device;
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent})`,
    ignore: absent !== undefined,
    async fn() {
      const before = memory().tensors;
      await body();
      assertEquals(memory().tensors, before, `${name}: live tensors`);
      assertEquals(host?.violations() ?? [], [], `${name}: violations`);
    },
  });
}

/** Runs `body` with CUDA as the default device, and the CPU again after it. */
export function onCuda<T>(body: () => T): T {
  let later = false;
  setDefaultDevice("cuda");
  try {
    const result = body();
    if (!(result instanceof Promise)) return result;
    later = true;
    return result.finally(() => setDefaultDevice("cpu")) as T;
  } finally {
    if (!later) setDefaultDevice("cpu");
  }
}
