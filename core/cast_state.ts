/**
 * Whether autocast is on: differentiation turns it off while it walks, and
 * recomputation turns it on again as it was.
 *
 * @module
 */

import type { Tensor } from "./tensor.ts";
import type { Value } from "./value.ts";

/** What was made of a parameter. */
export interface ParameterCast {
  /** The parameter in the other type. */
  readonly made: Tensor;
  /** What the parameter was then. */
  readonly value: Value;
  /** How often that had been overwritten. */
  readonly writes: number;
}

/** Autocast that is on. */
export interface CastState {
  /** Type of the operators that gain by it. */
  readonly dtype: "f16" | "bf16";
  /** Parameters in that type, by the parameter. */
  readonly casts: Map<Tensor, ParameterCast>;
}

let current: CastState | undefined;

/** The autocast that is on, if one is. */
export function castState(): CastState | undefined {
  return current;
}

/** Runs a body under another autocast, or under none. */
export function withCastState<T>(
  state: CastState | undefined,
  body: () => T,
): T {
  const outer = current;
  current = state;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** Runs a body under the autocast that is on, with parameters converted anew: they stand for other memory meanwhile. */
export function withFreshCasts<T>(body: () => T): T {
  if (current === undefined) return body();
  const own: CastState = { dtype: current.dtype, casts: new Map() };
  try {
    return withCastState(own, body);
  } finally {
    for (const { made } of own.casts.values()) made.dispose();
  }
}
