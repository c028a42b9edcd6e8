/**
 * What an optimizer is given to optimise: tensors, modules, or groups of
 * either with options of their own.
 *
 * @module
 */

import { isFloat } from "../core/dtype.ts";
import { DTypeError } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";

/** What has named parameters: a module. */
export interface ParameterSource {
  /** Parameters with their names. */
  namedParameters(): Iterable<[string, Tensor]>;
}

/** Parameters that share options. */
export type ParameterGroup<O> = O & {
  /** Tensors, or a module. */
  parameters: Iterable<Tensor> | ParameterSource;
};

/** Tensors, a module, or groups of either. */
export type Parameters<O> =
  | ParameterSource
  | Iterable<Tensor>
  | readonly ParameterGroup<O>[];

/** A parameter with the name that its state is saved under. */
export interface NamedParameter {
  /** Name in the module, or number in the list. */
  readonly name: string;
  /** The tensor. */
  readonly tensor: Tensor;
}

/** A group as it was given. */
export interface GivenGroup {
  /** Its parameters. */
  readonly parameters: readonly NamedParameter[];
  /** Options that differ from the optimizer's. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Whether something has named parameters. */
export function isSource(x: unknown): x is ParameterSource {
  return typeof (x as ParameterSource | undefined)?.namedParameters ===
    "function";
}

function isGroup(x: unknown): x is ParameterGroup<object> {
  return typeof x === "object" && x !== null && "parameters" in x &&
    !isSource(x) && (x as { isTensor?: boolean }).isTensor !== true;
}

/** Sorts what was given into groups with named parameters, and checks them. */
export function gather(
  who: string,
  given: Parameters<object>,
): GivenGroup[] {
  const items: unknown[] = isSource(given) ? [given] : [...given];
  const raw = items.length > 0 && items.every(isGroup)
    ? (items as ParameterGroup<object>[]).map(({ parameters, ...options }) => ({
      given: isSource(parameters) ? parameters : [...parameters],
      options,
    }))
    : [{ given: isSource(given) ? given : items as Tensor[], options: {} }];
  const seen = new Map<Tensor, string>();
  let next = 0;
  const groups = raw.map((group) => {
    const parameters: NamedParameter[] = isSource(group.given)
      ? Array.from(group.given.namedParameters(), ([name, tensor]) => ({
        name,
        tensor,
      }))
      : group.given.map((tensor) => ({ name: `${next++}`, tensor }));
    for (const { name, tensor } of parameters) {
      check(who, name, tensor, seen.get(tensor));
      seen.set(tensor, name);
    }
    return { parameters, options: group.options };
  });
  if (seen.size === 0) {
    throw new TypeError(
      `Cannot make ${who} of no parameters: give a module, tensors, or groups { parameters, …options }`,
    );
  }
  return groups;
}

function check(
  who: string,
  name: string,
  tensor: Tensor,
  earlier: string | undefined,
): void {
  if ((tensor as { isTensor?: boolean } | undefined)?.isTensor !== true) {
    throw new TypeError(
      `Cannot make ${who}: parameter ${name} is ${
        tensor === null ? "null" : `of type ${typeof tensor}`
      }, not a tensor`,
    );
  }
  if (earlier !== undefined) {
    throw new TypeError(
      `Cannot make ${who}: parameter ${name} is the same tensor as parameter ${earlier}; give each once`,
    );
  }
  if (!isFloat(tensor.dtype)) {
    throw new DTypeError(
      `Cannot make ${who}: parameter ${name} has dtype ${tensor.dtype}; only floating-point tensors can be optimised`,
    );
  }
  if (tensor.node !== undefined) {
    throw new TypeError(
      `Cannot make ${who}: parameter ${name} is the result of ${tensor.node.name}; only leaf tensors can be optimised`,
    );
  }
}
