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

async function compileIn(library: string, job: Job): Promise<Failure[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", config, script],
    env: { DECAF_LIBNVRTC: library },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const sent = new Blob([JSON.stringify(job)]).stream().pipeTo(child.stdin);
  const { stdout, success } = await child.output();
  await sent;
  assert(success, `compiling for ${job.architecture} ended badly`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Compiles on all cores. */
async function compileAll(library: string, job: Job): Promise<Failure[]> {
  const { hardwareConcurrency: cores } = navigator;
  const parts = Array.from({ length: cores }, (_, core) => ({
    ...job,
    kernels: job.kernels.filter((_, i) => i % cores === core),
  }));
  const failures = parts.map((part) => compileIn(library, part));
  return (await Promise.all(failures)).flat();
}

/**
 * Each kernel is compiled for one of the architectures, in turn, as a device
 * does it. With DECAF_NVRTC=all each is compiled for each of the others, too,
 * with less optimization.
 */
const complete = Deno.env.get("DECAF_NVRTC") === "all";
const turns = compilers.flatMap(({ architectures }) => architectures);

let collected: KernelSource[] | undefined;

/** What is compiled for an architecture. */
function jobsFor(architecture: number): Job[] {
  collected ??= [
    ...collectKernels(),
    ...suiteKernels(),
    ...attentionSources(),
  ];
  const turn = turns.indexOf(architecture);
  const own = (i: number) => i % turns.length === turn;
  const job = { architecture: `sm_${architecture}`, options: [] };
  const jobs: Job[] = [
    { ...job, kernels: collected.filter((_, i) => own(i)) },
  ];
  if (complete) {
    jobs.push({
      ...job,
      options: ["--Ofast-compile=max"],
      kernels: collected.filter((_, i) => !own(i)),
    });
  }
  return jobs;
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
        const failures: Failure[] = [];
        for (const job of jobsFor(architecture)) {
          const { kernels: { length } } = job;
          assert(length > 300, `only ${length} kernels`);
          failures.push(...await compileAll(file!, job));
        }
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
    const failures = await compileAll(first!, {
      architecture: "sm_80",
      options: [],
      kernels: [{
        source:
          'extern "C" __global__ void __launch_bounds__(1) bad(int* p) { *p = q; }',
        entry: "bad",
      }],
    });
    assertEquals(failures.map((f) => f.entry), ["bad"]);
  },
});
