/**
 * Between tensors and the plain records of data sets and file formats.
 *
 * @module
 */

import type { HostArray } from "../core/dtype.ts";
import { readBytes } from "../core/fuse.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { type ArrayRecord, viewBytes } from "../formats/array_record.ts";

/** A tensor with the elements of a record. */
export function toTensor(record: ArrayRecord, device?: string): Tensor {
  return fromHost(record.data as HostArray, record.dtype, record.shape, {
    device,
  });
}

/** A record with a copy of the tensor's elements, f16 and bf16 as raw bits. */
export function toRecord(tensor: Tensor): ArrayRecord {
  const data = viewBytes(readBytes(tensor.value), tensor.dtype);
  return { data, shape: [...tensor.shape], dtype: tensor.dtype };
}
