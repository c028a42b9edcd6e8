/**
 * Writes scalar expressions as statements of CUDA C, each shared node once.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { rules } from "./ops.ts";
import { literal, valueTypes } from "./types.ts";

/** Gives out names that no other part of the kernel has. */
export class Names {
  #count = 0;
  /** A fresh name. */
  next(): string {
    return `t${this.#count++}`;
  }
}

/** The text of a leaf, or of a `load` whose offset is given as text. */
export type Leaf = (e: Expr, offset: string) => string;

/** Text of nodes that were written before. */
export type Known = ReadonlyMap<Expr, string>;

/** Writes expressions into a list of lines. */
export class Emitter {
  readonly #known: Map<Expr, string>;

  /**
   * Writes to `lines`.
   *
   * @param lines Gets the statements.
   * @param names Where fresh names come from.
   * @param leaf Writes leaves and loads.
   * @param known Nodes that already have a name here.
   */
  constructor(
    readonly lines: string[],
    readonly names: Names,
    readonly leaf: Leaf,
    known: Known = new Map(),
  ) {
    this.#known = new Map(known);
  }

  /** What has been written, for emitters of inner blocks. */
  get known(): Known {
    return this.#known;
  }

  /** Writes what `e` needs and returns the text of its value. */
  emit(e: Expr): string {
    if (e.op === "const") return literal(e.value, e.type);
    let name = this.#known.get(e);
    if (name !== undefined) return name;
    const args = e.args.map((arg) => this.emit(arg));
    const text = isLeaf(e) ? this.leaf(e, args[0]) : rules[e.op](e, args);
    if (/^\w+(\[\w+\])?$/.test(text)) name = text;
    else {
      name = this.names.next();
      this.lines.push(`const ${valueTypes[e.type]} ${name} = ${text};`);
    }
    this.#known.set(e, name);
    return name;
  }
}

/** Whether the kernel, not the table of operations, gives the node's value. */
function isLeaf(e: Expr): boolean {
  return e.op === "load" || (e.args.length === 0 && e.op !== "const");
}

/** The largest parts of expressions whose leaves are all fixed, to be written before a loop. */
export function fixedParts(
  exprs: readonly Expr[],
  isFixed: (leaf: Expr) => boolean,
): Expr[] {
  const fixed = new Map<Expr, boolean>();
  k.traverse(exprs, (e) => {
    fixed.set(
      e,
      e.op === "const" ||
        (isLeaf(e) && e.op !== "load"
          ? isFixed(e)
          : e.args.every((arg) => fixed.get(arg)!)),
    );
  });
  const parts = new Set<Expr>();
  const add = (e: Expr) => {
    if (fixed.get(e) && e.op !== "const") parts.add(e);
  };
  exprs.forEach(add);
  k.traverse(exprs, (e) => {
    if (!fixed.get(e)) e.args.forEach(add);
  });
  return [...parts];
}

/** Numbers of the operands that expressions read at their own position. */
export function streamsOf(exprs: readonly Expr[]): number[] {
  const found = new Set<number>();
  k.traverse(exprs, (e) => {
    if (e.op === "input") found.add(Number(e.value));
  });
  return [...found].sort((a, b) => a - b);
}

/** Whether one of the expressions contains the operation. */
export function uses(exprs: readonly Expr[], op: k.ExprOp): boolean {
  let found = false;
  k.traverse(exprs, (e) => {
    if (e.op === op) found = true;
  });
  return found;
}

/** Lines with one more step of indentation. */
export function indent(lines: readonly string[]): string[] {
  return lines.map((line) => line.startsWith("#") ? line : `  ${line}`);
}

/** Lines without the constants that none of them uses. */
export function prune(lines: readonly string[]): string[] {
  let kept = [...lines];
  for (;;) {
    const words = new Map<string, number>();
    for (const line of kept) {
      for (const word of line.match(/[A-Za-z_]\w*/g) ?? []) {
        words.set(word, (words.get(word) ?? 0) + 1);
      }
    }
    const used = kept.filter((line) => {
      const name = /^const [\w ]+ (\w+) = .*;$/.exec(line)?.[1];
      return name === undefined || words.get(name)! > 1;
    });
    if (used.length === kept.length) return kept;
    kept = used;
  }
}
