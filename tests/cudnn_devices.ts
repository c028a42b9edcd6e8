/**
 * GPUs as cuDNN describes them, so that the real library plans for them where
 * there is none; and the library, where it is installed.
 *
 * @module
 */

import { findLibrary, LibraryError } from "../ffi/library.ts";
import { machine } from "../ffi/machine.ts";
import { type Cudnn, cudnnLibrary } from "../ffi/cudnn.ts";
import {
  AttributeName,
  AttributeType,
  DescriptorType,
} from "../ffi/cudnn_enums.ts";
import type { Descriptors } from "../devices/cuda/dnn/lower.ts";

/** An H100, as the library itself describes one. */
const h100 = {
  deviceName: "NVIDIA H100 80GB HBM3",
  cudaDeviceId: 0,
  deviceVer: 900,
  driverVer: 13020,
  totalGlobalMem: 85000000000,
  maxGridSize: [2147483647, 65535, 65535],
  maxBlockSize: [1024, 1024, 64],
  regsPerBlock: 65536,
  multiProcessorCount: 132,
  smCountOrigin: 0,
  warpSize: 32,
  maxSharedMemoryPerBlock: 49152,
  maxSharedMemoryPerBlockOptin: 232448,
  oversizedSharedMemoryPerBlock: 0,
  reservedSharedMemoryPerBlock: 1024,
  maxRegistersPerSM: 65536,
  maxCtasPerSM: 32,
  maxThreadsPerBlock: 1024,
  maxThreadsPerSM: 2048,
  pciDeviceId: 0,
  isTccDriver: 0,
  supportCoopLaunch: 1,
  smClockRateKHz: 1980000,
  memClockRateKHz: 2619000,
  l2CacheSize: 52428800,
};

/** GPUs by architecture; the published numbers of an A100 and a B200. */
export const devices = {
  sm_80: {
    ...h100,
    deviceName: "NVIDIA A100-SXM4-80GB",
    deviceVer: 800,
    multiProcessorCount: 108,
    maxSharedMemoryPerBlockOptin: 166912,
    smClockRateKHz: 1410000,
    memClockRateKHz: 1593000,
    l2CacheSize: 41943040,
  },
  sm_90: h100,
  sm_100: {
    ...h100,
    deviceName: "NVIDIA B200",
    deviceVer: 1000,
    totalGlobalMem: 191000000000,
    multiProcessorCount: 148,
    smClockRateKHz: 1965000,
    memClockRateKHz: 3996000,
    l2CacheSize: 132644864,
  },
} as const;

/** An architecture of {@linkcode devices}. */
export type Architecture = keyof typeof devices;

/** The file that is asked for; the stand-in, which other tests put in its place, does not count. */
function file(): string | undefined {
  const own = machine.env(cudnnLibrary.variable);
  if (own !== undefined && !own.includes("cuda_host")) return own;
  const wheels = machine.env("DECAF_NVIDIA");
  const [name] = cudnnLibrary.linux;
  const path = wheels && `${wheels}/cudnn/lib/${name}`;
  return path && machine.exists(path) ? path : undefined;
}

/** cuDNN, or why it cannot be used here. */
export function realCudnn(): Cudnn | { absent: string } {
  const path = file();
  try {
    const library = findLibrary(cudnnLibrary, {
      ...machine,
      env: (name) => name === cudnnLibrary.variable ? path : machine.env(name),
    });
    // By its bare name the loader answers with the stand-in where tests have opened that.
    const standIn = machine.env(cudnnLibrary.variable)?.includes("cuda_host");
    if (standIn && !library.path.startsWith("/")) {
      return {
        absent:
          "cuDNN is not installed, or only where the stand-in hides it; DECAF_NVIDIA names the folder of NVIDIA's wheels",
      };
    }
    if (library.version >= 90_800) return library;
    // Older versions plan only for the GPU at hand.
    const { versionText } = library;
    return { absent: `cuDNN ${versionText} cannot plan for a described GPU` };
  } catch (error) {
    if (error instanceof LibraryError) return { absent: error.message };
    throw error;
  }
}

/** The descriptor of a GPU's properties. */
export function properties(own: Descriptors, of: Architecture): bigint {
  const made = own.create(DescriptorType.DEVICEPROP_DESCRIPTOR);
  const text = new TextEncoder().encode(`${JSON.stringify(devices[of])}\0`);
  own.set(
    made,
    AttributeName.DEVICEPROP_JSON_REPRESENTATION,
    AttributeType.CHAR,
    text,
    text.length,
  );
  own.finalize(made, DescriptorType.DEVICEPROP_DESCRIPTOR);
  return made;
}
