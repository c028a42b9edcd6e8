/**
 * The attention that Decaf asks of cuDNN, asked of the real library: forward
 * and backward graphs are the pattern of its fused engines, whose kernels are
 * compiled and whose plans are finalized for GPUs that are not present.
 */

import { assert, assertEquals } from "@std/assert";
import type { Answer } from "./cudnn_attention_plans.ts";
import { realCudnn } from "./cudnn_devices.ts";
import { askFused, noDriver } from "./cudnn_fused.ts";

const cudnn = realCudnn();
const absent = "absent" in cudnn ? cudnn.absent : await noDriver();

Deno.test({
  name:
    `attention has fused plans, forward and backward, on every architecture${
      absent === undefined ? "" : ` (${absent})`
    }`,
  ignore: absent !== undefined,
  async fn() {
    const lines = await askFused("cudnn_attention_plans.ts");
    const answers = lines.map((line) => JSON.parse(line) as Answer);
    const failed = answers.filter(({ plans }) => typeof plans !== "number");
    assertEquals(
      failed.map((a) => `${a.name} on ${a.architecture}: ${a.plans}`),
      [],
    );
    assert(answers.length >= 96, `only ${answers.length} answers`);
  },
});
