/**
 * Between tensors and the plain records of data sets and file formats.
 *
 * @module
 */

import { bytesOf, type HostArray } from "../core/dtype.ts";
import { readBytes } from "../core/fuse.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { type ArrayRecord, viewBytes } from "../formats/array_record.ts";

/** A tensor with the elements of a record. */
export function toTensor(record: ArrayRecord, device?: string): Tensor {
  return fromHost(record.data as HostArray, record.dtype, record.shape, {
    device,
  });
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
