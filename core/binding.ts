/**
 * From the arguments of a call to operands and attributes. Every call of every
 * operator passes here, and wrong options end here with a sentence.
 *
 * @module
 */

import {
  type AttributeRules,
  attributeRules,
  checkAttribute,
  refuseUnknown,
  showValue,
} from "./attributes.ts";
import type { Bound } from "./op.ts";
import type { Tensor } from "./tensor.ts";

/** What of a declaration says how its arguments are read. */
export interface Signature {
  /** Name of the operator. */
  readonly name: string;
  /** How many operands come first when there is no `bind`. */
  readonly count: number;
  /** Attributes and their defaults. */
  readonly attrs: Readonly<Record<string, unknown>>;
  /** Rules of attributes that differ from the common ones. */
  readonly rules?: AttributeRules;
  /** Maps arguments that are not operands followed by an options object. */
  // deno-lint-ignore no-explicit-any
  readonly bind?: (...args: any[]) => {
    readonly inputs: readonly unknown[];
    readonly attrs?: object;
  };
}

/**
 * The function that reads a call's arguments: operands as they are,
 * attributes checked and completed with their defaults.
 */
export function binder(d: Signature): (...args: unknown[]) => Bound {
  const names = Object.keys(d.attrs);
  // Found at the first call with options: importing the library calls none.
  let rules: AttributeRules | undefined;
  return (...args) => {
    const bound = d.bind === undefined
      ? { inputs: args.slice(0, d.count), attrs: args[d.count] }
      : d.bind(...args);
    if (!Array.isArray(bound.inputs)) {
      throw new TypeError(
        `Cannot apply ${d.name} to ${
          showValue(bound.inputs)
        }: it takes an array of tensors`,
      );
    }
    const inputs = bound.inputs as Bound["inputs"];
    const given = bound.attrs as Record<string, unknown> | undefined;
    if (given === undefined) return { inputs, attrs: d.attrs };
    if (!isOptions(given)) refuseOptions(d.name, names, given);
    rules ??= attributeRules(d.attrs, d.rules);
    const attrs: Record<string, unknown> = { ...d.attrs };
    for (const name in given) {
      const value = given[name];
      if (value === undefined || Object.is(value, attrs[name])) continue;
      if (!Object.hasOwn(attrs, name)) refuseUnknown(d.name, name, names);
      checkAttribute(d.name, name, value, rules);
      attrs[name] = value;
    }
    // What is no object where options belong has got lost.
    const last = args[args.length - 1];
    if (
      d.bind !== undefined && last !== undefined && !isObject(last) &&
      !used(last, inputs) && !used(last, Object.values(attrs))
    ) refuseOptions(d.name, names, last);
    return { inputs, attrs };
  };
}

function isObject(x: unknown): boolean {
  return typeof x === "object" && x !== null;
}

function isOptions(x: unknown): x is object {
  if (!isObject(x)) return false;
  const parent = Object.getPrototypeOf(x);
  return parent === Object.prototype || parent === null;
}

/** Whether a plain argument is an operand or an attribute, or in a list that is one. */
function used(arg: unknown, among: readonly unknown[]): boolean {
  return among.some((x) =>
    Object.is(x, arg) || (Array.isArray(x) && x.some((e) => Object.is(e, arg)))
  );
}

function refuseOptions(
  name: string,
  known: readonly string[],
  given: unknown,
): never {
  throw new TypeError(
    `Cannot apply ${name} with ${showValue(given)} as an argument: ${
      known.length === 0
        ? "it takes no options"
        : `options are given as an object with ${known.join(", ")}`
    }`,
  );
}

/** The tensors of an operand that is a list; refuses what is none. */
export function listOperand(
  operator: string,
  name: string,
  given: unknown,
): Tensor[] {
  if (Array.isArray(given)) return given;
  throw new TypeError(
    `Cannot apply ${operator} with ${name} ${
      showValue(given)
    }: it takes an array of tensors`,
  );
}
