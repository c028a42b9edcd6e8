/**
 * The attention that Decaf asks of cuDNN, asked of the real library: forward
 * and backward graphs are the pattern of its fused engines, whose kernels are
 * compiled and whose plans are finalized for GPUs that are not present.
 */

import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import type { Answer } from "./cudnn_attention_plans.ts";
import { realCudnn } from "./cudnn_devices.ts";

const cudnn = realCudnn();

/** Builds the driver that accepts everything; why that is impossible, otherwise. */
async function acceptingDriver(
  folder: string,
): Promise<string | undefined> {
  const source = new URL("cuda_host/accepting_driver.cc", import.meta.url);
  const options = ["-O1", "-shared", "-fPIC", "-nostdlib"];
  const name = "libcuda.so.1";
  try {
    const { success, stderr } = await new Deno.Command("g++", {
      args: [
        ...options,
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
    if (error instanceof Deno.errors.NotFound) return "there is no g++";
    throw error;
  }
}

const folder = await Deno.makeTempDir();
const absent = "absent" in cudnn
  ? cudnn.absent
  : Deno.build.os !== "linux"
  ? "only on Linux"
  : await acceptingDriver(folder);

Deno.test({
  name:
    `attention has fused plans, forward and backward, on every architecture${
      absent === undefined ? "" : ` (${absent})`
    }`,
  ignore: absent !== undefined,
  async fn() {
    if ("absent" in cudnn) throw new Error(cudnn.absent);
    const own = new URL("cudnn_attention_plans.ts", import.meta.url).pathname;
    const { LD_LIBRARY_PATH: path = "" } = Deno.env.toObject();
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: ["run", "-A", "--no-check", own],
        env: {
          LD_LIBRARY_PATH: `${folder}:${dirname(cudnn.path)}:${path}`,
          DECAF_LIBCUDNN: cudnn.path,
        },
        stdout: "piped",
        stderr: "piped",
      },
    ).output();
    assert(success, new TextDecoder().decode(stderr));
    const answers = new TextDecoder().decode(stdout).trim().split("\n")
      .map((line) => JSON.parse(line) as Answer);
    const failed = answers.filter(({ plans }) => typeof plans !== "number");
    assertEquals(
      failed.map((a) => `${a.name} on ${a.architecture}: ${a.plans}`),
      [],
    );
    assert(answers.length >= 96, `only ${answers.length} answers`);
  },
});

addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
