/**
 * What attributes of operators may be. `apply` checks every call's attributes
 * here, so that a wrong one is named in a sentence before anything runs.
 * Ranges that depend on the operands are the operators' own affair.
 *
 * @module
 */

import { dtypes, requireDTypeName } from "./dtype.ts";
import { IndexError, nearest } from "./errors.ts";

/** What an attribute may be. */
export interface AttributeRule {
  /** What it must be, after "it must be". */
  readonly says: string;
  /** Whether a value fits; undefined always does, and stands for the default. */
  accepts(value: unknown): boolean;
}

/** Rules by the names of attributes. */
export type AttributeRules = Readonly<Record<string, AttributeRule>>;

/** A rule of one's own; `says` follows "it must be". */
export function rule(
  says: string,
  accepts: (value: unknown) => boolean,
): AttributeRule {
  return { says, accepts };
}

/** A rule for lists of what `one` accepts. */
function listOf(one: AttributeRule, says: string): AttributeRule {
  return rule(says, (x) => Array.isArray(x) && x.every((e) => one.accepts(e)));
}

/** A rule that two others make: one of them must accept. */
export function either(a: AttributeRule, b: AttributeRule): AttributeRule {
  return rule(`${a.says}, or ${b.says}`, (x) => a.accepts(x) || b.accepts(x));
}

/** A rule for one of a few words. */
export function oneOf(...words: readonly string[]): AttributeRule {
  const list = words.map((word) => `"${word}"`).join(", ");
  return rule(
    `one of ${list}`,
    (x) => typeof x === "string" && words.includes(x),
  );
}

/** True or false. */
export const flag: AttributeRule = rule(
  "true or false",
  (x) => typeof x === "boolean",
);
/** Any number, NaN and infinities too. */
export const value: AttributeRule = rule(
  "a number",
  (x) => typeof x === "number",
);
/** A number, but not NaN. */
const number: AttributeRule = rule(
  "a number that is not NaN",
  (x) => typeof x === "number" && !Number.isNaN(x),
);
/** A probability. */
export const probability: AttributeRule = rule(
  "a number from 0 to 1",
  (x) => typeof x === "number" && x >= 0 && x <= 1,
);
/** A whole number. */
export const integer: AttributeRule = rule(
  "an integer",
  (x) => Number.isSafeInteger(x),
);
/** A whole number from 0 on. */
export const count: AttributeRule = rule(
  "an integer that is at least 0",
  (x) => Number.isSafeInteger(x) && (x as number) >= 0,
);
/** A whole number from 1 on. */
export const positiveInteger: AttributeRule = rule(
  "a positive integer",
  (x) => Number.isSafeInteger(x) && (x as number) > 0,
);
/** Whole numbers. */
export const integers: AttributeRule = listOf(integer, "a list of integers");
/** Whole numbers from 0 on. */
export const counts: AttributeRule = listOf(
  count,
  "a list of integers that are at least 0",
);
/** One or several whole numbers. */
export const integerOrList: AttributeRule = either(integer, integers);
/** One or several whole numbers from 0 on. */
export const countOrList: AttributeRule = either(count, counts);
/** One or several whole numbers from 1 on. */
export const positiveOrList: AttributeRule = either(
  positiveInteger,
  listOf(positiveInteger, "a list of positive integers"),
);
const positive: AttributeRule = rule(
  "a positive number",
  (x) => typeof x === "number" && x > 0 && x < Infinity,
);
const positives: AttributeRule = either(
  positive,
  listOf(positive, "a list of positive numbers"),
);
/** A text. */
const text: AttributeRule = rule("a text", (x) => typeof x === "string");
/** Name of a dtype. */
const dtype: AttributeRule = rule(
  "the name of a dtype",
  (x) => typeof x === "string" && Object.hasOwn(dtypes, x),
);
const object: AttributeRule = rule(
  "an object",
  (x) => typeof x === "object" && x !== null && !Array.isArray(x),
);
const generator: AttributeRule = rule(
  "a generator (generator(seed) makes one)",
  (x) =>
    object.accepts(x) && typeof (x as { take?: unknown }).take === "function",
);

const randomState: AttributeRule = rule(
  "a state of a generator, { seed, offset }",
  (x) =>
    object.accepts(x) && count.accepts((x as { seed?: unknown }).seed) &&
    count.accepts((x as { offset?: unknown }).offset),
);

/** Attributes that mean the same in every operator, unless it declares a rule of its own. */
const common: AttributeRules = {
  axes: integerOrList,
  axis: integer,
  axis1: integer,
  axis2: integer,
  offset: integer,
  keepDim: flag,
  shape: integers,
  normalizedShape: either(count, counts),
  spatial: counts,
  kernel: positiveOrList,
  stride: positiveOrList,
  dilation: positiveOrList,
  padding: countOrList,
  outputPadding: countOrList,
  groups: positiveInteger,
  count,
  rows: count,
  columns: count,
  eps: number,
  reduction: oneOf("none", "mean", "sum"),
  correction: number,
  ignoreIndex: integer,
  labelSmoothing: probability,
  paddingIdx: integer,
  lengths: counts,
  inputLengths: counts,
  targetLengths: counts,
  blank: count,
  minLength: count,
  layers: positiveInteger,
  dropout: probability,
  scale: number,
  classes: integer,
  start: number,
  end: number,
  state: randomState,
  scaleFactor: positives,
  factor: positiveInteger,
  block: positiveInteger,
  dtype,
  device: text,
  requiresGrad: flag,
  generator,
  approximate: oneOf("none", "tanh"),
  indexing: oneOf("ij", "xy"),
  paddingMode: oneOf("zeros", "border", "reflection"),
  kind: oneOf("lstm", "gru", "tanh", "relu"),
  nonlinearity: oneOf("tanh", "relu"),
  value,
  low: number,
  high: number,
  mean: number,
  std: number,
  nan: value,
  posInf: value,
  negInf: value,
};

/** What an attribute without a rule may be: what its default is. */
function ruleOfDefault(given: unknown): AttributeRule | undefined {
  if (typeof given === "boolean") return flag;
  if (typeof given === "number") return number;
  if (typeof given === "string") return text;
  return Array.isArray(given) ? integers : undefined;
}

/** The rules of an operator's attributes: its own, the common ones, or by the kind of the default. */
export function attributeRules(
  defaults: Readonly<Record<string, unknown>>,
  own: AttributeRules = {},
): AttributeRules {
  const rules: Record<string, AttributeRule> = {};
  for (const [name, given] of Object.entries(defaults)) {
    const found = own[name] ?? common[name] ?? ruleOfDefault(given);
    if (found !== undefined) rules[name] = found;
  }
  return rules;
}

/** A value as an error sentence shows it. */
export function showValue(x: unknown): string {
  if (typeof x === "string") return JSON.stringify(x);
  if (typeof x === "bigint") return `${x}n`;
  if (typeof x === "function") return "a function";
  if (Array.isArray(x)) {
    const shown = x.slice(0, 8).map(showValue).join(", ");
    return `[${shown}${x.length > 8 ? ", …" : ""}]`;
  }
  if (typeof x === "object" && x !== null) {
    const name = x.constructor?.name ?? "Object";
    return name === "Object" ? "an object" : `a ${name}`;
  }
  return String(x);
}

/**
 * Refuses an attribute that is no such thing; `undefined` stands for the default.
 *
 * @throws {IndexError} for numbers that are not in the attribute's range.
 * @throws {TypeError} for everything else that is wrong.
 */
export function checkAttribute(
  operator: string,
  name: string,
  given: unknown,
  rules: AttributeRules,
): void {
  const found = rules[name];
  if (found === undefined || given === undefined) return;
  if (found === dtype && typeof given === "string") {
    return requireDTypeName(given, `apply ${operator} with`);
  }
  if (found.accepts(given)) return;
  const Kind = numeric(given) ? IndexError : TypeError;
  throw new Kind(
    `Cannot apply ${operator} with ${name} ${
      showValue(given)
    }: it must be ${found.says}`,
  );
}

function numeric(x: unknown): boolean {
  return typeof x === "number" || (Array.isArray(x) && x.every(numeric));
}

/** Refuses an option that the operator does not have. */
export function refuseUnknown(
  operator: string,
  name: string,
  known: readonly string[],
): never {
  const meant = nearest(name, known);
  throw new TypeError(
    `Cannot apply ${operator} with the option ${name}: ${
      known.length === 0 ? "it has none" : `it has ${known.join(", ")}`
    }${meant === undefined ? "" : `; did you mean ${meant}?`}`,
  );
}
