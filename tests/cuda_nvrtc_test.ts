/**
 * Every kind of kernel, and every kernel that the operators' samples need,
 * compiles with NVIDIA's own compiler, to machine code, without a warning.
 *
 * DECAF_NVIDIA names the `nvidia` folder of a Python with NVIDIA's wheels of
 * CUDA 13, DECAF_NVIDIA12 one with those of CUDA 12 (sm_70 has left NVRTC 13).
 */

import { assert, assertEquals } from "@std/assert";
import { machine } from "../ffi/machine.ts";
import { fromFileUrl } from "@std/path";
import { nvidiaFolder } from "./c_headers.ts";
import { attentionSources } from "./cuda_attention_kernels.ts";
import { collectKernels, type KernelSource } from "./cuda_kernels.ts";
import { suiteKernels } from "./cuda_suite_kernels.ts";
import type { Failure, Job } from "./nvrtc_compile.ts";

const nvidia = nvidiaFolder();
const nvidia12 = Deno.env.get("DECAF_NVIDIA12") ?? nvidia;

/** The libraries, and what they compile for. */
const compilers = [
  {
    name: "NVRTC 13",
    file: nvidia && `${nvidia}/cu13/lib/libnvrtc.so.13`,
    variable: "DECAF_NVIDIA",
    architectures: [75, 80, 86, 89, 90, 100, 120],
  },
  {
    name: "NVRTC 12",
    file: nvidia12 && `${nvidia12}/cuda_nvrtc/lib/libnvrtc.so.12`,
    variable: "DECAF_NVIDIA12",
    architectures: [70],
  },
];

const script = fromFileUrl(new URL("./nvrtc_compile.ts", import.meta.url));
const config = fromFileUrl(new URL("../deno.json", import.meta.url));

async function compileAll(
  library: string,
  architecture: number,
  kernels: readonly KernelSource[],
): Promise<Failure[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", config, script],
    env: { DECAF_LIBNVRTC: library },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const job: Job = { architectures: [`sm_${architecture}`], kernels };
  const sent = new Blob([JSON.stringify(job)]).stream().pipeTo(child.stdin);
  const { stdout, success } = await child.output();
  await sent;
  assert(success, `compiling for sm_${architecture} ended badly`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** With DECAF_NVRTC=all each kernel is compiled for each architecture; else for one of them, in turn, which takes an eighth of the time. */
const complete = Deno.env.get("DECAF_NVRTC") === "all";
const turns = compilers.flatMap(({ architectures }) => architectures);

let collected: KernelSource[] | undefined;

/** The kernels that are compiled for an architecture. */
function kernelsFor(architecture: number): KernelSource[] {
  collected ??= [
    ...collectKernels(),
    ...suiteKernels(),
    ...attentionSources(),
  ];
  const turn = turns.indexOf(architecture);
  return complete
    ? collected
    : collected.filter((_, i) => i % turns.length === turn);
}

for (const { name, file, variable, architectures } of compilers) {
  const there = file !== undefined && machine.exists(file);
  for (const architecture of architectures) {
    const what =
      `every kind of kernel, and the operators' kernels, compile for sm_${architecture}`;
    Deno.test({
      name: there ? what : `${what} (no ${name}: set ${variable})`,
      ignore: !there,
      async fn() {
        const kernels = kernelsFor(architecture);
        assert(kernels.length > 300, `only ${kernels.length} kernels`);
        const failures = await compileAll(file!, architecture, kernels);
        assertEquals(
          failures.slice(0, 3).map((f) => `${f.entry}: ${f.log}\n${f.source}`),
          [],
        );
      },
    });
  }
}

const first = compilers[0].file;
const there = first !== undefined && machine.exists(first);

Deno.test({
  name: there
    ? "a kernel that does not compile is found"
    : "a kernel that does not compile is found (no NVRTC 13: set DECAF_NVIDIA)",
  ignore: !there,
  async fn() {
    const failures = await compileAll(first!, 80, [
      {
        source:
          'extern "C" __global__ void __launch_bounds__(1) bad(int* p) { *p = q; }',
        entry: "bad",
      },
    ]);
    assertEquals(failures.map((f) => f.entry), ["bad"]);
  },
});
