/**
 * What the doctor finds of CUDA: libraries, driver, GPUs, what works on them,
 * and what is missing for the rest.
 *
 * @module
 */

import * as cublasLt from "../ffi/cublaslt.ts";
import * as driver from "../ffi/cuda.ts";
import * as runtime from "../ffi/cudart.ts";
import { cudnnLibrary } from "../ffi/cudnn.ts";
import {
  type Attempt,
  howToInstall,
  LibraryError,
  type LibrarySpec,
  tryLibrary,
} from "../ffi/library.ts";
import { machine } from "../ffi/machine.ts";
import * as nccl from "../ffi/nccl.ts";
import * as nvrtc from "../ffi/nvrtc.ts";
import { whyNoCuda } from "../devices/cuda/available.ts";
import {
  type DeviceTest,
  right,
  testDevice,
  testExchange,
  untested,
} from "./doctor_tests.ts";

/** One library: where it was found, or why not. */
export interface LibraryReport {
  /** Short name. */
  readonly name: string;
  /** What it is for. */
  readonly purpose: string;
  /** Environment variable that names its file. */
  readonly variable: string;
  /** File that was opened. */
  readonly path?: string;
  /** Its version. */
  readonly version?: string;
  /** Why it could not be opened. */
  readonly problem?: string;
  /** Every path that was tried. */
  readonly tried: readonly Attempt[];
  /** What installs it, one command per packager, where it is missing. */
  readonly install?: readonly string[];
}

/** One GPU. */
export interface GpuReport {
  /** Name of the device. */
  readonly device: string;
  /** What it is: `NVIDIA H100 80GB HBM3`. */
  readonly model: string;
  /** Compute capability: `9.0`. */
  readonly architecture: string;
  /** Streaming multiprocessors. */
  readonly multiprocessors: number;
  /** Bytes of memory in all. */
  readonly memoryBytes: number;
  /** Place on the PCI bus. */
  readonly pci: string;
  /** What follows from the architecture. */
  readonly precisions: readonly string[];
  /** How the self test went. */
  readonly test: DeviceTest;
}

/** The link from one GPU to another. */
export interface LinkReport {
  /** Device that reads and writes. */
  readonly from: string;
  /** Device whose memory it is. */
  readonly to: string;
  /** Whether it goes without the host. */
  readonly direct: boolean;
  /** Whether atomic operations work across it, as over NVLink. */
  readonly atomics: boolean;
  /** How fast it is next to the other links: 0 is the fastest kind. */
  readonly rank: number;
}

/** Something that Decaf can do, and whether it can do it here. */
export interface Feature {
  /** What. */
  readonly name: string;
  /** Whether it is there. */
  readonly available: boolean;
  /** What happens without it. */
  readonly otherwise: string;
}

/** Everything about CUDA. */
export interface CudaReport {
  /** Whether every GPU works, and all together. */
  readonly works: boolean;
  /** Why none can be used. */
  readonly problem?: string;
  /** Whether libraries could be looked for at all. */
  readonly searched: boolean;
  /** Newest CUDA that the driver supports. */
  readonly driver?: string;
  /** The libraries. */
  readonly libraries: readonly LibraryReport[];
  /** The GPUs. */
  readonly gpus: readonly GpuReport[];
  /** Links among them. */
  readonly links: readonly LinkReport[];
  /** How an all-reduce among all GPUs went; undefined where there are not several. */
  readonly exchange?: string;
  /** What can be done. */
  readonly features: readonly Feature[];
}

type AnySpec = LibrarySpec<Deno.ForeignLibraryInterface>;

/** The libraries and what each is for, in the order in which they are needed. */
const libraries: readonly (readonly [spec: unknown, purpose: string])[] = [
  [driver.library, "drives the GPU"],
  [runtime.library, "memory, copies, streams"],
  [nvrtc.library, "compiles kernels"],
  [cublasLt.library, "matrix products"],
  [cudnnLibrary, "convolutions, norms, attention, recurrent nets"],
  [nccl.library, "several GPUs"],
];

/** Looks at everything. */
export async function examineCuda(): Promise<CudaReport> {
  const searched = machine.mayOpen();
  const reports = searched
    ? libraries.map(([spec, purpose]) =>
      examineLibrary(spec as AnySpec, purpose)
    )
    : [];
  const problem = whyNoCuda();
  const found = (name: string) =>
    reports.find((report) => report.name === name)?.path !== undefined;
  const gpus = problem === undefined ? examineGpus() : [];
  const exchange = gpus.length > 1
    ? await testExchange(gpus.map(({ device }) => device))
    : undefined;
  const together = exchange === undefined || exchange === right ||
    exchange === untested;
  const version = found("cuda") && found("cudart")
    ? runtime.driverVersion()
    : 0;
  return {
    works: problem === undefined && together &&
      gpus.every(({ test }) => test.works),
    ...problem === undefined ? {} : { problem },
    searched,
    ...version === 0 ? {} : { driver: runtime.versionText(version) },
    libraries: reports,
    gpus,
    links: gpus.length > 1 ? examineLinks(gpus.length) : [],
    ...exchange === undefined ? {} : { exchange },
    features: features(found, gpus.length),
  };
}

function examineLibrary(spec: AnySpec, purpose: string): LibraryReport {
  const { name, variable } = spec;
  const library = tryLibrary(spec);
  if (library instanceof LibraryError) {
    const { message, tried } = library;
    const install = howToInstall(spec);
    return { name, purpose, variable, problem: message, tried, install };
  }
  const { path, versionText, tried } = library;
  return { name, purpose, variable, path, version: versionText, tried };
}

function examineGpus(): GpuReport[] {
  const { count } = runtime.deviceCount();
  return Array.from({ length: count }, (_, ordinal) => {
    const major = runtime.attribute("ComputeCapabilityMajor", ordinal);
    const minor = runtime.attribute("ComputeCapabilityMinor", ordinal);
    const device = `cuda:${ordinal}`;
    const test = testDevice(device);
    return {
      device,
      model: driver.deviceName(ordinal),
      architecture: `${major}.${minor}`,
      multiprocessors: runtime.attribute("MultiProcessorCount", ordinal),
      memoryBytes: test.memoryBytes,
      pci: runtime.pciBusId(ordinal),
      precisions: precisionsOf(10 * major + minor),
      test,
    };
  });
}

/** Number formats that tensor cores of an architecture multiply. */
function precisionsOf(architecture: number): string[] {
  const since: [string, number][] = [
    ["f16", 70],
    ["bf16", 80],
    ["TF32", 80],
    ["fp8", 89],
  ];
  return since.filter(([, first]) => architecture >= first).map(([name]) =>
    name
  );
}

function examineLinks(count: number): LinkReport[] {
  const links: LinkReport[] = [];
  for (let a = 0; a < count; a++) {
    for (let b = 0; b < count; b++) {
      if (a === b) continue;
      links.push({
        from: `cuda:${a}`,
        to: `cuda:${b}`,
        direct: runtime.linkAttribute("AccessSupported", a, b) !== 0,
        atomics: runtime.linkAttribute("NativeAtomicSupported", a, b) !== 0,
        rank: runtime.linkAttribute("PerformanceRank", a, b),
      });
    }
  }
  return links;
}

function features(found: (name: string) => boolean, gpus: number): Feature[] {
  const base = gpus > 0 && found("nvrtc");
  return [
    {
      name: "tensors and kernels",
      available: base,
      otherwise: "the CPU device computes",
    },
    {
      name: "matrix products by cuBLASLt",
      available: base && found("cublasLt"),
      otherwise: "matrix products fail",
    },
    {
      name: "convolutions, norms, attention and recurrent nets by cuDNN",
      available: base && found("cudnn"),
      otherwise: "they run as Decaf's own kernels, slower",
    },
    {
      name: "training on several GPUs by NCCL",
      available: base && gpus > 1 && found("nccl"),
      otherwise: gpus === 1 ? "there is one GPU" : "one GPU at a time computes",
    },
  ];
}
