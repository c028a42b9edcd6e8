/**
 * Every library call of a program made to fail in turn on the stand-ins: what
 * each failure must look like, and what may be left behind.
 */

import {
  closeDevice,
  DeviceLostError,
  dist,
  fromHost,
  getDevice,
  GraphError,
  memory,
  OutOfMemoryError,
  scope,
} from "../mod.ts";
import { openDevices } from "../core/device.ts";
import { CudaUnavailableError } from "../devices/cuda/available.ts";
import { CompilationError } from "../devices/cuda/compilation_error.ts";
import { CudaError } from "../ffi/errors.ts";
import { LibraryError } from "../ffi/library.ts";
import type { CudaHost } from "./cuda_host/mod.ts";

/** How a call fails. */
export type Kind =
  /** The call is refused; the device is as before. */
  | "refused"
  /** The call tells that the device is lost. */
  | "lost"
  /** The call succeeds, and its work loses the device. */
  | "later"
  /** There is no memory for the call, once. */
  | "full";

const illegalAddress = 700;

/** The status that a call answers; undefined when it cannot fail so. */
function statusOf(call: string, kind: Kind): number | undefined {
  const ofCuda = /^cuda|^cu[A-Z]/.test(call);
  switch (kind) {
    case "full":
      return /^cudaMalloc/.test(call) ? 2 : undefined;
    case "lost":
      return ofCuda ? illegalAddress : undefined;
    case "later":
      if (/^nccl(AllReduce|Broadcast)/.test(call)) return 6;
      return /^(cuLaunch|cudaMem(cpy|set).*Async|cudaGraphLaunch)|Execute$|^cublasLtMatmul$/
          .test(call)
        ? illegalAddress
        : undefined;
  }
  if (call.startsWith("cudnn")) return 5000; // execution failed
  if (call.startsWith("cublasLt")) return 13; // execution failed
  if (call.startsWith("nvrtc")) return 11; // internal error
  if (call.startsWith("nccl")) return 3; // internal error
  if (call === "cuLaunchKernel") return 701; // out of resources
  return 1; // invalid value
}

const own = [
  CompilationError,
  CudaError,
  CudaUnavailableError,
  DeviceLostError,
  GraphError,
  LibraryError,
  OutOfMemoryError,
  dist.CollectiveError,
];

/** What is wrong with an error that a failed call led to; undefined when it is clear. */
function unclear(
  error: unknown,
  call: string,
  status: number,
  kind: Kind,
): string | undefined {
  if (!own.some((type) => error instanceof type)) {
    return error instanceof Error ? error.stack : `${error}`;
  }
  const { message } = error as Error;
  const needed = [`(${status})`];
  // Calls that look for GPUs have a sentence of their own.
  if (!(error instanceof CudaUnavailableError)) needed.push("cuda:");
  // What is queued fails under another name.
  if (needed.length === 2 && kind !== "later") {
    needed.push(call.replace(/_v\d$/, ""));
  }
  const missing = needed.filter((part) => !message.includes(part));
  return missing.length === 0
    ? undefined
    : `"${message}" lacks ${missing.join(", ")}`;
}

/** Tensors, and blocks in use by device. */
function inUse(): string {
  const { tensors, devices } = memory();
  const cuda = Object.entries(devices)
    .filter(([name, { blocks }]) => name !== "cpu" && blocks !== 0)
    .map(([name, { liveBytes, blocks }]) =>
      `${liveBytes} bytes in ${blocks} blocks on ${name}`
    );
  return [`${tensors} tensors`, ...cuda].join(", ");
}

function cudaDevices(): string[] {
  return openDevices().map((d) => d.name).filter((n) => n.startsWith("cuda"));
}

function attempt<T>(body: () => T): { value?: T; error?: unknown } {
  try {
    return { value: body() };
  } catch (error) {
    return { error };
  }
}

/** Closes the CUDA devices. */
export function closeAll(): void {
  for (const name of cudaDevices()) closeDevice(name);
}

/** Numbers that agree to rounding. */
function agree(a: readonly number[] | undefined, b: readonly number[]) {
  return a?.length === b.length &&
    a.every((x, i) => Math.abs(x - b[i]) <= 1e-4 * Math.max(1, Math.abs(b[i])));
}

/** A program whose calls are made to fail. */
export interface Visited {
  /** Runs it; frees all that it made. */
  readonly run: () => number[];
  /** How many devices there are. */
  readonly devices: number;
  /** Whether devices are opened and closed by the program; otherwise they are warm: kernels and plans are there. */
  readonly cold?: boolean;
  /** How calls fail. */
  readonly kind: Kind;
  /** Every so many of the calls, and all of NCCL's. */
  readonly every?: number;
}

/** What was seen. */
export interface Seen {
  /** Calls that were made to fail. */
  visits: number;
  /** How many of them led to an error. */
  errors: number;
  /** What was not as it must be. */
  readonly wrong: string[];
}

/** Makes the calls of a program fail, one in each run. */
export function visit(host: CudaHost, what: Visited): Seen {
  const { run, devices, cold = false, kind, every = 1 } = what;
  const seen: Seen = { visits: 0, errors: 0, wrong: [] };
  const fresh = () => {
    closeAll();
    host.reset();
    host.devices(devices);
    host.clearViolations();
    if (!cold) run();
  };
  const whole = () => {
    const result = run();
    if (cold) closeAll();
    return result;
  };
  fresh();
  whole();
  host.clearCalls();
  const wanted = whole();
  const calls = host.calls();
  const seenOf = new Map<string, number>();
  let captured = false;
  for (let n = 1; n <= calls.length; n++) {
    const call = calls[n - 1];
    const nth = (seenOf.get(call) ?? 0) + 1;
    seenOf.set(call, nth);
    if (/^cudaStream(Begin|End)Capture$/.test(call)) {
      captured = call === "cudaStreamBeginCapture";
    }
    // Work that is captured does not run.
    if (captured && kind === "later") continue;
    // Calls of collectives are few beside the others.
    if (n % every !== 0 && !call.startsWith("nccl")) continue;
    const status = statusOf(call, kind);
    if (status === undefined) continue;
    const before = inUse();
    // By name: what a device keeps for later, events for example, shifts the
    // calls, and a status of one library means nothing from another.
    host.fail({ function: call, nth, status, later: kind === "later" });
    const { value, error } = attempt(whole);
    if (host.faultsLeft() > 0) {
      // This run had fewer such calls.
      host.clearFaults();
      fresh();
      continue;
    }
    const wrong = (text: string) =>
      seen.wrong.push(`call ${n}, ${call}, ${kind}: ${text}`);
    seen.visits++;
    if (error !== undefined) {
      seen.errors++;
      const text = unclear(error, call, status, kind);
      if (text !== undefined) wrong(text);
      if (kind === "full") wrong(`is not tried again: ${error}`);
    } else if (!agree(value, wanted)) wrong(`${value} is not ${wanted}`);
    const lost = attempt(() => {
      for (const name of cudaDevices()) getDevice(name).synchronize();
    }).error;
    if (lost !== undefined) {
      if (kind === "refused" || kind === "full") wrong(`${lost}`);
      requireLost(wrong);
      attempt(closeAll);
      if (inUse() !== before) wrong(`${inUse()} after the device was lost`);
      fresh();
    } else {
      if (inUse() !== before) wrong(`${inUse()} afterwards, not ${before}`);
      // A program that was not disturbed says nothing new in a second run.
      if (error !== undefined) {
        const again = attempt(run);
        if (!agree(again.value, wanted)) {
          wrong(`afterwards ${again.value ?? again.error}`);
        }
      }
      if (cold) {
        const { error } = attempt(closeAll);
        if (error !== undefined) wrong(`closing: ${error}`);
        const left = host.leaks();
        // What a library refuses to free stays.
        const may = /Destroy|Free|Unload/.test(call) ? 1 : 0;
        if (left.length > may) wrong(`${left.length} leaks: ${left}`);
        fresh();
      }
    }
    const violations = host.violations();
    if (violations.length > 0) wrong(`${violations}`);
  }
  closeAll();
  return seen;
}

/** Every use of a lost device says that it is lost, and why. */
function requireLost(wrong: (text: string) => void): void {
  const lost = cudaDevices().filter((name) =>
    attempt(() => getDevice(name).synchronize()).error !== undefined
  );
  for (const device of lost) {
    const one = Float32Array.of(1);
    const uses = [
      () => getDevice(device).synchronize(),
      () => scope(() => fromHost(one, "f32", [1], { device }).add(1).data()),
    ];
    for (const use of uses) {
      const { error } = attempt(use);
      if (
        !(error instanceof DeviceLostError) ||
        !/Cannot use cuda:\d: it was lost when \w+ reported \w+ \(\d+\)/.test(
          error.message,
        )
      ) wrong(`a later use of ${device} says: ${error}`);
    }
  }
}
