/**
 * Between tensors and the plain records of data sets and file formats.
 *
 * @module
 */

import { defaultDevice } from "../core/device.ts";
import { bytesOf, type HostArray } from "../core/dtype.ts";
import { readBytes } from "../core/row_kernels.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { type ArrayRecord, viewBytes } from "../formats/array_record.ts";
import type { Model } from "./model.ts";

/** A tensor with the elements of a record. */
export function toTensor(record: ArrayRecord, device?: string): Tensor {
  return fromHost(record.data as HostArray, record.dtype, record.shape, {
    device,
  });
}

/** Name of the device that a model computes on: that of its tensors, or the default device when it has none. */
export function deviceOf(model: Model): string {
  const [first] = Object.values(model.stateDict());
  return (first?.device ?? defaultDevice()).name;
}

/** Overwrites a tensor, which must be contiguous, with the elements of a record of its shape and dtype. */
export function overwriteRecord(tensor: Tensor, record: ArrayRecord): void {
  const { storage, offset, device, dtype } = tensor.value;
  if (tensor.size === 0) return;
  const { buffer, byteOffset, byteLength } = record.data as HostArray;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  device.write(storage, offset * bytesOf(dtype), bytes);
}

/** A record with a copy of the tensor's elements, f16 and bf16 as raw bits. */
export function toRecord(tensor: Tensor): ArrayRecord {
  const data = viewBytes(readBytes(tensor.value), tensor.dtype);
  return { data, shape: [...tensor.shape], dtype: tensor.dtype };
}
