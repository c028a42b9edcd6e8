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

/** What a call must have for a rule to hold. */
const conditions = {
  /** An operand has equal elements; the two zeros are equal. */
  ties: (sample: Sample) =>
    operands(sample).some(({ dtype, data }) =>
      new Set(data.map((x) => held(dtype, x))).size < data.length
    ),
  /** An operand has ±∞ or NaN. */
  infinite: (sample: Sample) =>
    operands(sample).some(({ dtype, data }) =>
      data.some((x) => !Number.isFinite(held(dtype, x)))
    ),
} as const;

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
  readonly when?: keyof typeof conditions;
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

function fits(rule: Rule, { info, sample }: Finding, e: Judged): boolean {
  return rule.cases.some(([place, ours, theirs, operators, list]) =>
    e.place.startsWith(place) && names(operators, info.name) &&
    names(list, e.dtype) && holds[ours](e, e.ours) &&
    holds[theirs](e, e.theirs)
  ) && (rule.when === undefined || conditions[rule.when](sample));
}

/** The rules that explain a finding, or the part of it that none explains. */
export function explain(
  finding: Finding,
  rules: Rules,
): { by: Set<string> } | { unexplained: string } {
  const { info, difference: d } = finding;
  if (d.kind === "elements") {
    const by = new Set<string>();
    for (const e of d.elements) {
      const rule = rules.elements.find((rule) => fits(rule, finding, e));
      if (rule === undefined) {
        return { unexplained: `${e.place}[${e.index}] ${text(e)}` };
      }
      by.add(rule.name);
    }
    return { by };
  }
  if (d.kind === "form") {
    const rule = rules.forms.find((rule) =>
      names(rule.operators, info.name) && rule.decaf === d.ours &&
      rule.pytorch.test(d.theirs)
    );
    return rule === undefined
      ? { unexplained: `${d.place}: ${d.ours}, PyTorch ${d.theirs}` }
      : { by: new Set([rule.name]) };
  }
  if (d.kind === "fault") return { unexplained: d.message };
  const refuses = d.kind === "refusedHere" ? "Decaf" : "PyTorch";
  const rule = rules.refusals.find((rule) =>
    rule.refuses === refuses && names(rule.operators, info.name) &&
    rule.says.test(d.message)
  );
  return rule === undefined
    ? { unexplained: `${refuses} refuses: ${d.message}` }
    : { by: new Set([`${refuses} refuses: ${rule.name}`]) };
}

function text({ ours, theirs, seen }: Judged): string {
  const show = (x: number) => Object.is(x, -0) ? "-0" : `${x}`;
  const others = Object.entries(seen).flatMap(([way, x]) =>
    x === undefined ? [] : [`${way} ${show(x)}`]
  );
  return `${show(ours)}, PyTorch ${show(theirs)} (${others.join(", ")})`;
}
