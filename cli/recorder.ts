/**
 * A device that works like another one and notes what it is asked to do.
 *
 * @module
 */

import type {
  Device,
  DeviceKernels,
  DeviceStats,
  Launch,
  MatmulSpec,
  ScanSpec,
  ScatterSpec,
  SortSpec,
  Storage,
} from "../core/device.ts";
import { shapeText } from "../core/errors.ts";
import { programText } from "../kernel/program.ts";

/** One thing that a device did. */
export interface Work {
  /** What it was, with its extents. */
  readonly head: string;
  /** The kernel as text, when one was generated. */
  readonly program?: string;
}

/** Notes launches, products and the rest, and passes them on. */
export class Recorder implements Device {
  /** What was done, in order. */
  readonly work: Work[] = [];
  /** Name of the device. */
  readonly name: string;
  /** Fast paths, noted too. */
  readonly kernels: DeviceKernels;
  readonly #device: Device;

  /** Wraps a device under a name of its own. */
  constructor(name: string, device: Device) {
    this.name = name;
    this.#device = device;
    this.kernels = Object.fromEntries(
      Object.entries(device.kernels).map(([kernel, run]) => [
        kernel,
        typeof run !== "function" ? run : (...args: unknown[]) => {
          const taken = (run as (...args: unknown[]) => unknown)(...args);
          if (taken) this.work.push({ head: `${kernel} of the device` });
          return taken;
        },
      ]),
    );
  }

  /** Takes memory. */
  allocate(bytes: number, written?: boolean): Storage {
    return this.#device.allocate(bytes, written);
  }

  /** Returns memory. */
  free(storage: Storage): void {
    this.#device.free(storage);
  }

  /** Copies bytes in. */
  write(storage: Storage, byteOffset: number, bytes: Uint8Array): void {
    this.#device.write(storage, byteOffset, bytes);
  }

  /** Copies bytes out. */
  read(storage: Storage, byteOffset: number, bytes: Uint8Array): void {
    this.#device.read(storage, byteOffset, bytes);
  }

  /** Runs a row program. */
  launch(l: Launch): void {
    const outer = l.sizes.slice(0, l.outerRank);
    const inner = l.sizes.slice(l.outerRank);
    this.work.push({
      head: inner.length > 0
        ? `kernel over rows ${shapeText(outer)} of ${shapeText(inner)}`
        : `kernel over ${shapeText(outer)}`,
      program: programText(l.program),
    });
    this.#device.launch(l);
  }

  /** Multiplies matrices. */
  matmul(spec: MatmulSpec): void {
    const { dtype, m, k, n, batchShape, bias } = spec;
    const batch = batchShape.length > 0
      ? `, for each of ${shapeText(batchShape)}`
      : "";
    const plus = bias === undefined ? "" : ` + [${n}]`;
    const head = `matrix product ${dtype} [${m}, ${k}]·[${k}, ${n}]${plus}`;
    this.work.push({ head: head + batch });
    this.#device.matmul(spec);
  }

  /** Scatters along an axis. */
  scatter(spec: ScatterSpec): void {
    const { dtype, mode, sourceSize, targetSize } = spec;
    this.work.push({
      head: `scatter ${dtype}, ${mode}: ${sourceSize} into ${targetSize}`,
    });
    this.#device.scatter(spec);
  }

  /** Sorts rows. */
  sort(spec: SortSpec): void {
    const { dtype, rows, length } = spec;
    this.work.push({ head: `sort ${dtype}: ${rows} rows of ${length}` });
    this.#device.sort(spec);
  }

  /** Scans rows. */
  scan(spec: ScanSpec): void {
    const { dtype, op, rows, length } = spec;
    this.work.push({
      head: `running ${op} ${dtype}: ${rows} rows of ${length}`,
    });
    this.#device.scan(spec);
  }

  /** Waits for all queued work. */
  synchronize(): void {
    this.#device.synchronize();
  }

  /** Memory in use. */
  stats(): DeviceStats {
    return this.#device.stats();
  }
}
