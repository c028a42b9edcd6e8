/**
 * Notes what a device is asked to do, and how long it took.
 *
 * @module
 */

import type {
  Device,
  Launch,
  MatmulSpec,
  ScanSpec,
  ScatterSpec,
  SortSpec,
} from "../core/device.ts";
import { type DeviceCall, watchCalls } from "../core/device_calls.ts";
import { shapeText } from "../core/errors.ts";
import { programText } from "../kernel/program.ts";

/** A launch, library call or copy. */
export interface Run {
  /** Kernel, function of a library, or kind of copy; the device, where it tells no more. */
  readonly name: string;
  /** Microseconds that it took. */
  readonly duration: number;
}

/** One thing that a device did. */
export interface Work {
  /** What it was, with its extents. */
  readonly head: string;
  /** The kernel as text, when one was generated. */
  readonly program?: string;
  /** What ran for it. */
  readonly runs: readonly Run[];
}

/** What a call asks for, in words; undefined for one that asks for nothing. */
function wordsOf({ method, args }: DeviceCall): Omit<Work, "runs"> | undefined {
  const [first] = args;
  switch (method) {
    case "synchronize":
      return undefined;
    case "launch":
      return kernel(first as Launch, "kernel");
    case "launchAll": {
      const launches = first as readonly Launch[];
      const [l] = launches;
      return l && kernel(l, `${launches.length} times at once, a kernel`);
    }
    case "matmul":
      return { head: product(first as MatmulSpec) };
    case "packFactor":
      return { head: "right factor put in the order of products" };
    case "scatter": {
      const { dtype, mode, sourceSize, targetSize } = first as ScatterSpec;
      const sizes = `${sourceSize} into ${targetSize}`;
      return { head: `scatter ${dtype}, ${mode}: ${sizes}` };
    }
    case "sort": {
      const { dtype, rows, length } = first as SortSpec;
      return { head: `sort ${dtype}: ${rows} rows of ${length}` };
    }
    case "scan": {
      const { dtype, op, rows, length } = first as ScanSpec;
      return { head: `running ${op} ${dtype}: ${rows} rows of ${length}` };
    }
    case "write":
      return { head: `upload of ${(args[2] as Uint8Array).length} bytes` };
    case "read":
      return { head: `read of ${(args[2] as Uint8Array).length} bytes` };
    case "copy":
      return { head: `copy of ${args[4]} bytes` };
    case "defer":
      return { head: "check of elements at the next read" };
    default:
      return { head: `${method} of the device` };
  }
}

function kernel(l: Launch, what: string): Omit<Work, "runs"> {
  const outer = shapeText(l.sizes.slice(0, l.outerRank));
  const inner = l.sizes.slice(l.outerRank);
  const over = inner.length > 0
    ? `rows ${outer} of ${shapeText(inner)}`
    : outer;
  return { head: `${what} over ${over}`, program: programText(l.program) };
}

function product(spec: MatmulSpec): string {
  const { dtype, m, k, n, batchShape, bias } = spec;
  const batch = batchShape.length > 0
    ? `, for each of ${shapeText(batchShape)}`
    : "";
  const plus = bias === undefined ? "" : ` + [${n}]`;
  return `matrix product ${dtype} [${m}, ${k}]·[${k}, ${n}]${plus}${batch}`;
}

/** Notes from its making to `end`. */
export class Recorder implements Disposable {
  readonly #device: Device;
  readonly #unwatch: () => void;
  readonly #work: (Omit<Work, "runs"> & { readonly runs: Run[] })[] = [];
  /** Whether a call is under way: what it calls itself is part of it. */
  #inside = false;
  #running = true;

  /** Starts to note. */
  constructor(device: Device) {
    this.#device = device;
    device.timeline?.begin(() => `${this.#work.length - 1}`);
    this.#unwatch = watchCalls(device, (call, run) => this.#note(call, run));
  }

  #note(call: DeviceCall, run: () => unknown): unknown {
    const words = this.#inside ? undefined : wordsOf(call);
    if (words === undefined) return run();
    const runs: Run[] = [];
    this.#work.push({ ...words, runs });
    this.#inside = true;
    const start = performance.now();
    try {
      const result = run();
      // It has done nothing: another call follows.
      if (result === false) this.#work.pop();
      return result;
    } finally {
      this.#inside = false;
      if (this.#device.timeline === undefined) {
        const duration = 1000 * (performance.now() - start);
        runs.push({ name: this.#device.name, duration });
      }
    }
  }

  /** Waits for the device, and ends; what was done, in order. */
  end(): readonly Work[] {
    if (!this.#running) return this.#work;
    this.#running = false;
    this.#unwatch();
    for (
      const { name, duration, purpose } of this.#device.timeline?.end() ?? []
    ) {
      this.#work[Number(purpose)]?.runs.push({ name, duration });
    }
    return this.#work;
  }

  /** Same as {@linkcode Recorder.end}. */
  [Symbol.dispose](): void {
    this.end();
  }
}
