/**
 * Shows what would run to compute a tensor.
 *
 * @module
 */

import { programText } from "../kernel/program.ts";
import { pendingProgram } from "./fuse.ts";
import { shapeText } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

/**
 * The kernel that computes a pending tensor, as readable text; where its
 * memory is, when it is stored.
 */
export function explain(tensor: Tensor): string {
  const { value } = tensor;
  const head = `${value.dtype}${
    shapeText(value.shape)
  } on ${value.device.name}`;
  if (value.expression === undefined) {
    return `${head}: stored, strides ${shapeText(value.strides)}`;
  }
  return `${head}: pending, one kernel\n${programText(pendingProgram(value))}`;
}
