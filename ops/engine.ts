/**
 * Elementwise operators: from one expression to promotion, broadcasting,
 * pending evaluation and gradients of every order.
 *
 * @module
 */

import {
  gradEnabled,
  record,
  revive,
  save,
  type Saved,
} from "../core/autograd.ts";
import type { AttributeRules } from "../core/attributes.ts";
import { binder } from "../core/binding.ts";
import {
  type DType,
  dtypeCodes,
  dtypes,
  isFloat,
  type PromotionOperand,
  resultType,
} from "../core/dtype.ts";
import { DTypeError } from "../core/errors.ts";
import {
  checkTensors,
  type OpInfo,
  register,
  type Sample,
  through,
} from "../core/op.ts";
import { applyTemplate, template } from "../core/pending.ts";
import { broadcastShapes, sameShape, type Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Template, Value } from "../core/value.ts";
import { differentiate, scaled } from "../kernel/differentiate.ts";
import * as k from "../kernel/expr.ts";
import { simplify } from "../kernel/simplify.ts";
import { cast, sumTo } from "./foundation.ts";

/** An operand of an elementwise operator. */
export type Operand = Tensor | number;

/** A function of one tensor. */
export type Unary = (x: Tensor) => Tensor;

/** A function of two operands, broadcast against each other. */
export type Binary = (a: Operand, b: Operand) => Tensor;

/** Rule for the dtype of an elementwise result; see {@linkcode ElementwiseDeclaration}. */
export type ResultRule = "promote" | "number" | "float" | "bool";

/** Options with string or boolean values: they choose between expressions. */
export type Choices = Readonly<Record<string, string | boolean>>;

/** Declaration of an elementwise operator. */
export interface ElementwiseDeclaration {
  /** Name, as in `x.name()`. */
  readonly name: string;
  /** Family, for the catalogue. */
  readonly family: string;
  /** Names of the operands; one `x` when omitted. */
  readonly inputs?: readonly string[];
  /** Options: numbers become run-time scalars (floats, even where the operands are integers), others choose between expressions. */
  readonly attrs?: Readonly<Record<string, number | string | boolean>>;
  /** The computation; its derivative is found by the calculus table. */
  readonly define: (
    operands: readonly k.Expr[],
    scalars: Readonly<Record<string, k.Expr>>,
    choices: Choices,
  ) => k.Expr;
  /**
   * Derivatives by operand, where PyTorch's formula gives other values at NaN,
   * ±∞ or 0 than the calculus table does.
   */
  readonly slopes?: (
    operands: readonly k.Expr[],
    scalars: Readonly<Record<string, k.Expr>>,
    choices: Choices,
  ) => readonly (k.Expr | undefined)[];
  /**
   * Dtype of operands and result: the promoted one, the promoted one with
   * truth values made i64 (`number`), the promoted one made floating, or the
   * promoted one with a `bool` result.
   */
  readonly result?: ResultRule;
  /** What attributes may be, where that is not what the name says in other operators. */
  readonly rules?: AttributeRules;
  /** What the result is, as a formula in the names of operands and attributes. */
  readonly formula: string;
  /** PyTorch expression of the same computation. */
  readonly torch?: string;
  /** ONNX operator that computes it, perhaps with further options. */
  readonly onnx?: string;
  /** Caffe2 operator that computes it, perhaps with further options. */
  readonly caffe2?: string;
  /** Whether the result has no gradient. */
  readonly constant?: boolean;
  /** Dtypes that are refused, with what to say. */
  readonly check?: (operands: readonly Operand[]) => void;
  /** Maps call arguments when they are not operands followed by an options object. */
  readonly bind?: (
    // deno-lint-ignore no-explicit-any
    ...args: any[]
  ) => { inputs: readonly Operand[]; attrs?: Record<string, unknown> };
  /** Calls on which tests compare the operator with PyTorch. */
  readonly samples: readonly Sample[];
}

/** An expression of the operands. */
export type Definition = (operands: readonly k.Expr[]) => k.Expr;

/** Derivatives of an expression by operand; undefined where there is none. */
export type Slopes = (
  operands: readonly k.Expr[],
) => readonly (k.Expr | undefined)[];

interface Specialised {
  readonly template: Template;
  /** Dtype in which the expression is written. */
  readonly common: DType;
}

function operandCode(operand: Operand): number {
  if (typeof operand === "number") return Number.isInteger(operand) ? 18 : 19;
  const { value } = operand;
  return 2 * dtypeCodes[value.dtype] + (value.shape.length === 0 ? 1 : 0);
}

function promotionOf(operand: Operand): PromotionOperand {
  if (typeof operand === "number") {
    return { dtype: Number.isInteger(operand) ? "i64" : "f32", priority: 0 };
  }
  return { dtype: operand.dtype, priority: operand.rank === 0 ? 1 : 2 };
}

/** An elementwise function of `count` operands: expressions per dtype, derivatives on demand. */
export class Elementwise {
  readonly #specialised = new Map<number, Specialised>();
  readonly #gradients: (Gradient | undefined)[] = [];

  /**
   * Takes the definition; nothing is built before the first call.
   *
   * @param name Name, for messages.
   * @param count Number of operands.
   * @param define The expression.
   * @param result Rule for the dtype of the result.
   * @param constant Whether the result has no gradient.
   */
  constructor(
    /** Name, for messages. */
    readonly name: string,
    /** Number of operands. */
    readonly count: number,
    /** The expression. */
    readonly define: Definition,
    /** Rule for the dtype of the result. */
    readonly result: ResultRule,
    /** Whether the result has no gradient. */
    readonly constant: boolean,
    /** Operands that are attributes: they take no part in promotion. */
    readonly attributes: number = 0,
    /** Derivatives, where they are not those of the calculus table. */
    readonly slopes?: Slopes,
  ) {}

  /** Applies the function; numbers may stand for tensors. */
  apply(operands: readonly Operand[]): Tensor {
    let code = 0;
    let shape: Shape | undefined;
    let same = true;
    let wanted = false;
    const args = new Array<Value | number>(operands.length);
    for (let i = 0; i < operands.length; i++) {
      const operand = operands[i];
      code = code * 20 + operandCode(operand);
      if (typeof operand === "number") {
        args[i] = operand;
        continue;
      }
      const { value } = operand;
      args[i] = value;
      if (operand.requiresGrad) wanted = true;
      if (shape === undefined) shape = value.shape;
      else if (same && !sameShape(shape, value.shape)) same = false;
    }
    if (!same) shape = this.#broadcast(operands);
    let found = this.#specialised.get(code);
    if (found === undefined) {
      found = this.#specialise(operands);
      this.#specialised.set(code, found);
    }
    const result = applyTemplate(found.template, args, shape ?? []);
    if (wanted && !this.constant && gradEnabled() && isFloat(result.dtype)) {
      this.#record(operands, result);
    }
    return result;
  }

  #broadcast(operands: readonly Operand[]): Shape {
    const shapes: Shape[] = [];
    for (const operand of operands) {
      if (typeof operand !== "number") shapes.push(operand.shape);
    }
    return broadcastShapes(shapes, this.name);
  }

  #specialise(operands: readonly Operand[]): Specialised {
    const plain = operands.slice(0, operands.length - this.attributes);
    let common = resultType(plain.map(promotionOf));
    if (this.result === "float" && !isFloat(common)) common = "f32";
    if (this.result === "number" && common === "bool") common = "i64";
    const type = k.computeType(common);
    // Attributes may be fractions, whatever the operands are.
    const attributeType = isFloat(common) ? type : "f32";
    const leaves = operands.map((operand, i) =>
      typeof operand === "number"
        ? k.scalar(i, i < plain.length ? type : attributeType)
        : converted(k.input(i, k.computeType(operand.dtype)), operand, common)
    );
    const expr = simplify(this.define(leaves));
    const dtype = this.result === "bool" ? "bool" : common;
    return {
      template: template(this.name, k.cast(expr, k.computeType(dtype)), dtype),
      common,
    };
  }

  #record(operands: readonly Operand[], result: Tensor): void {
    const gradients: (Gradient | undefined)[] = [];
    const used = new Set<number>();
    operands.forEach((operand, i) => {
      if (typeof operand === "number" || !operand.requiresGrad) return;
      const gradient = this.#gradient(i);
      gradients[i] = gradient;
      for (const j of gradient.needs) used.add(j);
    });
    const saved: Saved[] = [];
    const sources = operands.map((operand, i): number | Saved | undefined => {
      if (!used.has(i)) return undefined;
      if (typeof operand === "number") return operand;
      const s = save(operand);
      saved.push(s);
      return s;
    });
    const shapes = operands.map((o) => typeof o === "number" ? [] : o.shape);
    const types = operands.map((o) => typeof o === "number" ? "f32" : o.dtype);
    const tensors = operands.map((o) => typeof o === "number" ? undefined : o);
    record(this.name, tensors, [result], saved, ([grad]) => {
      const revived = sources.map((s) => typeof s === "object" ? revive(s) : s);
      return operands.map((_, i) => {
        const gradient = gradients[i];
        if (gradient?.formula === undefined) return undefined;
        const args = gradient.needs.map((j) => revived[j]!);
        const full = gradient.formula.apply([...args, grad!]);
        const summed = sumTo(full, shapes[i]);
        return summed.dtype === types[i] ? summed : cast(summed, types[i]);
      });
    });
  }

  /** The derivative with respect to operand `i`, times the arriving gradient, as a function of its own. */
  #gradient(i: number): Gradient {
    return this.#gradients[i] ??= derive(this, i);
  }
}

/** An operand in the common dtype. */
function converted(leaf: k.Expr, operand: Tensor, common: DType): k.Expr {
  const value = k.cast(leaf, k.computeType(common));
  return operand.dtype === common ? value : k.roundTo(value, common);
}

/** A derivative: the operands it reads, and the function of those and the arriving gradient. */
interface Gradient {
  readonly needs: readonly number[];
  readonly formula: Elementwise | undefined;
}

/** The derivative of a function with respect to operand `i`, times `seed`. */
function slope(
  f: Elementwise,
  operands: readonly k.Expr[],
  i: number,
  seed: k.Expr,
): k.Expr | undefined {
  if (f.slopes === undefined) {
    return differentiate(f.define(operands), operands[i], seed);
  }
  const given = f.slopes(operands)[i];
  return given && scaled(given, seed);
}

function derive(f: Elementwise, i: number): Gradient {
  const variables = Array.from(
    { length: f.count },
    (_, j) => k.input(j, "f32"),
  );
  const seed = k.input(f.count, "f32");
  const trial = slope(f, variables, i, seed);
  if (trial === undefined) return { needs: [], formula: undefined };
  const needs: number[] = [];
  k.traverse([trial], (e) => {
    if (e.op === "input" && e !== seed) needs.push(Number(e.value));
  });
  needs.sort((a, b) => a - b);
  const define: Definition = (operands) => {
    const type = operands[0].type;
    const all = variables.map((_, j) => {
      const at = needs.indexOf(j);
      // An operand that the derivative does not read only needs a name.
      return at >= 0 ? operands[at] : k.input(1000 + j, type);
    });
    // Equal expressions are one node, so each operand must be a leaf of its own while differentiating.
    const names = all.map((_, j) => k.input(2000 + j, type));
    const seedName = k.input(2000 + all.length, type);
    const derivative = slope(f, names, i, seedName)!;
    return k.transform(derivative, (e) => {
      if (e === seedName) return operands[needs.length];
      const at = names.indexOf(e);
      return at >= 0 ? all[at] : e;
    });
  };
  return {
    needs,
    formula: new Elementwise(
      `${f.name} gradient`,
      needs.length + 1,
      define,
      "promote",
      false,
    ),
  };
}

/**
 * Declares an elementwise operator and returns the function that users call.
 *
 * @typeParam F Signature of the function.
 */
// deno-lint-ignore no-explicit-any
export function elementwise<F extends (...args: any[]) => Tensor>(
  d: ElementwiseDeclaration,
): F {
  const inputs = d.inputs ?? ["x"];
  const attrs = d.attrs ?? {};
  const numeric = Object.keys(attrs).filter((name) =>
    typeof attrs[name] === "number"
  );
  const choosing = Object.keys(attrs).filter((name) =>
    typeof attrs[name] !== "number"
  );
  const variants = new Map<string, Elementwise>();
  const variant = (given: Readonly<Record<string, unknown>>): Elementwise => {
    let key = "";
    for (const name of choosing) key += `${given[name]};`;
    let found = variants.get(key);
    if (found === undefined) {
      const choices = Object.fromEntries(
        choosing.map((name) => [name, given[name] as string | boolean]),
      );
      const parts = (operands: readonly k.Expr[]) => {
        const scalars = Object.fromEntries(
          numeric.map((name, i) => [name, operands[inputs.length + i]]),
        );
        return [operands.slice(0, inputs.length), scalars, choices] as const;
      };
      const { slopes } = d;
      found = new Elementwise(
        d.name,
        inputs.length + numeric.length,
        (operands) => d.define(...parts(operands)),
        d.result ?? "promote",
        d.constant ?? d.result === "bool",
        numeric.length,
        slopes && ((operands) => slopes(...parts(operands))),
      );
      variants.set(key, found);
    }
    return found;
  };
  const plain = numeric.length === 0 && choosing.length === 0
    ? variant({})
    : undefined;
  const bind = binder({
    name: d.name,
    count: inputs.length,
    attrs,
    rules: d.rules,
    bind: d.bind,
  });
  const run = (
    operands: readonly Operand[],
    given: Readonly<Record<string, unknown>>,
  ): Tensor => {
    checkTensors(d.name, operands, { required: inputs.length, numbers: true });
    d.check?.(operands);
    if (plain !== undefined) return plain.apply(operands);
    const scalars = numeric.map((name) => given[name] as number);
    return variant(given).apply([...operands, ...scalars]);
  };
  const call = plain !== undefined && d.bind === undefined
    ? (...args: Operand[]): Tensor => {
      const operands = args.length === inputs.length
        ? args
        : args.slice(0, inputs.length);
      return through(
        d.name,
        operands,
        attrs,
        (o) => run(o as Operand[], attrs),
      ) as Tensor;
    }
    : (...args: unknown[]): Tensor => {
      const bound = bind(...args);
      return through(
        d.name,
        bound.inputs,
        bound.attrs,
        (o) => run(o as Operand[], bound.attrs),
      ) as Tensor;
    };
  register({
    name: d.name,
    family: d.family,
    inputs,
    attrs,
    formula: d.formula,
    torch: d.torch,
    onnx: d.onnx,
    caffe2: d.caffe2,
    differentiable: !(d.constant ?? d.result === "bool"),
    samples: d.samples,
    bind: bind as OpInfo["bind"],
    call,
  });
  return call as unknown as F;
}

/** Refuses operands whose dtypes are not of the given kinds; `what` follows "Cannot". */
export function requireKinds(
  what: string,
  operands: readonly Operand[],
  kinds: readonly ("bool" | "int" | "float")[],
): void {
  for (const operand of operands) {
    if (typeof operand === "number") {
      if (kinds.includes("float") || Number.isInteger(operand)) continue;
      throw new DTypeError(
        `Cannot ${what} a tensor with ${operand}: the number must be an integer`,
      );
    }
    const { kind } = dtypes[operand.dtype];
    if (!kinds.includes(kind)) {
      const taken = Object.keys(dtypes).filter((name) =>
        kinds.includes(dtypes[name as DType].kind)
      );
      throw new DTypeError(
        `Cannot ${what} a tensor of dtype ${operand.dtype}: it takes ${
          taken.join(", ")
        }; convert it with cast(x, "${taken[0]}")`,
      );
    }
  }
}

/** Refuses operands that are all truth values; `what` follows "Cannot". */
export function refuseTruths(
  what: string,
  operands: readonly Operand[],
): void {
  const number = operands.find((x) =>
    typeof x === "number" || x.dtype !== "bool"
  );
  if (number !== undefined) return;
  throw new DTypeError(
    `Cannot ${what} truth values alone: one operand must be of numbers; convert it with cast(x, "i64")`,
  );
}
