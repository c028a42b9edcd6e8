/**
 * Asks the real cuDNN for plans whose kernels it compiles itself. It hands them
 * to the driver when a plan is finalized: a process of its own has one that
 * accepts everything.
 *
 * @module
 */

import { assert } from "@std/assert";
import { dirname } from "@std/path";
import { realCudnn } from "./cudnn_devices.ts";

let folder: string | undefined;
let absent: string | undefined;

/** Builds the driver that accepts everything; why that is impossible, otherwise. */
export async function noDriver(): Promise<string | undefined> {
  if (folder !== undefined) return absent;
  const made = folder = await Deno.makeTempDir();
  addEventListener("unload", () => Deno.removeSync(made, { recursive: true }));
  if (Deno.build.os !== "linux") return absent = "only on Linux";
  const source = new URL("cuda_host/accepting_driver.cc", import.meta.url);
  const name = "libcuda.so.1";
  try {
    const { success, stderr } = await new Deno.Command("g++", {
      args: [
        ...["-O1", "-shared", "-fPIC", "-nostdlib"],
        `-Wl,-soname,${name}`,
        "-o",
        `${folder}/${name}`,
        source.pathname,
      ],
      stdout: "null",
      stderr: "piped",
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return absent = "there is no g++";
    }
    throw error;
  }
}

/** The lines that a module of this folder prints in a process with that driver. */
export async function askFused(
  module: string,
  ...args: string[]
): Promise<string[]> {
  const cudnn = realCudnn();
  if ("absent" in cudnn) throw new Error(cudnn.absent);
  const own = new URL(module, import.meta.url).pathname;
  const { LD_LIBRARY_PATH: path = "" } = Deno.env.toObject();
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", own, ...args],
    env: {
      LD_LIBRARY_PATH: `${folder}:${dirname(cudnn.path)}:${path}`,
      DECAF_LIBCUDNN: cudnn.path,
    },
    stdout: "piped",
    stderr: "piped",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim().split("\n");
}
