/**
 * In-place updates of persistent tensors (parameters, optimizer state): the
 * only writes to existing memory. Many results in one pass over the data.
 *
 * @module
 */

import { copy, materialize, type RowBuilder, runRows } from "./fuse.ts";
import type { Output } from "../kernel/program.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import type { Tensor } from "./tensor.ts";
import { Value } from "./value.ts";

/** An update of several tensors of one shape, computed together. */
export interface Update {
  /** Names the structure of `define`: equal names, equal structures. */
  readonly name: string;
  /** Tensors that are read and overwritten. */
  readonly targets: readonly Tensor[];
  /** Tensors that are only read; may be pending. */
  readonly operands: readonly Tensor[];
  /** Run-time scalars. */
  readonly scalars: readonly number[];
  /** New values of the targets, in the type they compute in. */
  define(
    targets: readonly Expr[],
    operands: readonly Expr[],
    scalars: readonly Expr[],
  ): readonly Expr[];
}

/**
 * Whether nothing else refers to the bytes: then they are overwritten, else
 * the tensor gets new memory, so that saved and pending values stay correct.
 */
function exclusive(value: Value): boolean {
  return value.expression === undefined && value.refs === 1 &&
    value.storage.owners === 1 && value.contiguous;
}

/** Runs an update. */
export function update(u: Update): void {
  for (const target of u.targets) materialize(target.value);
  // Operands may read the targets: compute those first, so that no pending expression sees new bytes.
  const operands = u.operands.map((o) => o.value);
  for (const operand of operands) {
    if (operand.expression !== undefined && operand.expression.leaves > 0) {
      for (const target of u.targets) {
        if (target.value.refs > 1) materialize(operand);
      }
    }
  }
  const olds = u.targets.map((target) => target.value);
  const into = olds.map((old) =>
    exclusive(old) ? old : Value.empty(old.device, old.dtype, old.shape)
  );
  runRows(olds[0].device, {
    name: `update ${u.name}`,
    space: olds[0].shape,
    axes: [],
    streams: [...olds, ...operands],
    scalars: u.scalars,
    scalarTypes: u.scalars.map(() => scalarType(olds[0])),
    into,
    passes: 1,
    build: ({ streams, scalars }: RowBuilder) => {
      const type = scalarType(olds[0]);
      const wide = streams.map((s) => k.cast(s, type));
      const results = u.define(
        wide.slice(0, olds.length),
        wide.slice(olds.length),
        scalars,
      );
      const outputs = results.map((value, i): Output => ({
        dtype: olds[i].dtype,
        value: k.roundTo(value, olds[i].dtype),
        per: "element",
      }));
      return { stages: [], outputs };
    },
  });
  u.targets.forEach((target, i) => {
    if (into[i] !== olds[i]) {
      into[i].madeBy = olds[i].madeBy;
      into[i].loosen();
      target.setValue(into[i]);
    }
  });
}

function scalarType(value: Value): "f32" | "f64" {
  return value.dtype === "f64" ? "f64" : "f32";
}

/** Overwrites a tensor with the elements of another of the same shape and dtype. */
export function assign(target: Tensor, source: Tensor): void {
  const { value } = source;
  const fresh = value.expression === undefined ? copy(value) : value.retain();
  materialize(fresh);
  fresh.madeBy = target.value.madeBy;
  fresh.loosen();
  target.setValue(fresh);
}
