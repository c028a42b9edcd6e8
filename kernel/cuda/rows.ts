/**
 * Kernels that reduce rows. A team of threads shares a row: one thread, part
 * of a warp, a warp, or a block, along the row or down a column. Each walk
 * over the row computes the stages that need nothing of each other; operands
 * that several walks need stay in registers where they fit, so that softmax
 * and the norms read memory once.
 *
 * @module
 */

import { isArg, type Program, roots, stageType } from "../program.ts";
import { writeOne } from "./access.ts";
import type { Body } from "./elements.ts";
import { fixedParts, indent, type Known, prune, uses } from "./emit.ts";
import { strideNeeds } from "./indexing.ts";
import { loadsOf } from "./loads.ts";
import { type Count, paramLayout } from "./params.ts";
import {
  begin,
  combined,
  contend,
  identity,
  joinColumns,
  joinLanes,
  joinTeam,
  type Numbered,
  resultOf,
} from "./reduce.ts";
import { RowWalks } from "./row_walks.ts";
import { valueTypes } from "./types.ts";
import type { RowVariant } from "./variant.ts";

/** Writes a kernel that reduces rows. */
export function rowsBody(p: Program, v: RowVariant): Body {
  return new RowWriter(p, v).write();
}

class RowWriter extends RowWalks {
  write(): Body {
    const { p, v } = this;
    const index = this.index, { count } = index;
    const before: string[] = [], row: string[] = [];
    const loads = loadsOf(roots(p));

    before.push(...this.placeInBlock());
    const exprs = this.walks.flat().concat(
      p.outputs.filter((o) => o.per === "row").map((o) => o.value),
      p.refuses ?? [],
    );
    before.push(...this.shareRows());
    const fixed = this.emitter(before, new Map(), this.rowLeaf);
    fixedParts(exprs, (e) => this.isFixed(e)).forEach((e) => fixed.emit(e));

    // The row's place; teams past the last row do the last one again and store nothing.
    const slots = index.number(this.slots);
    if (this.slots > 1) {
      row.push(
        `const bool active = first + slot < p.count;`,
        `const ${count} item = active ? first + slot : p.count - ${
          index.number(1)
        };`,
      );
    } else row.push(`const ${count} item = first;`);
    this.outer = index.decompose(row, "item", 0, v.outerRank, "y");
    if (uses(exprs, "linear")) {
      row.push(
        `const ${count} start = ${
          v.pieces ? `(item - ${this.outer[0]} * p.rows)` : "item"
        } * p.length;`,
      );
    }
    if (v.pieces) {
      row.push(
        `const ${count} from = ${this.outer[0]} * p.piece;`,
        `const ${count} to = from + p.piece < p.length ? from + p.piece : p.length;`,
      );
    } else {
      row.push(
        `const ${count} from = ${index.number(0)};`,
        `const ${count} to = p.length;`,
      );
    }
    const outputs = p.outputs.map((_, o) => p.inputs.length + o);
    for (const i of [...this.streams, ...outputs]) {
      if (v.steps[i] === "fixed") continue;
      row.push(
        `const ${index.offset} b${i} = ${
          index.offsetOf(i, this.outer, 0, v.outerRank, -1, v.steps[i])
        };`,
      );
    }
    this.keepOperands(row);
    let known = fixed.known;
    this.plan.passes.forEach((_, i) => {
      known = this.#reduce(row, i, known);
    });
    this.#storeRows(row, known);
    this.#storeElements(row, known);
    if (this.shared) row.push("__syncthreads();");

    const counts: Count[] = ["count", "length"];
    if (v.pieces) counts.push("piece", "rows");
    return {
      entry: v.pieces ? "pieces" : v.order === "row" ? "rows" : "columns",
      threads: v.block,
      lines: prune([
        ...before,
        `const ${count} step = (${count})gridDim.x * ${slots};`,
        `for (${count} first = (${count})blockIdx.x * ${slots}; first < p.count; first += step) {`,
        ...indent(prune(row)),
        "}",
      ]),
      params: paramLayout(p, {
        wide: v.wide,
        counts,
        sizes: Array.from({ length: this.rank }, (_, d) => d)
          .filter((d) => d !== 0 && d !== v.outerRank),
        strides: strideNeeds(
          v.steps,
          [...this.streams, ...outputs],
          this.rank,
          v.outerRank,
        ),
        loads,
      }),
    };
  }

  /** One walk that reduces. */
  #reduce(lines: string[], pass: number, known: Known): Known {
    const { v } = this;
    const { lanes } = v;
    const exprs = this.walks[pass];
    const plan = this.plan.passes[pass];
    const stages: Numbered[] = plan.stages.map((s) => ({
      stage: this.plan.stages[s],
      s,
    }));
    const outside = this.hoist(lines, exprs, known);
    for (const { stage, s } of stages) lines.push(...begin(stage, s));
    const body: string[] = [], inner: string[] = [];
    const { leaf } = this.read(body, exprs);
    const each = this.emitter(inner, outside, leaf);
    for (const { stage, s } of stages) {
      const value = each.emit(stage.value);
      if (isArg(stage)) {
        const position = this.names.next();
        inner.push(`const int ${position} = (int)(${this.position});`);
        const name = this.names.next();
        inner.push(
          `const ${valueTypes[stage.value.type]} ${name} = ${value};`,
        );
        const statement = contend(stage, s, name, position);
        inner.push(v.ragged ? `if (j + v < to) ${statement}` : statement);
      } else if (lanes === 1) {
        inner.push(`a${s} = ${combined(stage, `a${s}`, value)};`);
      } else {
        body.push(`${valueTypes[stage.value.type]} e${s}[${lanes}];`);
        inner.push(
          `e${s}[v] = ${
            v.ragged ? `j + v < to ? ${value} : ${identity(stage)}` : value
          };`,
        );
      }
    }
    for (const { value, output } of plan.kept) {
      inner.push(`k${output}[${this.place}] = ${each.emit(value)};`);
    }
    this.vectors.each(body, inner);
    for (const { stage, s } of stages) {
      if (!isArg(stage) && lanes > 1) {
        body.push(...joinLanes(stage, s, `e${s}`, lanes));
      }
    }
    this.loop(lines, body, "#pragma unroll 4");
    const { lines: joined, shared } = v.order === "row"
      ? joinTeam(stages, v.team)
      : joinColumns(stages, v.team, this.slots);
    lines.push(...joined);
    this.shared ||= shared;
    for (const { stage, s } of stages) {
      const type = valueTypes[stageType(stage)];
      lines.push(`const ${type} z${s} = ${resultOf(stage, s)};`);
      this.results[s] = `z${s}`;
    }
    return outside;
  }

  /** Stores the outputs per row, and tells of a row that is refused. */
  #storeRows(lines: string[], known: Known): void {
    const { p, v } = this;
    const perRow = p.outputs.flatMap((o, k) => o.per === "row" ? [k] : []);
    if (perRow.length === 0 && p.refuses === undefined) return;
    const emitter = this.emitter(lines, known, this.rowLeaf);
    const stores = perRow.map((k) => {
      const { dtype, value } = p.outputs[k];
      const offset = v.steps[p.inputs.length + k] === "fixed"
        ? "0"
        : `b${p.inputs.length + k}`;
      return writeOne(dtype, `p.out${k}`, offset, emitter.emit(value));
    });
    if (p.refuses !== undefined) {
      stores.push(`if (${emitter.emit(p.refuses)}) *p.flag = 1;`);
    }
    const conditions = [];
    if (v.team > 1) conditions.push("lane == 0");
    if (this.slots > 1) conditions.push("active");
    if (conditions.length === 0) lines.push(...stores);
    else {
      lines.push(
        `if (${conditions.join(" && ")}) {`,
        ...indent(stores),
        "}",
      );
    }
  }

  /** The walk that stores the outputs per element. */
  #storeElements(lines: string[], known: Known): void {
    const { p } = this;
    const plan = this.plan.outputs.flatMap((o, k) =>
      o.per === "element" ? [{ ...o, k }] : []
    );
    if (plan.length === 0) return;
    const exprs = plan.map((o) => o.value);
    const outside = this.hoist(lines, exprs, known);
    const body: string[] = [], inner: string[] = [];
    const { leaf, coords } = this.read(body, exprs);
    const results = plan.map(({ dtype, k, value }) => {
      const i = p.inputs.length + k;
      const offset = `o${i}`, words = `w${k}`;
      body.push(
        `const ${this.index.offset} ${offset} = ${this.offset(i, coords)};`,
      );
      this.vectors.begin(body, dtype, words);
      return { dtype, to: `p.out${k}`, offset, words, value };
    });
    const each = this.emitter(inner, outside, leaf);
    for (const { dtype, to, offset, words, value } of results) {
      this.vectors.set(inner, dtype, to, offset, words, each.emit(value));
    }
    this.vectors.each(body, inner);
    for (const { dtype, to, offset, words } of results) {
      this.vectors.end(body, dtype, to, offset, words);
    }
    if (this.slots > 1) {
      lines.push("if (active) {");
      const guarded: string[] = [];
      this.loop(guarded, body, undefined);
      lines.push(...indent(guarded), "}");
    } else this.loop(lines, body, undefined);
  }
}
