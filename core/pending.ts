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
import { sharedOrder, type Template, Value } from "./value.ts";
import { type Expr, traverse } from "../kernel/expr.ts";
import { isCostly } from "../kernel/passes.ts";

let templates = 0;

/** Wraps an expression over `input(i)` and `scalar(i)` as a template. */
export function template(name: string, expr: Expr, dtype: DType): Template {
  let nodes = 0;
  traverse([expr], (e) => {
    if (e.args.length > 0) nodes++;
  });
  const heavy = isCostly(expr);
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
  const size = sizeOf(shape);
  const value = Value.pending(
    device ?? defaultDevice(),
    shape,
    size,
    pending,
    sharedOrder(args, shape, size),
  );
  return new Tensor(value);
}
