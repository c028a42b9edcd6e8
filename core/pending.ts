/**
 * Makes pending values out of templates: what an elementwise operator does
 * when it is called.
 *
 * @module
 */

import type { DType } from "./dtype.ts";
import { defaultDevice, type Device } from "./device.ts";
import { materialize, maxLeaves, maxNodes } from "./fuse.ts";
import { type Shape, sizeOf } from "./shape.ts";
import { Tensor } from "./tensor.ts";
import { type Template, Value } from "./value.ts";
import { type Expr, type ExprOp, traverse } from "../kernel/expr.ts";

let templates = 0;

// Operations that cost more than a load from memory.
const heavyOps: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "exp",
  "exp2",
  "expm1",
  "log",
  "log2",
  "log10",
  "log1p",
  "sin",
  "cos",
  "tan",
  "asin",
  "acos",
  "atan",
  "sinh",
  "cosh",
  "tanh",
  "asinh",
  "acosh",
  "atanh",
  "erf",
  "erfc",
  "erfinv",
  "lgamma",
  "digamma",
  "trigamma",
  "pow",
  "atan2",
  "mulhiu",
  "rem",
]);

/** Wraps an expression over `input(i)` and `scalar(i)` as a template. */
export function template(name: string, expr: Expr, dtype: DType): Template {
  let nodes = 0;
  let heavy = false;
  traverse([expr], (e) => {
    if (e.args.length > 0) nodes++;
    if (heavyOps.has(e.op)) heavy = true;
  });
  return { id: templates++, name, expr, dtype, nodes, heavy };
}

/**
 * A pending tensor: the template applied to values and numbers.
 *
 * @param template What to compute.
 * @param args Operands in the order of the template's leaves; not consumed.
 * @param shape Shape of the result, to which operands broadcast.
 * @param device Where; that of the first value when omitted.
 */
export function applyTemplate(
  template: Template,
  args: readonly (Value | number)[],
  shape: Shape,
  device?: Device,
): Tensor {
  let nodes = template.nodes;
  let leaves = 0;
  for (const arg of args) {
    if (typeof arg === "number") continue;
    device ??= arg.device;
    const pending = arg.expression;
    if (pending === undefined) leaves++;
    else {
      nodes += pending.nodes;
      leaves += pending.leaves;
    }
  }
  if (nodes > maxNodes || leaves > maxLeaves) {
    leaves = 0;
    nodes = template.nodes;
    for (const arg of args) {
      if (typeof arg === "number") continue;
      const pending = arg.expression;
      if (pending === undefined) leaves++;
      else if (pending.leaves === 0 && pending.nodes <= 1) {
        // A constant costs less than the memory for it.
        nodes += pending.nodes;
      } else {
        materialize(arg);
        leaves++;
      }
    }
  }
  for (const arg of args) if (typeof arg !== "number") arg.retain();
  const pending = { template, args, nodes, leaves, uses: 0 };
  const value = Value.pending(
    device ?? defaultDevice(),
    shape,
    sizeOf(shape),
    pending,
  );
  return new Tensor(value);
}
