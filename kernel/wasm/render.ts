/**
 * Renders a row program as a WebAssembly module that exports
 * `run(params, begin, end)`.
 *
 * Two loop orders exist. In *row* order the vector axis is the last inner
 * axis: a row is reduced across lanes. In *column* order it is the last outer
 * axis: lanes are different rows, each reduced by its own lane.
 *
 * @module
 */

import type { MemoryLimits } from "./assembler.ts";
import { ColumnOrder } from "./column_order.ts";
import { RowOrder } from "./row_order.ts";
import type { Variant } from "./variant.ts";
import type { Program } from "../program.ts";

export { columnBlock, type Variant } from "./variant.ts";

/** The module's bytes. */
export function render(
  p: Program,
  variant: Variant,
  memory: MemoryLimits,
): Uint8Array<ArrayBuffer> {
  const Writer = variant.mode === "column" ? ColumnOrder : RowOrder;
  return new Writer(p, variant).module(memory);
}
