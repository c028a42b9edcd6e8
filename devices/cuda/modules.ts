/**
 * Kernels from source: compiled by NVRTC for the device's architecture, loaded,
 * and kept in memory and on disk.
 *
 * @module
 */

import { cuda, cuResult, loadModule, moduleFunction } from "../../ffi/cuda.ts";
import { driverVersion, versionText } from "../../ffi/cudart.ts";
import { CudaError } from "../../ffi/errors.ts";
import {
  compile,
  library as nvrtcLibrary,
  supportedArchitectures,
} from "../../ffi/nvrtc.ts";
import { openLibrary } from "../../ffi/library.ts";
import { compilerOptions } from "../../kernel/cuda/render.ts";
import type { CudaFunction } from "./context.ts";
import { CompilationError, withSource } from "./compilation_error.ts";
import { KernelCache } from "./kernel_cache.ts";

/** What is compiled for: machine code for one architecture, or PTX that the driver finishes. */
export interface CompileTarget {
  /** Value of `--gpu-architecture`. */
  readonly architecture: string;
  /** What NVRTC makes. */
  readonly form: "cubin" | "ptx";
}

/** Dynamic shared memory that a kernel may use without asking. */
const sharedDefault = 48 << 10;

/** Options of every compilation, after the architecture. */
const options = compilerOptions;

/** A kernel, with what the device was told about it. */
interface LoadedFunction extends CudaFunction {
  sharedLimit: number;
}

/** The device that kernels are for. */
export interface ModuleOwner {
  /** `cuda:0`, … */
  readonly name: string;
  /** Compute capability, before the point. */
  readonly major: number;
  /** Compute capability, after the point. */
  readonly minor: number;
  /** Makes the device current for this thread. */
  activate(): void;
  /** Registers what must be destroyed before the device goes. */
  onClose(dispose: () => void): void;
}

/**
 * What to compile for a device: its own architecture, or the newest one before
 * it when the compiler is older than the device.
 *
 * @throws {CompilationError} when the compiler has given up on the device.
 */
export function compileTarget(
  { name, major, minor }: { name: string; major: number; minor: number },
  supported: readonly number[],
  version: string,
): CompileTarget {
  const own = 10 * major + minor;
  if (supported.includes(own)) {
    return { architecture: `sm_${own}`, form: "cubin" };
  }
  const older = supported.filter((architecture) => architecture < own);
  if (older.length === 0) {
    throw new CompilationError(
      `Cannot compile kernels for ${name}: NVRTC ${version} supports compute capability ${
        (supported[0] / 10).toFixed(1)
      } and newer, and the GPU has ${major}.${minor}; install the NVRTC of an older CUDA (CUDA 12 for 5.0 to 7.2) and set DECAF_LIBNVRTC to it`,
    );
  }
  return { architecture: `compute_${Math.max(...older)}`, form: "ptx" };
}

/** Statuses of a driver that does not understand what a newer compiler made. */
const notUnderstood: ReadonlySet<number> = new Set([
  cuResult.INVALID_IMAGE,
  cuResult.NO_BINARY_FOR_GPU,
  cuResult.UNSUPPORTED_PTX_VERSION,
]);

/** What to do about code that a driver refuses; undefined when the compiler is not newer than the driver. */
export function driverAdvice(
  status: number,
  compiler: string,
  driver: string,
): string | undefined {
  const [newer, older] = [compiler, driver].map((text) =>
    text.split(".").map(Number)
  );
  const ahead = newer[0] - older[0] || newer[1] - older[1];
  if (!notUnderstood.has(status) || !(ahead > 0)) return undefined;
  return `NVRTC ${compiler} is newer than the driver, which supports CUDA ${driver}; install a newer driver, or the NVRTC of CUDA ${
    older[0]
  } and set DECAF_LIBNVRTC to it`;
}

/** The kernels of one device. */
export class Modules {
  readonly #owner: ModuleOwner;
  readonly #loaded = new Map<string, LoadedFunction>();
  readonly #disk: KernelCache;
  #target: (CompileTarget & { version: string }) | undefined;

  /**
   * Nothing is opened before the first kernel.
   *
   * @param owner Device that the kernels are for.
   * @param disk Where compiled code is kept; the user's cache folder when omitted.
   */
  constructor(owner: ModuleOwner, disk: KernelCache = new KernelCache()) {
    this.#owner = owner;
    this.#disk = disk;
  }

  /**
   * A kernel, compiled if need be.
   *
   * @throws {CompilationError} when the source has errors; shows the lines.
   */
  get(source: string, entry: string): CudaFunction {
    const known = this.#loaded.get(source);
    if (known !== undefined && known.entry === entry) return known;
    const loaded = this.#load(source, entry);
    this.#loaded.set(source, loaded);
    return loaded;
  }

  /** Dynamic shared memory that a kernel may use so far. */
  sharedLimit(fn: CudaFunction): number {
    return (fn as LoadedFunction).sharedLimit;
  }

  /** Notes how much dynamic shared memory a kernel may use. */
  allowShared(fn: CudaFunction, bytes: number): void {
    (fn as LoadedFunction).sharedLimit = bytes;
  }

  #load(source: string, entry: string): LoadedFunction {
    this.#owner.activate();
    const module = this.#module(this.#code(source), entry);
    this.#owner.onClose(() => cuda().cuModuleUnload(module));
    const handle = moduleFunction(module, entry);
    return { entry, handle, sharedLimit: sharedDefault };
  }

  #module(code: Uint8Array<ArrayBuffer>, entry: string): bigint {
    try {
      return loadModule(code);
    } catch (error) {
      const advice = error instanceof CudaError && error.call.library === "cuda"
        ? driverAdvice(
          error.call.status,
          this.#target!.version,
          versionText(driverVersion()),
        )
        : undefined;
      if (advice === undefined) throw error;
      throw new CompilationError(
        `Cannot load the kernel ${entry} on ${this.#owner.name}: ${advice}`,
        { cause: error },
      );
    }
  }

  #code(source: string): Uint8Array<ArrayBuffer> {
    const { architecture, form, version } = this.#target ??= this.#findTarget();
    const key = `${architecture} NVRTC ${version}\n${
      options.join(" ")
    }\n${source}`;
    const cached = this.#disk.get(key);
    if (cached !== undefined) return cached;
    const { code, log } = compile(
      source,
      [`--gpu-architecture=${architecture}`, ...options],
      form,
    );
    if (code === undefined) {
      throw new CompilationError(
        `Cannot compile a kernel for ${this.#owner.name} (${architecture}, NVRTC ${version}): ${
          withSource(log, source)
        }`,
      );
    }
    this.#disk.set(key, code);
    return code;
  }

  #findTarget(): CompileTarget & { version: string } {
    const version = openLibrary(nvrtcLibrary).versionText;
    const supported = supportedArchitectures();
    return { ...compileTarget(this.#owner, supported, version), version };
  }
}
