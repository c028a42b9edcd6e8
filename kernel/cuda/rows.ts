/**
 * Kernels that reduce rows. A team of threads shares a row: one thread, part
 * of a warp, a warp, or a block, along the row or down a column. Each walk
 * over the row computes the stages that need nothing of each other; operands
 * that several walks need stay in registers where they fit, so that softmax
 * and the norms read memory once.
 *
 * @module
 */

import type { Expr } from "../expr.ts";
import { planPasses } from "../passes.ts";
import { type Program, roots, stageType } from "../program.ts";
import { readOne, writeOne } from "./access.ts";
import type { Body } from "./elements.ts";
import {
  Emitter,
  fixedParts,
  indent,
  type Known,
  Names,
  prune,
  streamsOf,
  uses,
} from "./emit.ts";
import { Indexing, pointer, strideNeeds } from "./indexing.ts";
import { loadsOf, loadText } from "./loads.ts";
import { type Count, paramLayout } from "./params.ts";
import {
  begin,
  combined,
  contend,
  identity,
  isArg,
  joinColumns,
  joinLanes,
  joinTeam,
  type Numbered,
  resultOf,
} from "./reduce.ts";
import { storageTypes, valueTypes } from "./types.ts";
import type { RowVariant, Step } from "./variant.ts";
import { Vectors } from "./vectors.ts";
import { repeatedOperands, walksOf } from "./walks.ts";

/** Writes a kernel that reduces rows. */
export function rowsBody(p: Program, v: RowVariant): Body {
  return new RowWriter(p, v).write();
}

class RowWriter {
  readonly #names = new Names();
  readonly #index: Indexing;
  readonly #plan: ReturnType<typeof planPasses>;
  readonly #vectors: Vectors;
  /** Axes of the row, and the one of vectors. */
  readonly #rank: number;
  readonly #last: number;
  /** Rows of a block. */
  readonly #slots: number;
  /** Coordinates of the row. */
  #outer: string[] = [];
  /** Results of stages. */
  readonly #results: string[] = [];
  /** Per walk, the results last, what it computes for each element. */
  readonly #walks: Expr[][];
  /** Operands that stay in registers. */
  readonly #cached: readonly number[];
  readonly #streams: readonly number[];
  #shared = false;

  constructor(readonly p: Program, readonly v: RowVariant) {
    this.#index = new Indexing(v.wide);
    this.#rank = v.outerRank + v.innerRank;
    this.#last = this.#rank - 1;
    this.#slots = v.block / v.team;
    const plan = this.#plan = planPasses(p, v.chunks > 0, true);
    const { lanes } = v;
    this.#vectors = new Vectors(
      lanes,
      v.ragged ? `j + ${this.#index.number(lanes)} <= to` : undefined,
      "j + v < to",
    );
    this.#walks = walksOf(plan);
    this.#streams = streamsOf(roots(p));
    this.#cached = v.chunks === 0 && !v.shared ? [] : repeatedOperands(p)
      .filter((i) => v.steps[i] !== "fixed" && v.steps[i] !== "row");
  }

  write(): Body {
    const { p, v } = this;
    const index = this.#index, { count } = index;
    const before: string[] = [], row: string[] = [];
    const loads = loadsOf(roots(p));

    before.push(...this.#placeInBlock());
    const exprs = this.#walks.flat().concat(
      p.outputs.filter((o) => o.per === "row").map((o) => o.value),
    );
    before.push(...this.#shareRows());
    const fixed = this.#emitter(before, new Map(), this.#rowLeaf);
    fixedParts(exprs, (e) => this.#isFixed(e)).forEach((e) => fixed.emit(e));

    // The row's place; teams past the last row do the last one again and store nothing.
    const slots = index.number(this.#slots);
    if (this.#slots > 1) {
      row.push(
        `const bool active = first + slot < p.count;`,
        `const ${count} item = active ? first + slot : p.count - ${
          index.number(1)
        };`,
      );
    } else row.push(`const ${count} item = first;`);
    this.#outer = index.decompose(row, "item", 0, v.outerRank, "y");
    if (uses(exprs, "linear")) {
      row.push(
        `const ${count} start = ${
          v.pieces ? `(item - ${this.#outer[0]} * p.rows)` : "item"
        } * p.length;`,
      );
    }
    if (v.pieces) {
      row.push(
        `const ${count} from = ${this.#outer[0]} * p.piece;`,
        `const ${count} to = from + p.piece < p.length ? from + p.piece : p.length;`,
      );
    } else {
      row.push(
        `const ${count} from = ${index.number(0)};`,
        `const ${count} to = p.length;`,
      );
    }
    const outputs = p.outputs.map((_, o) => p.inputs.length + o);
    for (const i of [...this.#streams, ...outputs]) {
      if (v.steps[i] === "fixed") continue;
      row.push(
        `const ${index.offset} b${i} = ${
          index.offsetOf(i, this.#outer, 0, v.outerRank, -1, v.steps[i])
        };`,
      );
    }
    this.#keepOperands(row);
    let known = fixed.known;
    this.#plan.passes.forEach((_, i) => {
      known = this.#reduce(row, i, known);
    });
    this.#storeRows(row, known);
    this.#storeElements(row, known);
    if (this.#shared) row.push("__syncthreads();");

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
        sizes: Array.from({ length: this.#rank }, (_, d) => d)
          .filter((d) => d !== 0 && d !== v.outerRank),
        strides: strideNeeds(
          v.steps,
          [...this.#streams, ...outputs],
          this.#rank,
          v.outerRank,
        ),
        loads,
      }),
    };
  }

  /** The thread's place: its row among those of the block, and its lane in the team. */
  #placeInBlock(): string[] {
    const { order, team } = this.v;
    const slots = this.#slots;
    const lines: string[] = [];
    if (team > 1) {
      const lane = order === "row" ? `% ${team}` : `/ ${slots}`;
      lines.push(`const int lane = threadIdx.x ${lane};`);
    }
    if (slots > 1) {
      const slot = order === "row" ? `/ ${team}` : `% ${slots}`;
      lines.push(`const int slot = threadIdx.x ${slot};`);
    }
    return lines;
  }

  /** The current element's position in the row. */
  get #position(): string {
    return this.v.lanes === 1 ? "j" : "j + v";
  }

  /** The current element's place among those that the thread keeps. */
  get #place(): string {
    return this.v.lanes === 1 ? "c" : `c * ${this.v.lanes} + v`;
  }

  #emitter(
    lines: string[],
    known: Known,
    leaf: (e: Expr, offset: string) => string,
  ): Emitter {
    return new Emitter(lines, this.#names, leaf, known);
  }

  #isFixed(e: Expr): boolean {
    return e.op === "scalar" || (e.op === "input" && this.#step(e) === "fixed");
  }

  /** How an operand moves; values that are kept between walks change like any other. */
  #step(e: Expr): Step {
    const i = Number(e.value);
    return i < this.p.inputs.length ? this.v.steps[i] : "any";
  }

  #axisOf(e: Expr): number {
    return Number(e.value) + (this.v.pieces ? 1 : 0);
  }

  /** Whether a leaf is one value for a row. */
  #isOfRow(e: Expr): boolean {
    switch (e.op) {
      case "scalar":
      case "stage":
        return true;
      case "coord":
        return this.#axisOf(e) < this.v.outerRank;
      case "input":
        return ["fixed", "row"].includes(this.#step(e));
      default:
        return false;
    }
  }

  /** Leaves as they are for a row, at its first element. */
  readonly #rowLeaf = (e: Expr, offset: string): string => {
    const i = Number(e.value);
    switch (e.op) {
      case "scalar":
        return `p.c${i}`;
      case "stage":
        return this.#results[i];
      case "coord": {
        const axis = this.#axisOf(e);
        return axis < this.v.outerRank ? `(int)${this.#outer[axis]}` : "0";
      }
      case "linear":
        return "(int)start";
      case "load":
        return loadText(this.p, i, offset);
      default:
        return readOne(
          this.p.inputs[i],
          pointer(this.p.inputs.length, i),
          this.v.steps[i] === "fixed" ? "0" : `b${i}`,
        );
    }
  };

  /** Writes what is one value for the row, before a walk. */
  #hoist(lines: string[], exprs: readonly Expr[], known: Known): Known {
    const emitter = this.#emitter(lines, known, this.#rowLeaf);
    fixedParts(exprs, (e) => this.#isOfRow(e)).forEach((e) => emitter.emit(e));
    return emitter.known;
  }

  /** Writes the loop over the vectors of this thread; `j` is the first element of each. */
  #loop(
    lines: string[],
    statements: readonly string[],
    unroll: string | undefined,
  ): void {
    const { v } = this;
    const body = prune(statements);
    const { count } = this.#index;
    const own = v.team === 1
      ? "from"
      : `from + (${count})lane${v.lanes === 1 ? "" : ` * ${v.lanes}`}`;
    const step = this.#index.number(v.team * v.lanes);
    if (v.chunks > 0) {
      lines.push(
        "#pragma unroll",
        `for (int c = 0; c < ${v.chunks}; c++) {`,
        `  const ${count} j = ${own} + (${count})c * ${step};`,
        "  if (j < to) {",
        ...indent(indent(body)),
        "  }",
        "}",
      );
    } else {
      if (unroll !== undefined) lines.push(unroll);
      lines.push(
        `for (${count} j = ${own}; j < to; j += ${step}) {`,
        ...indent(body),
        "}",
      );
    }
  }

  /** The coordinates of `j`, by axis. */
  #coords(lines: string[]): string[] {
    const { outerRank } = this.v;
    return this.#index.decompose(lines, "j", outerRank, this.#rank, "x");
  }

  /** The offset of operand `i` at the current vector, as text. */
  #offset(i: number, coords: readonly string[]): string {
    const { v } = this;
    if (v.steps[i] === "fixed") return "0";
    if (v.steps[i] === "row") return `b${i}`;
    return `b${i} + ${
      this.#index.offsetOf(
        i,
        coords,
        v.outerRank,
        this.#rank,
        this.#last,
        v.steps[i],
      )
    }`;
  }

  /** Places in shared memory for a row of each operand that several walks need. */
  #shareRows(): string[] {
    const { p, v } = this;
    if (!v.shared) return [];
    const lines = ["extern __shared__ uint4 held[];"];
    let before = "held";
    for (const i of this.#cached) {
      const type = storageTypes[p.inputs[i]];
      lines.push(`${type}* const h${i} = (${type}*)(${before});`);
      before = `held + (((char*)(h${i} + p.length) - (char*)held) + 15) / 16`;
    }
    return lines;
  }

  /** Reads the operands that several walks need. */
  #keepOperands(lines: string[]): void {
    const { p, v } = this;
    if (v.shared) {
      const body: string[] = [];
      const coords = this.#coords(body);
      for (const i of this.#cached) {
        this.#vectors.copy(
          body,
          p.inputs[i],
          pointer(p.inputs.length, i),
          `(${this.#offset(i, coords)})`,
          `h${i}`,
          `(${this.#index.offset})j`,
          `r${i}`,
        );
      }
      this.#loop(lines, body, "#pragma unroll 4");
    } else if (this.#cached.length > 0) {
      const body: string[] = [];
      const coords = this.#coords(body);
      for (const i of this.#cached) {
        lines.push(this.#vectors.declareKept(p.inputs[i], v.chunks, `g${i}`));
        this.#vectors.keep(
          body,
          p.inputs[i],
          pointer(p.inputs.length, i),
          `(${this.#offset(i, coords)})`,
          `g${i}`,
        );
      }
      this.#loop(lines, body, undefined);
    }
    for (const pass of this.#plan.passes) {
      for (const { value, output } of pass.kept) {
        lines.push(
          `${valueTypes[value.type]} k${output}[${v.chunks * v.lanes}];`,
        );
      }
    }
  }

  /** Reads the operands of a walk; returns how elements are written in it. */
  #read(
    lines: string[],
    exprs: readonly Expr[],
  ): { leaf: (e: Expr, offset: string) => string; coords: string[] } {
    const { p, v } = this;
    const coords = this.#coords(lines);
    const text = new Map<number, string>();
    for (const i of streamsOf(exprs)) {
      if (i >= p.inputs.length) {
        text.set(i, `k${i - p.inputs.length}[${this.#place}]`);
        continue;
      }
      const step = v.steps[i], dtype = p.inputs[i];
      if (step === "fixed" || step === "row") continue;
      if (this.#cached.includes(i)) {
        text.set(
          i,
          v.shared
            ? this.#vectors.read(
              lines,
              dtype,
              `h${i}`,
              `(${this.#index.offset})j`,
              "unit",
              `r${i}`,
            )
            : this.#vectors.kept(dtype, `g${i}`),
        );
        continue;
      }
      lines.push(
        `const ${this.#index.offset} o${i} = ${this.#offset(i, coords)};`,
      );
      const from = pointer(p.inputs.length, i);
      text.set(
        i,
        this.#vectors.read(lines, dtype, from, `o${i}`, step, `r${i}`),
      );
    }
    const leaf = (e: Expr, offset: string): string => {
      const i = Number(e.value);
      if (e.op === "linear") return `(int)(start + ${this.#position})`;
      if (e.op === "coord") {
        const axis = this.#axisOf(e);
        if (axis < v.outerRank) return this.#rowLeaf(e, offset);
        return axis === this.#last && v.lanes > 1
          ? `(int)(${coords[axis]} + v)`
          : `(int)${coords[axis]}`;
      }
      if (e.op === "input") return text.get(i) ?? this.#rowLeaf(e, offset);
      return this.#rowLeaf(e, offset);
    };
    return { leaf, coords };
  }

  /** One walk that reduces. */
  #reduce(lines: string[], pass: number, known: Known): Known {
    const { v } = this;
    const { lanes } = v;
    const exprs = this.#walks[pass];
    const plan = this.#plan.passes[pass];
    const stages: Numbered[] = plan.stages.map((s) => ({
      stage: this.#plan.stages[s],
      s,
    }));
    const outside = this.#hoist(lines, exprs, known);
    for (const { stage, s } of stages) lines.push(...begin(stage, s));
    const body: string[] = [], inner: string[] = [];
    const { leaf } = this.#read(body, exprs);
    const each = this.#emitter(inner, outside, leaf);
    for (const { stage, s } of stages) {
      const value = each.emit(stage.value);
      if (isArg(stage)) {
        const position = this.#names.next();
        inner.push(`const int ${position} = (int)(${this.#position});`);
        const name = this.#names.next();
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
      inner.push(`k${output}[${this.#place}] = ${each.emit(value)};`);
    }
    this.#vectors.each(body, inner);
    for (const { stage, s } of stages) {
      if (!isArg(stage) && lanes > 1) {
        body.push(...joinLanes(stage, s, `e${s}`, lanes));
      }
    }
    this.#loop(lines, body, "#pragma unroll 4");
    const { lines: joined, shared } = v.order === "row"
      ? joinTeam(stages, v.team)
      : joinColumns(stages, v.team, this.#slots);
    lines.push(...joined);
    this.#shared ||= shared;
    for (const { stage, s } of stages) {
      const type = valueTypes[stageType(stage)];
      lines.push(`const ${type} z${s} = ${resultOf(stage, s)};`);
      this.#results[s] = `z${s}`;
    }
    return outside;
  }

  /** Stores the outputs per row. */
  #storeRows(lines: string[], known: Known): void {
    const { p, v } = this;
    const perRow = p.outputs.flatMap((o, k) => o.per === "row" ? [k] : []);
    if (perRow.length === 0) return;
    const emitter = this.#emitter(lines, known, this.#rowLeaf);
    const stores = perRow.map((k) => {
      const { dtype, value } = p.outputs[k];
      const offset = v.steps[p.inputs.length + k] === "fixed"
        ? "0"
        : `b${p.inputs.length + k}`;
      return writeOne(dtype, `p.out${k}`, offset, emitter.emit(value));
    });
    const conditions = [];
    if (v.team > 1) conditions.push("lane == 0");
    if (this.#slots > 1) conditions.push("active");
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
    const plan = this.#plan.outputs.flatMap((o, k) =>
      o.per === "element" ? [{ ...o, k }] : []
    );
    if (plan.length === 0) return;
    const exprs = plan.map((o) => o.value);
    const outside = this.#hoist(lines, exprs, known);
    const body: string[] = [], inner: string[] = [];
    const { leaf, coords } = this.#read(body, exprs);
    const results = plan.map(({ dtype, k, value }) => {
      const i = p.inputs.length + k;
      const offset = `o${i}`, words = `w${k}`;
      body.push(
        `const ${this.#index.offset} ${offset} = ${this.#offset(i, coords)};`,
      );
      this.#vectors.begin(body, dtype, words);
      return { dtype, to: `p.out${k}`, offset, words, value };
    });
    const each = this.#emitter(inner, outside, leaf);
    for (const { dtype, to, offset, words, value } of results) {
      this.#vectors.set(inner, dtype, to, offset, words, each.emit(value));
    }
    this.#vectors.each(body, inner);
    for (const { dtype, to, offset, words } of results) {
      this.#vectors.end(body, dtype, to, offset, words);
    }
    if (this.#slots > 1) {
      lines.push("if (active) {");
      const guarded: string[] = [];
      this.#loop(guarded, body, undefined);
      lines.push(...indent(guarded), "}");
    } else this.#loop(lines, body, undefined);
  }
}
