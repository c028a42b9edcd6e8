/**
 * `deno task gpu` where there is no GPU: small extents on the CPU, with
 * PyTorch's side where Python has it; the report that a killed run leaves.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { gpuRows, tiny } from "../bench/gpu/rows.ts";
import { workloads } from "../bench/gpu/workloads.ts";
import { preload, tryPreload } from "../tools/cuda_suites.ts";
import { ROOT } from "../tools/files.ts";
import { comparisons, type Report, reportPage } from "../tools/gpu_report.ts";
import { findTorch } from "../tools/python.ts";
import { TestOutput } from "../tools/test_output.ts";

const torch = await findTorch({ install: false });

function task(folder: string, ...flags: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "tools/gpu.ts",
      "--device=cpu",
      "--tiny",
      "--no-tests",
      "--seconds=0.01",
      `--out=${folder}`,
      ...flags,
    ],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
}

async function reportIn(folder: string): Promise<Report> {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const json = names.find((name) => name.endsWith(".json"));
  assert(json !== undefined, `no report among ${names}`);
  assert(names.includes(json.replace(/json$/, "md")));
  return JSON.parse(await Deno.readTextFile(`${folder}/${json}`));
}

Deno.test("gpu task: every row has a workload and is in the report", async () => {
  const rows = gpuRows(tiny);
  assertEquals(
    rows.map(({ name }) => name).sort(),
    Object.keys(workloads).sort(),
  );
  const folder = await Deno.makeTempDir();
  try {
    const { code, stderr } = await task(folder).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const report = await reportIn(folder);
    assert(report.finished);
    for (const { name } of rows) {
      assert(
        report.decaf[name]?.ms! > 0,
        `${name}: ${report.decaf[name]?.absent}`,
      );
    }
    if ("path" in torch) {
      // Convolutions of f32 are f32 on both sides.
      assertEquals(report.about.conv_tf32, false);
      for (const { ratio, row, against } of comparisons(rows, report)) {
        assert(ratio !== undefined, `${row.name} against ${against}`);
      }
    } else {
      assert(report.remarks.some((text) => text.includes(torch.absent)));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("gpu task: a run that is killed leaves a report of what it had", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const child = task(folder);
    const reader = child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    let text = "";
    while (!text.includes("decaf ")) {
      const { value, done } = await reader.read();
      assert(!done, `it ended by itself: ${text}`);
      text += value;
    }
    child.kill("SIGKILL");
    await reader.cancel();
    await child.stderr.cancel();
    await child.status;
    const report = await reportIn(folder);
    assert(!report.finished);
    assert(Object.keys(report.decaf).length > 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("gpu report: ratios, targets that were missed, and what is absent", () => {
  const rows = gpuRows(tiny);
  const report: Report = {
    command: "deno task gpu",
    date: "2026-01-02",
    device: "cuda",
    about: { gpu: "A GPU" },
    suites: [{
      name: "all",
      seconds: 3,
      passed: 5,
      failed: 1,
      ignored: 0,
      failures: ["a_test.ts: b"],
    }],
    decaf: {
      copy: { ms: 2 },
      softmax: { ms: 4 },
      "chain of additions": { ms: 0.04, ms_host: 0.04 },
    },
    torch: {
      copy: { ms: 2 },
      softmax: { ms: 2 },
      "softmax, torch.compile": { absent: "no compiler" },
      "chain of additions": { ms: 0.1 },
    },
    remarks: [],
    finished: false,
  };
  const found = comparisons(rows, report);
  const ratio = (row: string, against: string) =>
    found.find((c) => c.row.name === row && c.against === against)?.ratio;
  assertEquals(ratio("softmax", "softmax"), 0.5);
  assertEquals(ratio("softmax", "softmax, torch.compile"), undefined);
  assertEquals(ratio("chain of additions", "chain of additions"), 2.5);
  const page = reportPage(report, rows);
  assert(page.includes("ended before it was done"));
  assert(page.includes("0.500 ✗"));
  assert(page.includes("FAILED a_test.ts: b"));
  assert(page.includes("PyTorch, softmax, torch.compile: no compiler"));
  // 0.04 ms for 20 operators.
  assert(page.includes("2.00 µs (target 2.5 µs)"));
});

Deno.test("gpu task: what deno test --parallel prints is counted as it comes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${folder}/a_test.ts`,
      `Deno.test("a", async (t) => { await t.step("b ... ok", () => {}); console.log("said"); });
       Deno.test.ignore("c (no GPU)", () => {});
       Deno.test("d", () => { throw new RangeError("too far"); });`,
    );
    await Deno.writeTextFile(`${folder}/b_test.ts`, `Deno.test("e", () => {})`);
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--no-config", "--parallel", "a_test.ts", "b_test.ts"],
      cwd: folder,
      stdin: "null",
      stderr: "null",
      env: { NO_COLOR: "1" },
    }).output();
    const lines = new TextDecoder().decode(stdout).split("\n");
    const whole = new TestOutput(), cut = new TestOutput();
    for (const line of lines) whole.take(line);
    for (const line of lines.slice(0, lines.indexOf(" ERRORS "))) {
      cut.take(line);
    }
    for (const { passed, ignored } of [whole, cut]) {
      assertEquals({ passed, ignored }, { passed: 2, ignored: 1 });
    }
    assertEquals(whole.failures, ["a_test.ts: d: RangeError: too far"]);
    assertEquals(cut.failures, ["a_test.ts: d"]);
    assertEquals([whole.ended, cut.ended], [true, false]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("gpu task: where CUDA does not work, its tests do not run on the CPU instead", async () => {
  const env = {
    NO_COLOR: "1",
    DECAF_TEST_CUDA: "real",
    DECAF_LIBCUDART: "/no/libcudart.so.13",
  };
  const missing = await tryPreload(env);
  assertEquals(missing?.absent, false);
  assertMatch(missing!.why, /DECAF_LIBCUDART names, \/no\/libcudart\.so\.13/);
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", preload, "tests/update_test.ts"],
    cwd: ROOT,
    stdin: "null",
    env,
  }).output();
  assertEquals(code, 1);
  assertMatch(new TextDecoder().decode(stdout), / 0 passed /);
});

Deno.test("test task: where nothing builds the stand-ins, the tests on CUDA are ignored", async () => {
  const missing = await tryPreload({
    DECAF_TEST_CUDA: "",
    DECAF_CUDA_HOST_CXX: "/no/g++",
  });
  assertEquals(missing, { why: "/no/g++ was not found", absent: true });
});
