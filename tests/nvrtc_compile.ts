/**
 * Compiles kernels with one NVRTC for some architectures: a program of its
 * own, so that several versions of the library can be asked.
 *
 * Run: `deno run --allow-ffi --allow-env --allow-read nvrtc_compile.ts < job`,
 * with DECAF_LIBNVRTC set; prints what went wrong, as JSON.
 */

import { compile } from "../ffi/nvrtc.ts";
import { compilerOptions } from "../kernel/cuda/render.ts";

/** What to compile, and for what. */
export interface Job {
  readonly architectures: readonly string[];
  readonly kernels: readonly {
    readonly source: string;
    readonly entry: string;
  }[];
}

/** A kernel that does not compile. */
export interface Failure {
  readonly architecture: string;
  readonly entry: string;
  readonly log: string;
  readonly source: string;
}

/** Kernels that are compiled as one source: the compiler's start costs more than they do. */
const batch = 24;

/** One source of several, whose names do not meet. */
function joined(kernels: Job["kernels"]): string {
  return kernels.map(({ source, entry }, i) => {
    const renamed = source.replaceAll(
      /extern "C" __global__ void (__launch_bounds__\(\d+\)) (\w+)\(/g,
      (_, bounds, name) => `extern "C" __global__ void ${bounds} ${name}_${i}(`,
    );
    return `// ${entry}\nnamespace kernel_${i} {\n${renamed}\n}\n`;
  }).join("\n");
}

/** Said for sm_70 whatever the source. */
const oldArchitecture =
  /^nvrtc: warning: Architectures prior to .* are deprecated.*\n?/;

function failuresOf(
  architecture: string,
  kernels: Job["kernels"],
): Failure[] {
  const source = joined(kernels);
  const { code, log } = compile(
    source,
    [`--gpu-architecture=${architecture}`, ...compilerOptions],
    "cubin",
  );
  if (code !== undefined && log.replace(oldArchitecture, "") === "") return [];
  if (kernels.length > 1) {
    return kernels.flatMap((kernel) => failuresOf(architecture, [kernel]));
  }
  return [{ architecture, entry: kernels[0].entry, log, source }];
}

if (import.meta.main) {
  const job: Job = await new Response(Deno.stdin.readable).json();
  const failures: Failure[] = [];
  for (const architecture of job.architectures) {
    for (let i = 0; i < job.kernels.length; i += batch) {
      failures.push(
        ...failuresOf(architecture, job.kernels.slice(i, i + batch)),
      );
    }
  }
  console.log(JSON.stringify(failures));
}
