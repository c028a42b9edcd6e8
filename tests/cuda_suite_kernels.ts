/**
 * Every kernel that the operators' samples need on CUDA, forward and backward,
 * fast paths and composed definitions: the harness runs them on the CPU, and
 * what it launches there is also written as CUDA C.
 */

import { getDevice, type Launch } from "../core/device.ts";
import { operators } from "../core/op.ts";
import { launch } from "../devices/cuda/launch.ts";
import { launchMany } from "../devices/cuda/launch_many.ts";
import { scan } from "../devices/cuda/scan.ts";
import { scatter } from "../devices/cuda/scatter.ts";
import { sort } from "../devices/cuda/sort.ts";
import "../mod.ts";
import { type KernelSource, Recorder } from "./cuda_kernels.ts";
import { checkOperator } from "./operator_harness.ts";

/** Collects the kernels. */
export function suiteKernels(): KernelSource[] {
  const recorder = new Recorder();
  const cpu = getDevice("cpu");
  const own = {
    launch: cpu.launch,
    scan: cpu.scan,
    scatter: cpu.scatter,
    sort: cpu.sort,
  };
  const many = (launches: readonly Launch[]) => {
    launchMany(recorder, launches, (l) => launch(recorder, l));
    for (const l of launches) own.launch.call(cpu, l);
  };
  Object.assign(cpu, {
    launch: (l: Launch) => {
      launch(recorder, l);
      own.launch.call(cpu, l);
    },
    launchAll: many,
    scan: (spec: Parameters<typeof cpu.scan>[0]) => {
      scan(recorder, spec);
      own.scan.call(cpu, spec);
    },
    scatter: (spec: Parameters<typeof cpu.scatter>[0]) => {
      scatter(recorder, spec);
      own.scatter.call(cpu, spec);
    },
    sort: (spec: Parameters<typeof cpu.sort>[0]) => {
      sort(recorder, spec);
      own.sort.call(cpu, spec);
    },
  });
  try {
    for (const info of operators().values()) {
      checkOperator(info, { golden: true });
    }
  } finally {
    const patched = cpu as unknown as Record<string, unknown>;
    for (const name of ["launch", "launchAll", "scan", "scatter", "sort"]) {
      delete patched[name]; // the class has its own
    }
  }
  const distinct = new Map(recorder.sources.map((s) => [s.source, s]));
  return [...distinct.values()];
}
