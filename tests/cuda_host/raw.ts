/**
 * The stand-ins called as a program calls NVIDIA's libraries, for the tests of
 * the stand-ins themselves.
 *
 * @module
 */

import { CudaHost, cudaHost } from "./mod.ts";

const out = "buffer";
/** Functions of the CUDA runtime that the tests call. */
const runtime = {
  cudaGetLastError: { parameters: [], result: "i32" },
  cudaPeekAtLastError: { parameters: [], result: "i32" },
  cudaGetErrorName: { parameters: ["i32"], result: "pointer" },
  cudaGetDeviceCount: { parameters: [out], result: "i32" },
  cudaSetDevice: { parameters: ["i32"], result: "i32" },
  cudaDeviceReset: { parameters: [], result: "i32" },
  cudaDeviceSynchronize: { parameters: [], result: "i32" },
  cudaDeviceGetAttribute: { parameters: [out, "i32", "i32"], result: "i32" },
  cudaDeviceEnablePeerAccess: { parameters: ["i32", "u32"], result: "i32" },
  cudaMemGetInfo: { parameters: [out, out], result: "i32" },
  cudaMalloc: { parameters: [out, "usize"], result: "i32" },
  cudaFree: { parameters: ["u64"], result: "i32" },
  cudaMallocAsync: { parameters: [out, "usize", "u64"], result: "i32" },
  cudaFreeAsync: { parameters: ["u64", "u64"], result: "i32" },
  cudaDeviceGetDefaultMemPool: { parameters: [out, "i32"], result: "i32" },
  cudaMemPoolGetAttribute: { parameters: ["u64", "i32", out], result: "i32" },
  cudaMemPoolSetAttribute: { parameters: ["u64", "i32", out], result: "i32" },
  cudaMemPoolTrimTo: { parameters: ["u64", "usize"], result: "i32" },
  cudaHostAlloc: { parameters: [out, "usize", "u32"], result: "i32" },
  cudaFreeHost: { parameters: ["u64"], result: "i32" },
  cudaMemcpy: { parameters: ["u64", "u64", "usize", "i32"], result: "i32" },
  cudaMemcpyAsync: {
    parameters: ["u64", "u64", "usize", "i32", "u64"],
    result: "i32",
  },
  cudaMemcpyPeerAsync: {
    parameters: ["u64", "i32", "u64", "i32", "usize", "u64"],
    result: "i32",
  },
  cudaMemsetAsync: {
    parameters: ["u64", "i32", "usize", "u64"],
    result: "i32",
  },
  cudaStreamCreateWithFlags: { parameters: [out, "u32"], result: "i32" },
  cudaStreamDestroy: { parameters: ["u64"], result: "i32" },
  cudaStreamSynchronize: { parameters: ["u64"], result: "i32" },
  cudaStreamQuery: { parameters: ["u64"], result: "i32" },
  cudaStreamWaitEvent: { parameters: ["u64", "u64", "u32"], result: "i32" },
  cudaEventCreateWithFlags: { parameters: [out, "u32"], result: "i32" },
  cudaEventDestroy: { parameters: ["u64"], result: "i32" },
  cudaEventRecord: { parameters: ["u64", "u64"], result: "i32" },
  cudaEventQuery: { parameters: ["u64"], result: "i32" },
  cudaEventSynchronize: { parameters: ["u64"], result: "i32" },
  cudaEventElapsedTime: { parameters: [out, "u64", "u64"], result: "i32" },
  cudaStreamBeginCapture: { parameters: ["u64", "i32"], result: "i32" },
  cudaStreamEndCapture: { parameters: ["u64", out], result: "i32" },
  cudaStreamIsCapturing: { parameters: ["u64", out], result: "i32" },
  cudaGraphGetNodes: { parameters: ["u64", out, out], result: "i32" },
  cudaGraphGetEdges: {
    parameters: ["u64", out, out, out, out],
    result: "i32",
  },
  cudaGraphNodeGetType: { parameters: ["u64", out], result: "i32" },
  cudaGraphInstantiate: { parameters: [out, "u64", "u64"], result: "i32" },
  cudaGraphLaunch: { parameters: ["u64", "u64"], result: "i32" },
  cudaGraphExecDestroy: { parameters: ["u64"], result: "i32" },
  cudaGraphDestroy: { parameters: ["u64"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Functions of the CUDA driver that the tests call. */
const driver = {
  cuInit: { parameters: ["u32"], result: "i32" },
  cuCtxSetCurrent: { parameters: ["u64"], result: "i32" },
  cuCtxGetCurrent: { parameters: [out], result: "i32" },
  cuDeviceGetName: { parameters: [out, "i32", "i32"], result: "i32" },
  cuModuleLoadData: { parameters: [out, out], result: "i32" },
  cuModuleUnload: { parameters: ["u64"], result: "i32" },
  cuModuleGetFunction: { parameters: [out, "u64", out], result: "i32" },
  cuFuncGetAttribute: { parameters: [out, "i32", "u64"], result: "i32" },
  cuFuncSetAttribute: { parameters: ["u64", "i32", "i32"], result: "i32" },
  cuLaunchKernel: {
    parameters: [
      ...["u64", "u32", "u32", "u32", "u32", "u32", "u32"] as const,
      ...["u32", "u64", "u64", "u64"] as const,
    ],
    result: "i32",
  },
  cuGraphKernelNodeGetParams_v2: { parameters: ["u64", out], result: "i32" },
  cuGraphExecKernelNodeSetParams_v2: {
    parameters: ["u64", "u64", out],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

const compiler = {
  nvrtcCreateProgram: {
    parameters: [out, out, out, "i32", out, out],
    result: "i32",
  },
  nvrtcDestroyProgram: { parameters: [out], result: "i32" },
  nvrtcCompileProgram: { parameters: ["u64", "i32", out], result: "i32" },
  nvrtcGetProgramLogSize: { parameters: ["u64", out], result: "i32" },
  nvrtcGetProgramLog: { parameters: ["u64", out], result: "i32" },
  nvrtcGetCUBINSize: { parameters: ["u64", out], result: "i32" },
  nvrtcGetCUBIN: { parameters: ["u64", out], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Direction of a copy. */
export const kind = { up: 1, down: 2, across: 3, any: 4 } as const;

const text = (words: string) => new TextEncoder().encode(`${words}\0`);

/** Address of an array. */
export function at(
  array: ArrayBufferView<ArrayBuffer>,
): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(array)));
}

/** Throws unless the status is 0. */
export function ok(status: number): void {
  if (status !== 0) throw new Error(`answered ${status}, and not 0`);
}

/** What a function wrote for its caller. */
export function got(
  call: (out: BigUint64Array<ArrayBuffer>) => number,
): bigint {
  const value = new BigUint64Array(1);
  ok(call(value));
  return value[0];
}

/** How a kernel is launched. */
export interface Geometry {
  /** Blocks along x. */
  readonly grid?: number;
  /** Threads of a block along x. */
  readonly block?: number;
  /** Bytes of dynamic shared memory. */
  readonly shared?: number;
}

/** The libraries, and the few steps that each test needs. */
export class Raw {
  /** CUDA runtime. */
  readonly rt: Deno.DynamicLibrary<typeof runtime>["symbols"];
  /** CUDA driver. */
  readonly cu: Deno.DynamicLibrary<typeof driver>["symbols"];
  readonly #nvrtc: Deno.DynamicLibrary<typeof compiler>["symbols"];

  /**
   * Opens the stand-ins.
   *
   * @param host The machine.
   */
  constructor(readonly host: CudaHost) {
    const { paths } = host;
    this.rt = Deno.dlopen(paths["libcudart.so.13"], runtime).symbols;
    this.cu = Deno.dlopen(paths["libcuda.so.1"], driver).symbols;
    this.#nvrtc = Deno.dlopen(paths["libnvrtc.so.13"], compiler).symbols;
    ok(this.cu.cuInit(0));
  }

  /** A stream; by default one that does not wait for the legacy stream. */
  stream(flags = 1): bigint {
    return got((out) => this.rt.cudaStreamCreateWithFlags(out, flags));
  }

  /** An event. */
  event(flags = 2): bigint {
    return got((out) => this.rt.cudaEventCreateWithFlags(out, flags));
  }

  /** Memory in the order of a stream. */
  allocate(bytes: number, stream: bigint): bigint {
    return got((out) => this.rt.cudaMallocAsync(out, BigInt(bytes), stream));
  }

  /** Pinned memory and its contents. */
  pinned(count: number): { address: bigint; values: Float32Array } {
    const bytes = 4 * count;
    const address = got((out) => this.rt.cudaHostAlloc(out, BigInt(bytes), 0));
    const view = Deno.UnsafePointerView.getArrayBuffer(
      Deno.UnsafePointer.create(address)!,
      bytes,
    );
    return { address, values: new Float32Array(view) };
  }

  /** Writes floats, and waits. */
  write(target: bigint, values: number[], stream: bigint): void {
    const array = Float32Array.from(values);
    const bytes = BigInt(array.byteLength);
    ok(this.rt.cudaMemcpyAsync(target, at(array), bytes, kind.up, stream));
    ok(this.rt.cudaStreamSynchronize(stream));
  }

  /** Reads floats in the order of a stream. */
  read(source: bigint, count: number, stream: bigint): number[] {
    const array = new Float32Array(count);
    const bytes = BigInt(array.byteLength);
    ok(this.rt.cudaMemcpyAsync(at(array), source, bytes, kind.down, stream));
    return [...array];
  }

  /** Compiles; status, log and machine code. */
  compile(
    source: string,
    options: string[] = ["--gpu-architecture=sm_90"],
  ): { status: number; log: string; code: Uint8Array<ArrayBuffer> } {
    const lib = this.#nvrtc;
    const program = got((out) =>
      lib.nvrtcCreateProgram(out, text(source), text("test.cu"), 0, null, null)
    );
    const words = options.map(text);
    const list = BigUint64Array.from(words, (word) => at(word));
    const status = lib.nvrtcCompileProgram(program, words.length, list);
    const logSize = got((out) => lib.nvrtcGetProgramLogSize(program, out));
    const log = new Uint8Array(Number(logSize));
    ok(lib.nvrtcGetProgramLog(program, log));
    let code = new Uint8Array();
    if (status === 0) {
      const size = got((out) => lib.nvrtcGetCUBINSize(program, out));
      code = new Uint8Array(Number(size));
      ok(lib.nvrtcGetCUBIN(program, code));
    }
    ok(lib.nvrtcDestroyProgram(new BigUint64Array([program])));
    const words0 = new TextDecoder().decode(log.subarray(0, -1));
    return { status, log: words0, code };
  }

  /** A kernel named `k`, and the module that holds it. */
  kernel(source: string): { module: bigint; handle: bigint } {
    const { status, log, code } = this.compile(source);
    if (status !== 0) throw new Error(log);
    const module = got((out) => this.cu.cuModuleLoadData(out, code));
    const handle = got((out) =>
      this.cu.cuModuleGetFunction(out, module, text("k"))
    );
    return { module, handle };
  }

  /** Launches a kernel whose parameters take 8 bytes each; its status. */
  launch(
    kernel: bigint,
    stream: bigint,
    params: (bigint | number)[],
    { grid = 1, block = 1, shared = 0 }: Geometry = {},
  ): number {
    const values = BigInt64Array.from(params, (value) => BigInt(value));
    const list = BigUint64Array.from(
      params,
      (_, i) => at(values) + BigInt(8 * i),
    );
    return this.cu.cuLaunchKernel(
      ...[kernel, grid, 1, 1, block, 1, 1] as const,
      ...[shared, stream, at(list), 0n] as const,
    );
  }
}

/** A test of the stand-ins, on a machine in its first state. */
export async function rawTests(): Promise<
  (name: string, body: (raw: Raw) => void | Promise<void>) => void
> {
  const host = await cudaHost();
  if (!(host instanceof CudaHost)) {
    return (name) =>
      Deno.test({
        name: `${name} (${host.absent.split("\n")[0]})`,
        ignore: true,
        fn() {},
      });
  }
  const raw = new Raw(host);
  return (name, body) =>
    Deno.test(name, async () => {
      host.reset();
      ok(raw.rt.cudaSetDevice(0));
      raw.rt.cudaGetLastError();
      host.quiet(true);
      try {
        await body(raw);
      } finally {
        host.quiet(false);
      }
    });
}
