/**
 * Hyper-parameters: defaults and ranges as data, and the sentences that
 * refuse what is out of range.
 *
 * @module
 */

import { nearest } from "../core/errors.ts";

/** The values that a number may have. */
export interface Range {
  /** The values in words, after "must be". */
  readonly text: string;
  /** Whether a number is one of them. */
  readonly holds: (x: number) => boolean;
}

/** 0, ∞ excluded, and what lies between. */
export const nonNegative: Range = {
  text: "a finite number of at least 0",
  holds: (x) => x >= 0 && x < Infinity,
};

/** Above 0 and finite. */
export const positive: Range = {
  text: "a finite number above 0",
  holds: (x) => x > 0 && x < Infinity,
};

/** From 0 up to, but without, 1. */
export const fraction: Range = {
  text: "a number of at least 0 and below 1",
  holds: (x) => x >= 0 && x < 1,
};

/** Above 0, 1 included. */
export const share: Range = {
  text: "a number above 0 and at most 1",
  holds: (x) => x > 0 && x <= 1,
};

/** Any finite number. */
export const finite: Range = {
  text: "a finite number",
  holds: (x) => Number.isFinite(x),
};

/** A whole number of at least 1. */
export const count: Range = {
  text: "a whole number of at least 1",
  holds: (x) => Number.isSafeInteger(x) && x >= 1,
};

/** A whole number of at least 0. */
export const countOrZero: Range = {
  text: "a whole number of at least 0",
  holds: (x) => Number.isSafeInteger(x) && x >= 0,
};

/** One hyper-parameter: its default, what it may be, what it means. */
export type Hyper<T> = [T] extends [number]
  ? { readonly default: T; readonly range: Range; readonly what: string }
  : [T] extends [boolean] ? { readonly default: T; readonly what: string }
  : {
    readonly default: T;
    readonly choices: readonly T[];
    readonly what: string;
  };

/** Every hyper-parameter of a method. */
export type Schema<H> = {
  readonly [K in keyof H]-?: Hyper<Widen<Exclude<H[K], undefined>>>;
};

/** The plain type of a hyper-parameter. */
export type Widen<T> = [T] extends [number] ? number
  : [T] extends [boolean] ? boolean
  : T;

/** A value that a hyper-parameter can have. */
export type HyperValue = number | boolean | string;

/** A hyper-parameter of whatever type. */
export interface AnyHyper {
  /** The value it has when left out. */
  readonly default: HyperValue;
  /** What a number may be. */
  readonly range?: Range;
  /** What a word may be. */
  readonly choices?: readonly string[];
  /** What it means. */
  readonly what: string;
}

/** Refuses a hyper-parameter that is out of its range; `who` is what is being made. */
export function checkNumber(
  who: string,
  name: string,
  value: unknown,
  range: Range,
  what = name,
): number {
  if (typeof value !== "number" || !range.holds(value)) {
    throw new RangeError(
      `Cannot make ${who} with ${name} ${show(value)}: ${
        what === name ? name : `${name} (${what})`
      } must be ${range.text}`,
    );
  }
  return value;
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** The given options with defaults filled in. @throws for an unknown name or a value out of range. */
export function resolve<H extends object>(
  who: string,
  schema: Schema<H>,
  given: Readonly<Record<string, unknown>>,
  defaults: Partial<H> = {},
): Required<H> {
  const known = schema as Readonly<Record<string, AnyHyper>>;
  for (const name of Object.keys(given)) {
    if (name in known) continue;
    const near = nearest(name, Object.keys(known));
    throw new TypeError(
      `Cannot make ${who} with option "${name}": there is no such option${
        near === undefined ? "" : `; did you mean "${near}"?`
      } (it takes ${Object.keys(known).join(", ")})`,
    );
  }
  const result: Record<string, HyperValue> = {};
  for (const [name, hyper] of Object.entries(known)) {
    const value = given[name] ??
      (defaults as Record<string, HyperValue | undefined>)[name] ??
      hyper.default;
    result[name] = checked(who, name, value, hyper);
  }
  return result as Required<H>;
}

function checked(
  who: string,
  name: string,
  value: unknown,
  hyper: AnyHyper,
): HyperValue {
  if (hyper.range !== undefined) {
    return checkNumber(who, name, value, hyper.range, hyper.what);
  }
  const allowed: readonly HyperValue[] = hyper.choices ?? [true, false];
  if (!allowed.includes(value as HyperValue)) {
    throw new TypeError(
      `Cannot make ${who} with ${name} ${
        show(value)
      }: ${name} (${hyper.what}) must be ${allowed.map(show).join(" or ")}`,
    );
  }
  return value as HyperValue;
}
