/** What a rule for a difference from PyTorch says, and whether it holds of a value. */

import {
  type DType,
  getElement,
  hostArray,
  setElement,
} from "../../core/dtype.ts";
import { same, tolerance } from "./compare.ts";
import type { Sample } from "../../core/op.ts";
import { isSample } from "./calls.ts";
import type { Finding, Judged } from "./examine.ts";

/** What Decaf's or PyTorch's element is. */
export type Kind =
  | "NaN"
  | "∞"
  | "0"
  /** A zero whose sign is +, or −; only told with `--zeros`. */
  | "+0"
  | "-0"
  /** Finite and not 0. */
  | "finite"
  /** As PyTorch answers without vector instructions and oneDNN. */
  | "plain"
  /** As PyTorch answers in f64, or nearer to it than PyTorch's own answer. */
  | "double"
  /** As PyTorch answers with integers as f64. */
  | "reals"
  /** Of halves: as PyTorch answers but for roundings between, within 4 tolerances of max(1, |value|). */
  | "close";

/** A number as a dtype holds it. */
function held(dtype: DType, x: number): number {
  const host = hostArray(dtype, 1);
  setElement(host, dtype, 0, x);
  return getElement(host, dtype, 0);
}

/** Whether two zeros differ in their signs only. */
function onlySigns(e: Judged): boolean {
  return e.ours === 0 && e.theirs === 0;
}

function near(e: Judged, x: number, witness: number | undefined): boolean {
  if (witness === undefined) return false;
  const there = held(e.dtype, witness);
  return same(e.dtype, x, there, onlySigns(e));
}

const holds: Record<Kind, (e: Judged, x: number) => boolean> = {
  NaN: (_, x) => Number.isNaN(x),
  "∞": (_, x) => Math.abs(x) === Infinity,
  "0": (e, x) => x === 0 && !onlySigns(e),
  "+0": (e, x) => Object.is(x, 0) && onlySigns(e),
  "-0": (e, x) => Object.is(x, -0) && onlySigns(e),
  finite: (_, x) => Number.isFinite(x) && x !== 0,
  plain: (e, x) => near(e, x, e.seen.plain),
  double: (e, x) =>
    near(e, x, e.seen.double) ||
    !onlySigns(e) && Number.isFinite(e.seen.double) &&
      Math.abs(x - e.seen.double!) <= Math.abs(e.theirs - e.seen.double!),
  close: (e, x) =>
    (e.dtype === "f16" || e.dtype === "bf16") && !onlySigns(e) &&
    Number.isFinite(e.theirs) &&
    Math.abs(x - e.theirs) <=
      4 * tolerance[e.dtype] * Math.max(1, Math.abs(e.theirs)),
  reals: (e, x) => near(e, x, e.seen.reals),
};

/** What a call, and the operands' elements at the place of the one that differs, must have for a rule to hold. */
const conditions = {
  /** An operand has equal elements; the two zeros are equal. */
  ties: (sample: Sample) =>
    operands(sample).some(({ dtype, data }) =>
      new Set(data.map((x) => held(dtype, x))).size < data.length
    ),
  /** An operand has ±∞ or NaN. */
  infinite: (sample: Sample) => some(sample, (x) => !Number.isFinite(x)),
  /** An operand has NaN. */
  nan: (sample: Sample) => some(sample, Number.isNaN),
  /** An operand has NaN, or infinities of both signs, so that sums are NaN. */
  undefinedSums: (sample: Sample) =>
    some(sample, Number.isNaN) ||
    some(sample, (x) => x === Infinity) && some(sample, (x) => x === -Infinity),
  /** The first operand's element is NaN. */
  nanHere: (sample: Sample, { index }: Judged) =>
    Number.isNaN(operands(sample)[0].data[index]),
  /** The first operand's element is NaN or no i32. */
  noInteger: (sample: Sample, { index }: Judged) =>
    !(Math.abs(operands(sample)[0].data[index]) < 2 ** 31),
  /** The first operand's element is the least of its integer type, or beyond the range of i8. */
  least: (sample: Sample, { index }: Judged) => {
    const [{ dtype, data }] = operands(sample);
    return ["i8", "i32", "i64", "u8"].includes(dtype) &&
      !(Math.abs(data[index]) < 128);
  },
  /** One operand is of i8, the other of u8. */
  bytes: (sample: Sample) =>
    `${operands(sample).map(({ dtype }) => dtype).sort()}` === "i8,u8",
  /** An operand has a number beyond 2³⁰. */
  huge: (sample: Sample) =>
    some(sample, (x) => Math.abs(x) > 2 ** 30 && Math.abs(x) < Infinity),
  /** The second operand, an exponent, is beyond ±127. */
  largeExponent: (sample: Sample) =>
    operands(sample)[1].data.some((x) => Math.abs(x) > 127),
  /** A mask comes with the operands. */
  masked: (sample: Sample) =>
    sample.some((x) => typeof x === "object" && x !== null && "mask" in x),
  /** The first operand has four axes. */
  fourAxes: (sample: Sample) => operands(sample)[0].shape.length === 4,
  /** The second operand, a grid, has a place outside [−2, 2]. */
  far: (sample: Sample) =>
    operands(sample)[1].data.some((x) => !(Math.abs(x) <= 2)),
  /** The first operand's element is beyond ±255. */
  beyond255: (sample: Sample, { index }: Judged) =>
    Math.abs(operands(sample)[0].data[index]) > 255,
} as const;

function some(sample: Sample, is: (x: number) => boolean): boolean {
  return operands(sample).some(({ dtype, data }) =>
    data.some((x) => is(held(dtype, x)))
  );
}

function operands(sample: Sample) {
  return sample.flat().filter(isSample);
}

/** Where, what Decaf's element is, what PyTorch's is, and of which operators and dtypes. */
export type Case = readonly [
  place: "result" | "gradient",
  ours: Kind,
  theirs: "NaN" | "∞" | "0" | "finite" | "+0" | "-0",
  operators: string,
  dtypes: string,
];

/** A difference that is meant. */
export interface Rule {
  readonly name: string;
  /** What Decaf gives. */
  readonly decaf: string;
  /** What PyTorch gives. */
  readonly pytorch: string;
  readonly why: string;
  /** What must hold of the call and the element besides, all of it. */
  readonly when?: readonly (keyof typeof conditions)[];
  readonly cases: readonly Case[];
}

/** A difference of dtype or shape that is meant. */
export interface FormRule {
  readonly name: string;
  readonly decaf: string;
  readonly pytorch: RegExp;
  readonly why: string;
  readonly operators: string;
}

/** Calls that only one side takes. */
export interface RefusalRule {
  readonly name: string;
  readonly refuses: "Decaf" | "PyTorch";
  /** What its sentence says. */
  readonly says: RegExp;
  readonly why: string;
  readonly operators: string;
}

/** All that is known to differ. */
export interface Rules {
  readonly elements: readonly Rule[];
  readonly forms: readonly FormRule[];
  readonly refusals: readonly RefusalRule[];
}

function names(list: string, name: string): boolean {
  return list.split(" ").includes(name);
}

/** The case of a rule that an element is, if one is. */
function caseOf(
  rule: Rule,
  { info, sample }: Finding,
  e: Judged,
): Case | undefined {
  const found = rule.cases.find(([place, ours, theirs, operators, list]) =>
    e.place.startsWith(place) && names(operators, info.name) &&
    names(list, e.dtype) && holds[ours](e, e.ours) &&
    holds[theirs](e, e.theirs)
  );
  return found !== undefined &&
      (rule.when ?? []).every((name) => conditions[name](sample, e))
    ? found
    : undefined;
}

function keyOf(rule: string, where: string, operator: string): string {
  return `${rule}: ${where} of ${operator}`;
}

function caseKey(rule: Rule, c: Case, operator: string, dtype: DType): string {
  const [place, ours, theirs] = c;
  const where = `${place} ${ours}, PyTorch ${theirs}, of dtype ${dtype}`;
  return keyOf(rule.name, where, operator);
}

/** What rules allow and no call has shown, in words; `seen` is what {@linkcode explain} filled. */
export function unseen(rules: Rules, seen: ReadonlySet<string>): string[] {
  const elements = rules.elements.flatMap((rule) =>
    rule.cases.flatMap((c) =>
      c[3].split(" ").flatMap((operator) =>
        c[4].split(" ").map((dtype) =>
          caseKey(rule, c, operator, dtype as DType)
        )
      )
    )
  );
  const calls = [...rules.forms, ...rules.refusals].flatMap((rule) =>
    rule.operators.split(" ").map((name) => keyOf(rule.name, "a call", name))
  );
  return [...elements, ...calls].filter((key) => !seen.has(key));
}

/** The rules that explain a finding, or the part of it that none explains; adds their cases to `seen`. */
export function explain(
  finding: Finding,
  rules: Rules,
  seen: Set<string> = new Set(),
): { by: Set<string> } | { unexplained: string } {
  const { info, difference: d } = finding;
  if (d.kind === "elements") {
    const by = new Set<string>();
    for (const e of d.elements) {
      const found = rules.elements.flatMap((rule) => {
        const c = caseOf(rule, finding, e);
        return c === undefined ? [] : [{ rule, c }];
      }).at(0);
      if (found === undefined) {
        return { unexplained: `${e.place}[${e.index}] ${text(e)}` };
      }
      seen.add(caseKey(found.rule, found.c, info.name, e.dtype));
      by.add(found.rule.name);
    }
    return { by };
  }
  if (d.kind === "form") {
    const rule = rules.forms.find((rule) =>
      names(rule.operators, info.name) && rule.decaf === d.ours &&
      rule.pytorch.test(d.theirs)
    );
    if (rule === undefined) {
      return { unexplained: `${d.place}: ${d.ours}, PyTorch ${d.theirs}` };
    }
    seen.add(keyOf(rule.name, "a call", info.name));
    return { by: new Set([rule.name]) };
  }
  if (d.kind === "fault") return { unexplained: d.message };
  const refuses = d.kind === "refusedHere" ? "Decaf" : "PyTorch";
  const rule = rules.refusals.find((rule) =>
    rule.refuses === refuses && names(rule.operators, info.name) &&
    rule.says.test(d.message)
  );
  if (rule === undefined) {
    return { unexplained: `${refuses} refuses: ${d.message}` };
  }
  seen.add(keyOf(rule.name, "a call", info.name));
  return { by: new Set([`${refuses} refuses: ${rule.name}`]) };
}

function text({ ours, theirs, seen }: Judged): string {
  const show = (x: number) => Object.is(x, -0) ? "-0" : `${x}`;
  const others = Object.entries(seen).flatMap(([way, x]) =>
    x === undefined ? [] : [`${way} ${show(x)}`]
  );
  return `${show(ours)}, PyTorch ${show(theirs)} (${others.join(", ")})`;
}
