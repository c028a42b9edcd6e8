/** Row programs for the tests of CUDA kernels: every operation of every type, softmax, norms, reductions. */

import type { Launch, Strided } from "../core/device.ts";
import { type DType, dtypes } from "../core/dtype.ts";
import { contiguousStrides } from "../core/shape.ts";
import { rules } from "../kernel/cuda/ops.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ExprOp, ScalarType } from "../kernel/expr.ts";
import {
  type Output,
  type Program,
  program,
  type Stage,
  stageType,
} from "../kernel/program.ts";

/** All dtypes. */
export const allDTypes = Object.keys(dtypes) as DType[];

/** An operand at an address, by default an aligned one. */
export function at(
  dtype: DType,
  strides: readonly number[],
  address = 1 << 20,
): Strided {
  return {
    storage: { address } as Strided["storage"],
    dtype,
    offset: 0,
    strides,
  };
}

/** A launch over contiguous operands. */
export function dense(
  p: Program,
  sizes: readonly number[],
  outerRank = 0,
  inputs?: readonly Strided[],
): Launch {
  const strides = contiguousStrides(sizes);
  const perRow = [
    ...contiguousStrides(sizes.slice(0, outerRank)),
    ...sizes.slice(outerRank).map(() => 0),
  ];
  return {
    program: p,
    sizes,
    outerRank,
    inputs: inputs ?? p.inputs.map((dtype) => at(dtype, strides)),
    limits: p.inputs.map(() => 1000),
    outputs: p.outputs.map(({ dtype, per }) =>
      at(dtype, per === "element" ? strides : perRow)
    ),
    scalars: p.scalars.map((_, i) => i + 1),
  };
}

export const scalarTypes: readonly ScalarType[] = [
  "f32",
  "f64",
  "i32",
  "i64",
  "bool",
];

const leaves: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "const",
  "input",
  "scalar",
  "coord",
  "linear",
  "stage",
  "load",
]);

const comparisons: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "lt",
  "le",
  "eq",
  "ne",
]);

const shifts: ReadonlySet<ExprOp> = new Set<ExprOp>(["shl", "shr", "shru"]);

const ofI32: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "mulhiu",
  "wrapU8",
  "wrapI8",
]);

const ofF32: ReadonlySet<ExprOp> = new Set<ExprOp>(["roundF16", "roundBf16"]);

const ofFloats: ReadonlySet<ExprOp> = new Set<ExprOp>([
  ...k.floatFunctions,
  "pow",
  "atan2",
]);

const ofBits: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "and",
  "or",
  "xor",
  "not",
]);

const unary: ReadonlySet<ExprOp> = new Set<ExprOp>([
  ...k.floatFunctions,
  "neg",
  "abs",
  "not",
  "shl",
  "shr",
  "shru",
  "roundF16",
  "roundBf16",
  "wrapU8",
  "wrapI8",
]);

/** Whether an operation takes operands of a type. */
function takes(op: ExprOp, type: ScalarType): boolean {
  if (ofI32.has(op)) return type === "i32";
  if (ofF32.has(op)) return type === "f32";
  if (ofFloats.has(op)) return type === "f32" || type === "f64";
  if (shifts.has(op)) return type === "i32" || type === "i64";
  if (ofBits.has(op)) return type !== "f32" && type !== "f64";
  if (comparisons.has(op) || op === "select") return true;
  return type !== "bool";
}

/** Every use of every operation on operands a, b, c of a type; shifts by some numbers of bits, casts to all types. */
function usesOf(op: ExprOp, a: Expr, b: Expr, c: Expr): Expr[] {
  const { type } = a;
  if (leaves.has(op)) return [];
  if (op === "cast") return scalarTypes.map((to) => k.cast(a, to));
  if (op === "bitcast") {
    const pairs: Partial<Record<ScalarType, ScalarType>> = {
      f32: "i32",
      i32: "f32",
      f64: "i64",
      i64: "f64",
    };
    const to = pairs[type];
    return to === undefined ? [] : [k.bitcast(a, to)];
  }
  if (!takes(op, type)) return [];
  if (shifts.has(op)) {
    const most = type === "i64" ? 63 : 31;
    return [0, 1, 7, most].map((bits) => k.node(op, type, [a], bits));
  }
  if (op === "select") return [k.select(k.lt(a, b), b, c)];
  if (op === "fma") return [k.fma(a, b, c)];
  if (unary.has(op)) return [k.node(op, type, [a])];
  return [k.node(op, comparisons.has(op) ? "bool" : type, [a, b])];
}

/** All operations. */
const allOps = Object.keys(rules) as ExprOp[];

/** The dtype that stores a computed type. */
function storedAs(type: ScalarType): DType {
  return type;
}

/** Programs with all uses of all operations on a type, a few outputs each. */
export function operationPrograms(type: ScalarType): Program[] {
  const [a, b, c] = [0, 1, 2].map((i) => k.input(i, type));
  const all = allOps.flatMap((op) => usesOf(op, a, b, c));
  const programs: Program[] = [];
  for (let i = 0; i < all.length; i += 8) {
    programs.push(program(
      [storedAs(type), storedAs(type), storedAs(type)],
      [],
      [],
      all.slice(i, i + 8).map((value) => ({
        dtype: storedAs(value.type),
        per: "element",
        value,
      })),
    ));
  }
  return programs;
}

/** Operand of a dtype as a value of a type that stages reduce. */
export function reducible(x: Expr): Expr {
  return x.type === "bool" ? k.cast(x, "i32") : x;
}

function rowOutput(s: number, stage: Stage): Output {
  const type = stageType(stage);
  return { dtype: type as DType, per: "row", value: k.stage(s, type) };
}

/** A softmax. */
export function softmaxProgram(dtype: "f32" | "f64" | "f16" | "bf16"): Program {
  const x = k.input(0, k.computeType(dtype));
  const e = k.exp(k.sub(x, k.stage(0, x.type)));
  return program([dtype], [], [
    { op: "max", value: x },
    { op: "sum", value: e },
  ], [{
    dtype,
    per: "element",
    value: k.roundTo(k.mul(e, k.div(1, k.stage(1, x.type))), dtype),
  }]);
}

/** Elements times their numbers. */
export function numberedProgram(dtype: "f32" | "bf16"): Program {
  const value = k.mul(k.input(0, "f32"), k.cast(k.linear(), "f32"));
  return program([dtype], [], [], [
    { dtype, per: "element", value: k.roundTo(value, dtype) },
  ]);
}

/** A layer norm with weight and bias per element of the row, and the statistics. */
export function normProgram(dtype: "f32" | "f64" | "f16" | "bf16"): Program {
  const type = k.computeType(dtype);
  const [x, w, b] = [0, 1, 2].map((i) => k.input(i, type));
  const n = k.scalar(0, type);
  const mean = k.div(k.stage(0, type), n);
  const d = k.sub(x, mean);
  const scale = k.div(
    1,
    k.sqrt(k.add(k.div(k.stage(1, type), n), k.scalar(1, type))),
  );
  return program([dtype, dtype, dtype], [type, type], [
    { op: "sum", value: x },
    { op: "sum", value: k.mul(d, d) },
  ], [
    {
      dtype,
      per: "element",
      value: k.roundTo(k.fma(d, k.mul(scale, w), b), dtype),
    },
    { dtype: type as DType, per: "row", value: mean },
    { dtype: type as DType, per: "row", value: scale },
  ]);
}

/** A reduction of one operand. */
export function reduceProgram(op: Stage["op"], dtype: DType): Program {
  const stage = {
    op,
    value: reducible(k.input(0, k.computeType(dtype))),
  };
  return program([dtype], [], [stage], [rowOutput(0, stage)]);
}
