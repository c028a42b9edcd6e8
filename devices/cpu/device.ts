/**
 * The CPU device: WebAssembly SIMD kernels on shared memory.
 *
 * @module
 */

import {
  type Block,
  type Device,
  type DeviceKernels,
  type DeviceStats,
  type FactorSpec,
  type Launch,
  type MatmulSpec,
  type MatrixOperand,
  registerDevice,
  type ScanSpec,
  type ScatterSpec,
  type SortSpec,
  Storage,
  type WindowSpec,
} from "../../core/device.ts";
import { bytesOf } from "../../core/dtype.ts";
import { conv2d, conv2dInputGrad, conv2dWeightGrad } from "./conv.ts";
import { matmul, packedElements, packRight } from "./gemm.ts";
import { launch } from "./launch.ts";
import { allocate, heap, memoryStats, release } from "./memory.ts";
import { type PlaneSpec, planeSpec } from "./plane_spec.ts";
import { maxPool2d, placeAt } from "./pool2d.ts";
import { scan } from "./scan.ts";
import { scatter } from "./scatter.ts";
import { sort } from "./sort.ts";

/** Address of the first element of a block. */
function addressOf(block: Block, elementBytes: number): number {
  return block.storage.address + elementBytes * block.offset;
}

/** Address of the first element of a block of f32. */
function at(block: Block): number {
  return addressOf(block, 4);
}

/** Runs a kernel over planes, if it takes the operands: it may answer false. */
function overPlanes(
  spec: WindowSpec,
  kernel: (planes: PlaneSpec) => boolean | void,
): boolean {
  const planes = planeSpec(spec);
  return planes !== undefined && kernel(planes) !== false;
}

/** The device named `cpu`. */
export class CpuDevice implements Device {
  /** Name of the device. */
  readonly name = "cpu";
  /** Fast paths. */
  readonly kernels: DeviceKernels = {
    conv: (spec, x, w, bias, y) =>
      overPlanes(spec, (planes) =>
        conv2d(
          planes,
          at(x),
          at(w),
          bias === undefined ? 0 : at(bias),
          at(y),
        )),
    convInputGrad: (spec, dy, w, dx) =>
      overPlanes(spec, (p) => conv2dInputGrad(p, at(dy), at(w), at(dx))),
    convWeightGrad: (spec, x, dy, dw) =>
      overPlanes(spec, (p) => conv2dWeightGrad(p, at(x), at(dy), at(dw))),
    maxPool: (spec, x, y, indices) =>
      overPlanes(
        spec,
        (p) => maxPool2d(p, at(x), at(y), addressOf(indices, 8)),
      ),
    placeAt: (spec, values, indices, planes) => {
      if (spec.dtype !== "f32") return false;
      placeAt(spec, at(values), addressOf(indices, 8), at(planes));
      return true;
    },
  };

  /** Takes memory; its contents are whatever was there. */
  allocate(bytes: number): Storage {
    return new Storage(this, allocate(bytes), bytes);
  }

  /** Returns memory. */
  free(storage: Storage): void {
    release(storage.address);
  }

  /** Copies host bytes in. */
  write(storage: Storage, byteOffset: number, bytes: Uint8Array): void {
    heap.u8.set(bytes, storage.address + byteOffset);
  }

  /** Copies bytes out. */
  read(storage: Storage, byteOffset: number, bytes: Uint8Array): void {
    const from = storage.address + byteOffset;
    bytes.set(heap.u8.subarray(from, from + bytes.length));
  }

  /** Runs a row program to its end. */
  launch(l: Launch): void {
    launch(l);
  }

  /** Multiplies matrices. */
  matmul(spec: MatmulSpec): void {
    const { dtype, bias } = spec;
    const operand = (o: MatrixOperand) => ({
      address: o.storage.address + o.offset * bytesOf(dtype),
      rowStride: o.rowStride,
      columnStride: o.columnStride,
      batchStrides: o.batchStrides,
    });
    matmul({
      dtype,
      m: spec.m,
      n: spec.n,
      k: spec.k,
      batchShape: spec.batchShape,
      a: operand(spec.a),
      b: operand(spec.b),
      c: operand(spec.c),
      bias: bias === undefined ? undefined : {
        address: bias.storage.address + bias.offset * bytesOf(dtype),
        stride: 1,
        per: "column",
      },
      packed: spec.packed && addressOf(spec.packed, bytesOf(dtype)),
    });
  }

  /** Elements that a right factor takes when it is packed. */
  packedElements({ dtype, k, n }: FactorSpec): number {
    return packedElements(dtype, k, n);
  }

  /** Packs a right factor once for many products. */
  packFactor({ dtype, k, n, b }: FactorSpec, into: Block): void {
    const bytes = bytesOf(dtype);
    const { rowStride, columnStride } = b;
    const from = { address: addressOf(b, bytes), rowStride, columnStride };
    packRight(dtype, k, n, from, addressOf(into, bytes));
  }

  /** Scatters along an axis. */
  scatter(spec: ScatterSpec): void {
    scatter(spec);
  }

  /** Sorts rows. */
  sort(spec: SortSpec): void {
    sort(spec);
  }

  /** Scans rows. */
  scan(spec: ScanSpec): void {
    scan(spec);
  }

  /** Does nothing: every call runs to its end. */
  synchronize(): void {}

  /** Memory in use. */
  stats(): DeviceStats {
    return memoryStats();
  }
}

registerDevice("cpu", () => new CpuDevice());
