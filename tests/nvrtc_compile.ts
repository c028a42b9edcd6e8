/**
 * Compiles kernels with one NVRTC for an architecture: a program of its own,
 * so that several versions of the library can be asked.
 *
 * Run: `deno run --allow-ffi --allow-env --allow-read nvrtc_compile.ts < job`,
 * with DECAF_LIBNVRTC set; prints what went wrong, as JSON.
 */

import { compile } from "../ffi/nvrtc.ts";
import { compilerOptions } from "../kernel/cuda/render.ts";

/** What to compile, and for what. */
export interface Job {
  readonly architecture: string;
  /** Options of the compiler beside those that a device gives it. */
  readonly options: readonly string[];
  readonly kernels: readonly {
    readonly source: string;
    readonly entry: string;
  }[];
}

/** A kernel that does not compile. */
export interface Failure {
  readonly entry: string;
  readonly log: string;
  readonly source: string;
}

/** Kernels that are compiled as one source: the compiler's start costs more than they do. */
const batch = 60;

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

function failuresOf(job: Job): Failure[] {
  const { architecture, options, kernels } = job;
  const source = joined(kernels);
  const { code, log } = compile(
    source,
    [`--gpu-architecture=${architecture}`, ...compilerOptions, ...options],
    "cubin",
  );
  if (code !== undefined && log.replace(oldArchitecture, "") === "") return [];
  if (kernels.length > 1) {
    return kernels.flatMap((kernel) =>
      failuresOf({ ...job, kernels: [kernel] })
    );
  }
  return [{ entry: kernels[0].entry, log, source }];
}

if (import.meta.main) {
  const job: Job = await new Response(Deno.stdin.readable).json();
  const failures: Failure[] = [];
  for (let i = 0; i < job.kernels.length; i += batch) {
    const kernels = job.kernels.slice(i, i + batch);
    failures.push(...failuresOf({ ...job, kernels }));
  }
  console.log(JSON.stringify(failures));
}
