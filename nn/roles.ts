/**
 * Tensors that belong to modules: parameters, which are trained, and buffers,
 * which are only kept.
 *
 * @module
 */

import { detach } from "../core/autograd.ts";
import { isFloat } from "../core/dtype.ts";
import { DTypeError } from "../core/errors.ts";
import { persist } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";

/** What a tensor is to the module that holds it. */
export type Role = "parameter" | "buffer" | "unsaved buffer";

const roles = new WeakMap<Tensor, Role>();

/** What a tensor is to the module that holds it; undefined for passing ones. */
export function roleOf(tensor: Tensor): Role | undefined {
  return roles.get(tensor);
}

function adopt(tensor: Tensor, role: Role): Tensor {
  const own = tensor.node === undefined ? tensor : detach(tensor);
  own.materialize();
  own.value.madeBy = role;
  persist(own);
  roles.set(own, role);
  return own;
}

/** Options of {@linkcode parameter}. */
export interface ParameterOptions {
  /** Whether it is trained; true when omitted. */
  requiresGrad?: boolean;
}

/**
 * Makes a tensor a parameter: a module that holds it as a property trains and
 * saves it. It outlives every scope.
 *
 * @throws {DTypeError} when the tensor is not floating-point and is to be trained.
 */
export function parameter(
  tensor: Tensor,
  options: ParameterOptions = {},
): Tensor {
  const { requiresGrad = true } = options;
  if (requiresGrad && !isFloat(tensor.dtype)) {
    throw new DTypeError(
      `Cannot make a parameter of a tensor of dtype ${tensor.dtype}: only floating-point tensors can be trained; pass { requiresGrad: false } for one that is not`,
    );
  }
  const own = adopt(tensor, "parameter");
  own.requiresGrad = requiresGrad;
  return own;
}

/** Options of {@linkcode buffer}. */
export interface BufferOptions {
  /** Whether it is part of the state dict; true when omitted. */
  saved?: boolean;
}

/**
 * Makes a tensor a buffer: a module that holds it as a property saves and
 * moves it, but does not train it. It outlives every scope.
 */
export function buffer(tensor: Tensor, options: BufferOptions = {}): Tensor {
  const { saved = true } = options;
  const own = adopt(tensor, saved ? "buffer" : "unsaved buffer");
  own.requiresGrad = false;
  return own;
}
