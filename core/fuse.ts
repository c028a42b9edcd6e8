/**
 * From pending expressions to programs: flattens the expressions that feed a
 * kernel into one, and finds its program again by its structure.
 *
 * @module
 */

import { type DType, dtypeCodes } from "./dtype.ts";
import {
  allFlat,
  flatOperands,
  memoryOrder,
  none,
  pick,
  run,
  strided,
  unit,
} from "./launches.ts";
import { broadcastStrides } from "./shape.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";
import { simplify } from "../kernel/simplify.ts";
import { type Program, program } from "../kernel/program.ts";
import type { Value } from "./value.ts";

/** Largest number of stored operands that one kernel reads. */
export const maxLeaves = 12;
/** Largest number of expression nodes that stay pending. */
export const maxNodes = 64;

/**
 * A place in the tree of structures: each step to a child is one part of an
 * expression (a template, an operand, a number), so that finding a kernel
 * again takes no text. A template's operands follow it, as many as it takes,
 * which makes paths unambiguous.
 */
export class Place {
  #code = -1;
  #only: Place | undefined;
  #others: Map<number, Place> | undefined;
  /** The program of the structure that ends here. */
  program: Program | undefined;
  /** For row kernels, the axes in the order in which they are walked. */
  order: readonly number[] = none;
  /** For row kernels, whether all axes may be walked as one where operands allow it. */
  mergeable = false;

  /** The child for a part. */
  to(code: number): Place {
    if (code === this.#code) return this.#only!;
    if (this.#only === undefined) {
      this.#code = code;
      return this.#only = new Place();
    }
    this.#others ??= new Map();
    let child = this.#others.get(code);
    if (child === undefined) this.#others.set(code, child = new Place());
    return child;
  }

  /** The child for stored operand `i`. */
  leaf(i: number, dtype: DType): Place {
    return this.to(4 * (16 * i + dtypeCodes[dtype]));
  }
}

/** Operands of a kernel under construction: stored leaves, scalars, and the structure as a path. */
export class Fusion {
  /** Stored operands, in the order of the kernel's streams. */
  readonly leaves: Value[] = [];
  /** Run-time scalars, in order. */
  readonly scalars: number[] = [];
  /** Pending values that are part of the kernel. */
  #seen: Value[] | undefined;

  /** Starts the path at `place`. */
  constructor(
    /** Where the path has led so far. */
    public place: Place,
  ) {}

  /** Adds an operand to the path; pending ones of size `size` are inlined, others computed first. */
  visit(value: Value, size: number, passes: number): void {
    const pending = value.expression;
    if (pending === undefined) {
      let i = this.leaves.indexOf(value);
      if (i < 0) i = this.leaves.push(value) - 1;
      this.place = this.place.leaf(i, value.dtype);
      return;
    }
    const again = this.#seen === undefined ? -1 : this.#seen.indexOf(value);
    if (again >= 0) {
      this.place = this.place.to(4 * again + 1);
      return;
    }
    if (!inlines(value, size, passes)) {
      materialize(value);
      this.visit(value, size, passes);
      return;
    }
    pending.uses++;
    this.inline(value, size, passes);
  }

  /** Adds a pending value as part of the kernel. */
  inline(value: Value, size: number, passes: number): void {
    const { template, args } = value.expression!;
    this.place = this.place.to(4 * template.id + 2);
    for (let i = 0; i < args.length; i++) {
      const arg = args[i];
      if (typeof arg === "number") {
        this.scalars.push(arg);
        this.place = this.place.to(3);
      } else this.visit(arg, size, passes);
    }
    if (this.#seen === undefined) this.#seen = [value];
    else this.#seen.push(value);
  }
}

/** The operands of a fusion as expressions; only needed when its program is new. */
export class FusedExpressions {
  /** Types of the run-time scalars so far. */
  readonly scalarTypes: ScalarType[] = [];
  readonly #exprs = new Map<Value, Expr>();

  /** Takes the stored operands. */
  constructor(readonly leaves: readonly Value[]) {}

  /** The operand as an expression; to be called in the order of `visit`, so that scalars get the numbers they were given at. */
  of(value: Value): Expr {
    const pending = value.expression;
    if (pending === undefined) {
      return k.input(this.leaves.indexOf(value), k.computeType(value.dtype));
    }
    const before = this.#exprs.get(value);
    if (before !== undefined) return before;
    const { template } = pending;
    const args = pending.args.map((arg, i) => {
      if (typeof arg !== "number") return this.of(arg);
      const type = scalarTypeOf(template.expr, i);
      return k.scalar(this.scalarTypes.push(type) - 1, type);
    });
    const body = k.transform(
      template.expr,
      (e) => e.op === "input" || e.op === "scalar" ? args[Number(e.value)] : e,
    );
    const expr = k.roundTo(body, template.dtype);
    this.#exprs.set(value, expr);
    return expr;
  }
}

function scalarTypeOf(expr: Expr, i: number): ScalarType {
  let type: ScalarType = "f32";
  k.traverse([expr], (e) => {
    if (e.op === "scalar" && e.value === i) type = e.type;
  });
  return type;
}

function inlines(value: Value, size: number, passes: number): boolean {
  const pending = value.expression!;
  if (pending.leaves === 0) return true; // a constant fill costs nothing
  if (value.size !== size) return false; // a broadcast operand would be recomputed for every copy
  return !(pending.template.heavy && (pending.uses >= 2 || passes > 1));
}

const elementwise = new Place();

/** Finds or makes the program that computes a pending value; its place is the fusion's. */
function compileElementwise(value: Value): Fusion {
  const fusion = new Fusion(elementwise);
  fusion.inline(value, value.size, 1); // the root itself is stored, not recomputed
  if (fusion.place.program === undefined) {
    const fused = new FusedExpressions(fusion.leaves);
    const expr = simplify(fused.of(value));
    const inputs = fusion.leaves.map((l) => l.dtype);
    fusion.place.program = program(inputs, fused.scalarTypes, [], [
      { dtype: value.dtype, value: expr, per: "element" },
    ]);
  }
  return fusion;
}

/** The program that would compute a pending value. */
export function pendingProgram(value: Value): Program {
  return compileElementwise(value).place.program!;
}

/** Computes a pending value; does nothing to a stored one. */
export function materialize(value: Value): void {
  const pending = value.expression;
  if (pending === undefined) return;
  const { leaves, scalars, place } = compileElementwise(value);
  value.reserve();
  const { size, shape, strides } = value;
  if (size > 0) {
    const { program } = place;
    const flat = shape.length === 0 ||
      allFlat(leaves, leaves.length, size, value);
    // Results are written in the order of their memory.
    const order = flat || value.contiguous || program!.usesCoords
      ? undefined
      : memoryOrder(strides);
    const walk = (list: readonly number[]) =>
      order === undefined ? list : pick(list, order, 0, order.length);
    run(value.device, {
      name: pending.template.name,
      program: program!,
      sizes: flat ? [size] : walk(shape),
      outerRank: flat ? 0 : shape.length - 1,
      inputs: flat
        ? flatOperands(leaves, leaves.length, size)
        : leaves.map((leaf) =>
          strided(leaf, walk(broadcastStrides(leaf.shape, leaf.strides, shape)))
        ),
      limits: none,
      outputs: [strided(value, flat ? unit : walk(strides))],
      scalars,
    });
  }
  value.settle();
}
