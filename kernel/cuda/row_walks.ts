/**
 * How a kernel that reduces rows walks them: where a thread stands, how it
 * reads operands along a row, and what it keeps between walks.
 *
 * @module
 */

import type { Expr } from "../expr.ts";
import { planPasses } from "../passes.ts";
import { type Program, roots } from "../program.ts";
import { readOne } from "./access.ts";
import {
  Emitter,
  fixedParts,
  indent,
  type Known,
  Names,
  prune,
  streamsOf,
} from "./emit.ts";
import { Indexing, pointer } from "./indexing.ts";
import { loadText } from "./loads.ts";
import { storageTypes, valueTypes } from "./types.ts";
import type { RowVariant, Step } from "./variant.ts";
import { Vectors } from "./vectors.ts";
import { repeatedOperands, walksOf } from "./walks.ts";

/** What the statements of all walks over a row share. */
export class RowWalks {
  /** Fresh names. */
  protected readonly names = new Names();
  /** Texts of indices. */
  protected readonly index: Indexing;
  /** Which stages a walk computes. */
  protected readonly plan: ReturnType<typeof planPasses>;
  /** Texts of vectors. */
  protected readonly vectors: Vectors;
  /** Number of axes. */
  protected readonly rank: number;
  /** The axis of vectors. */
  protected readonly last: number;
  /** Rows of a block. */
  protected readonly slots: number;
  /** Coordinates of the row. */
  protected outer: string[] = [];
  /** Results of stages. */
  protected readonly results: string[] = [];
  /** Per walk, the results last, what it computes for each element. */
  protected readonly walks: Expr[][];
  /** Operands that stay in registers. */
  protected readonly cached: readonly number[];
  /** Operands that are read at their own position. */
  protected readonly streams: readonly number[];
  /** Whether a reduction goes through shared memory. */
  protected shared = false;

  /**
   * Prepares to write a variant of a program.
   *
   * @param p What to compute.
   * @param v In which shape.
   */
  constructor(readonly p: Program, readonly v: RowVariant) {
    this.index = new Indexing(v.wide);
    this.rank = v.outerRank + v.innerRank;
    this.last = this.rank - 1;
    this.slots = v.block / v.team;
    const plan = this.plan = planPasses(p, v.chunks > 0, true);
    const { lanes } = v;
    this.vectors = new Vectors(
      lanes,
      v.ragged ? `j + ${this.index.number(lanes)} <= to` : undefined,
      "j + v < to",
    );
    this.walks = walksOf(plan);
    this.streams = streamsOf(roots(p));
    this.cached = v.chunks === 0 && !v.shared ? [] : repeatedOperands(p)
      .filter((i) => v.steps[i] !== "fixed" && v.steps[i] !== "row");
  }

  /** The thread's place: its row among those of the block, and its lane in the team. */
  protected placeInBlock(): string[] {
    const { order, team } = this.v;
    const slots = this.slots;
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
  protected get position(): string {
    return this.v.lanes === 1 ? "j" : "j + v";
  }

  /** The current element's place among those that the thread keeps. */
  protected get place(): string {
    return this.v.lanes === 1 ? "c" : `c * ${this.v.lanes} + v`;
  }

  /** Writes expressions into `lines`. */
  protected emitter(
    lines: string[],
    known: Known,
    leaf: (e: Expr, offset: string) => string,
  ): Emitter {
    return new Emitter(lines, this.names, leaf, known);
  }

  /** Whether a leaf is one value for all rows. */
  protected isFixed(e: Expr): boolean {
    return e.op === "scalar" || (e.op === "input" && this.step(e) === "fixed");
  }

  /** How an operand moves; values that are kept between walks change like any other. */
  protected step(e: Expr): Step {
    const i = Number(e.value);
    return i < this.p.inputs.length ? this.v.steps[i] : "any";
  }

  /** The axis of a coordinate, that of pieces counted. */
  protected axisOf(e: Expr): number {
    return Number(e.value) + (this.v.pieces ? 1 : 0);
  }

  /** Whether a leaf is one value for a row. */
  protected isOfRow(e: Expr): boolean {
    switch (e.op) {
      case "scalar":
      case "stage":
        return true;
      case "coord":
        return this.axisOf(e) < this.v.outerRank;
      case "input":
        return ["fixed", "row"].includes(this.step(e));
      default:
        return false;
    }
  }

  /** Leaves as they are for a row, at its first element. */
  protected readonly rowLeaf = (e: Expr, offset: string): string => {
    const i = Number(e.value);
    switch (e.op) {
      case "scalar":
        return `p.c${i}`;
      case "stage":
        return this.results[i];
      case "coord": {
        const axis = this.axisOf(e);
        return axis < this.v.outerRank ? `(int)${this.outer[axis]}` : "0";
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
  protected hoist(
    lines: string[],
    exprs: readonly Expr[],
    known: Known,
  ): Known {
    const emitter = this.emitter(lines, known, this.rowLeaf);
    fixedParts(exprs, (e) => this.isOfRow(e)).forEach((e) => emitter.emit(e));
    return emitter.known;
  }

  /** Writes the loop over the vectors of this thread; `j` is the first element of each. */
  protected loop(
    lines: string[],
    statements: readonly string[],
    unroll: string | undefined,
  ): void {
    const { v } = this;
    const body = prune(statements);
    const { count } = this.index;
    const own = v.team === 1
      ? "from"
      : `from + (${count})lane${v.lanes === 1 ? "" : ` * ${v.lanes}`}`;
    const step = this.index.number(v.team * v.lanes);
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
  protected coords(lines: string[]): string[] {
    const { outerRank } = this.v;
    return this.index.decompose(lines, "j", outerRank, this.rank, "x");
  }

  /** The offset of operand `i` at the current vector, as text. */
  protected offset(i: number, coords: readonly string[]): string {
    const { v } = this;
    if (v.steps[i] === "fixed") return "0";
    if (v.steps[i] === "row") return `b${i}`;
    return `b${i} + ${
      this.index.offsetOf(
        i,
        coords,
        v.outerRank,
        this.rank,
        this.last,
        v.steps[i],
      )
    }`;
  }

  /** Places in shared memory for a row of each operand that several walks need. */
  protected shareRows(): string[] {
    const { p, v } = this;
    if (!v.shared) return [];
    const lines = ["extern __shared__ uint4 held[];"];
    let before = "held";
    for (const i of this.cached) {
      const type = storageTypes[p.inputs[i]];
      lines.push(`${type}* const h${i} = (${type}*)(${before});`);
      before = `held + (((char*)(h${i} + p.length) - (char*)held) + 15) / 16`;
    }
    return lines;
  }

  /** Reads the operands that several walks need. */
  protected keepOperands(lines: string[]): void {
    const { p, v } = this;
    if (v.shared) {
      const body: string[] = [];
      const coords = this.coords(body);
      for (const i of this.cached) {
        this.vectors.copy(
          body,
          p.inputs[i],
          pointer(p.inputs.length, i),
          `(${this.offset(i, coords)})`,
          `h${i}`,
          `(${this.index.offset})j`,
          `r${i}`,
        );
      }
      this.loop(lines, body, "#pragma unroll 4");
    } else if (this.cached.length > 0) {
      const body: string[] = [];
      const coords = this.coords(body);
      for (const i of this.cached) {
        lines.push(this.vectors.declareKept(p.inputs[i], v.chunks, `g${i}`));
        this.vectors.keep(
          body,
          p.inputs[i],
          pointer(p.inputs.length, i),
          `(${this.offset(i, coords)})`,
          `g${i}`,
        );
      }
      this.loop(lines, body, undefined);
    }
    for (const pass of this.plan.passes) {
      for (const { value, output } of pass.kept) {
        lines.push(
          `${valueTypes[value.type]} k${output}[${v.chunks * v.lanes}];`,
        );
      }
    }
  }

  /** Reads the operands of a walk; returns how elements are written in it. */
  protected read(
    lines: string[],
    exprs: readonly Expr[],
  ): { leaf: (e: Expr, offset: string) => string; coords: string[] } {
    const { p, v } = this;
    const coords = this.coords(lines);
    const text = new Map<number, string>();
    for (const i of streamsOf(exprs)) {
      if (i >= p.inputs.length) {
        text.set(i, `k${i - p.inputs.length}[${this.place}]`);
        continue;
      }
      const step = v.steps[i], dtype = p.inputs[i];
      if (step === "fixed" || step === "row") continue;
      if (this.cached.includes(i)) {
        text.set(
          i,
          v.shared
            ? this.vectors.read(
              lines,
              dtype,
              `h${i}`,
              `(${this.index.offset})j`,
              "unit",
              `r${i}`,
            )
            : this.vectors.kept(dtype, `g${i}`),
        );
        continue;
      }
      lines.push(
        `const ${this.index.offset} o${i} = ${this.offset(i, coords)};`,
      );
      const from = pointer(p.inputs.length, i);
      text.set(
        i,
        this.vectors.read(lines, dtype, from, `o${i}`, step, `r${i}`),
      );
    }
    const leaf = (e: Expr, offset: string): string => {
      const i = Number(e.value);
      if (e.op === "linear") return `(int)(start + ${this.position})`;
      if (e.op === "coord") {
        const axis = this.axisOf(e);
        if (axis < v.outerRank) return this.rowLeaf(e, offset);
        return axis === this.last && v.lanes > 1
          ? `(int)(${coords[axis]} + v)`
          : `(int)${coords[axis]}`;
      }
      if (e.op === "input") return text.get(i) ?? this.rowLeaf(e, offset);
      return this.rowLeaf(e, offset);
    };
    return { leaf, coords };
  }
}
