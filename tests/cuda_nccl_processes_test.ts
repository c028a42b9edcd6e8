/** Collectives and data parallelism among processes, each with a CUDA device of the stand-ins. */

import { assert, assertEquals } from "@std/assert";
import "../mod.ts";
import * as dist from "../dist/mod.ts";
import { readMetrics } from "../train/run_log.ts";
import { inFolder, writeDigits } from "./cli_helpers.ts";
import { trainAlone } from "./dist_model.ts";
import { assertClose, test } from "./cuda_nccl_cases.ts";

/** A script that one of several processes runs, and what they wrote. */
async function processes(
  count: number,
  mode: string,
): Promise<{ code: number; said: string[] }> {
  let said: string[] = [];
  let code = -1;
  await inFolder(async (folder) => {
    const result = await dist.launch(
      new URL("./cuda_nccl_rank.ts", import.meta.url),
      {
        processes: count,
        args: [mode, folder],
        flags: ["-A", "--no-check", "--quiet"],
        env: { TMPDIR: folder },
        grace: 1000,
      },
    );
    code = result.code;
    const left = [...Deno.readDirSync(folder)].map((entry) => entry.name);
    said = left.filter((name) => name.startsWith("said")).sort().map((name) =>
      Deno.readTextFileSync(`${folder}/${name}`)
    );
    if (mode === "all") {
      assertEquals(left.filter((name) => name.startsWith("decaf_nccl")), []);
    }
  });
  return { code, said };
}

test("nccl: every collective among two and three processes", async () => {
  for (const count of [2, 3]) {
    const { code, said } = await processes(count, "all");
    assertEquals(said, new Array(count).fill("done"));
    assertEquals(code, 0);
  }
});

test("nccl: processes learn what one device learns", async () => {
  const { code, said } = await processes(2, "train");
  assertEquals(code, 0, said.join("\n"));
  const one = trainAlone([12, 12, 12], "cpu");
  const ranks = said.map((text) => JSON.parse(text) as number[]);
  assertEquals(ranks[0], ranks[1]);
  assertClose(ranks[0], one.weights);
});

test("nccl: processes agree whether a step is passed over, and on the scale of f16", async () => {
  const { code, said } = await processes(2, "f16");
  assertEquals(code, 0, said.join("\n"));
  const [first, second] = said.map((text) => JSON.parse(text));
  assertEquals(first, second);
  // Halved once, by the second of four steps.
  assertEquals(first.scaler, { scale: 32768, goodSteps: 2 });
});

test("nccl: a loss that is no number in one process ends the training in all", async () => {
  const { code, said } = await processes(2, "f32");
  assertEquals(code, 0, said.join("\n"));
  assert(
    said[0].includes(
      "Cannot go on training: the loss of another process is no finite number at step 2",
    ),
    said[0],
  );
  assert(
    said[1].includes("Cannot go on training: the loss is Infinity at step 2"),
    said[1],
  );
});

test("nccl: a process that is gone is noticed by the others in time", async () => {
  const { said } = await processes(2, "gone");
  assertEquals(said.length, 2);
  assert(
    said[0].includes(
      "Cannot finish allReduce of f32 [2] among 2 ranks: it did not end within 1500 ms",
    ),
    said[0],
  );
});

test("nccl: processes that do not all join are told so", async () => {
  const { said } = await processes(2, "absent");
  assert(
    said[0].includes(
      "Rank 0 on cuda:0 cannot join 2 ranks: not all of them came within 4000 ms",
    ),
    said[0],
  );
});

test("nccl: connections that are not made are given up in time", async () => {
  const { code, said } = await processes(2, "stalled");
  assertEquals(code, 0);
  for (const text of said) {
    assertEquals(
      text,
      "Cannot start allReduce of f32 [2] among 2 ranks: its connections were not made within 1500 ms: some rank did not take part",
    );
  }
});

test("nccl: a group that cannot be finalised is aborted", async () => {
  const { code, said } = await processes(2, "unfinished");
  assertEquals(said, ["done", "done"]);
  assertEquals(code, 0);
});

test("cli: train --devices 0,1 learns what one GPU learns, and goes on on three", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/data`, { train: 96, test: 16 });
    const decaf = async (...args: string[]) => {
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "--no-check", "--quiet"],
          new URL("./cuda_cli_devices.ts", import.meta.url).href,
          ...["3", ...args],
        ],
        cwd: folder,
        env: { NO_COLOR: "1" },
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
    };
    const train = (run: string, ...more: string[]) =>
      decaf(
        ...["train", "mnist", "data", "--model", "mlp", "--batch-size", "16"],
        ...["--epochs", "1", "--log-every", "1", "--no-curve", "--run", run],
        ...more,
      );
    const losses = async (run: string) =>
      (await readMetrics(`${folder}/${run}`)).flatMap((line) =>
        "train/loss" in line ? [Number(line["train/loss"])] : []
      );
    await train("one", "--device", "cuda");
    await train("two", "--devices", "0,1");
    const wanted = await losses("one");
    assertEquals(wanted.length, 6);
    assertClose(await losses("two"), wanted);
    await decaf("resume", "two", "--epochs", "2", "--devices", "0,1,2");
    assertEquals((await losses("two")).length, 12);
  });
});
