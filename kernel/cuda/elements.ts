/**
 * Kernels without reductions. Threads walk vectors of neighbouring elements in
 * strides of the whole grid.
 *
 * @module
 */

import { type Program, roots } from "../program.ts";
import type { Expr } from "../expr.ts";
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
import { Indexing, pointer, strideNeeds } from "./indexing.ts";
import { loadsOf, loadText } from "./loads.ts";
import { type ParamLayout, paramLayout } from "./params.ts";
import { elementThreads, type ElementVariant } from "./variant.ts";
import { Vectors } from "./vectors.ts";

/** The body of a kernel and its parameters. */
export interface Body {
  /** Name of the kernel. */
  readonly entry: string;
  /** Threads of a block. */
  readonly threads: number;
  /** Statements. */
  readonly lines: readonly string[];
  /** Parameters. */
  readonly params: ParamLayout;
}

/** Writes an elementwise kernel. */
export function elementsBody(p: Program, v: ElementVariant): Body {
  const exprs = roots(p);
  const streams = streamsOf(exprs);
  const { lanes, rank, steps } = v;
  const index = new Indexing(v.wide);
  const last = rank - 1;
  const names = new Names();
  const before: string[] = [], loop: string[] = [], inner: string[] = [];

  // The position of the first lane; vectors are counted by i.
  const at = lanes === 1 ? "i" : "j";
  if (lanes > 1) {
    loop.push(`const ${index.count} j = i * ${index.number(lanes)};`);
  }
  const coords = index.decompose(loop, at, 0, rank, "x");
  const vectors = new Vectors(
    lanes,
    v.ragged ? `j + ${index.number(lanes)} <= p.length` : undefined,
    "j + v < p.length",
  );
  const offsetOf = (i: number) => {
    loop.push(
      `const ${index.offset} o${i} = ${
        index.offsetOf(i, coords, 0, rank, last, steps[i])
      };`,
    );
    return `o${i}`;
  };

  const elements = new Map<number, string>();
  const leaf = (e: Expr, offset: string): string => {
    const i = Number(e.value);
    switch (e.op) {
      case "scalar":
        return `p.c${i}`;
      case "coord":
        return lanes > 1 && i === last
          ? `(int)(${coords[i]} + v)`
          : `(int)${coords[i]}`;
      case "linear":
        return lanes > 1 ? "(int)(j + v)" : "(int)i";
      case "load":
        return loadText(p, i, offset);
      default:
        return elements.get(i)!;
    }
  };
  const emit = (
    lines: string[],
    roots: readonly Expr[],
    known: Known,
  ): Emitter => {
    const emitter = new Emitter(lines, names, leaf, known);
    roots.forEach((e) => emitter.emit(e));
    return emitter;
  };

  // What is one value for all, then what is one value for all lanes.
  const isFixed = (e: Expr) =>
    e.op === "scalar" ||
    (e.op === "input" && steps[Number(e.value)] === "fixed");
  const isShared = (e: Expr) =>
    isFixed(e) ||
    (e.op === "input" && steps[Number(e.value)] === "row") ||
    (e.op === "coord" && Number(e.value) !== last);
  for (const i of streams) {
    if (steps[i] !== "fixed") continue;
    elements.set(i, readOne(p.inputs[i], pointer(p.inputs.length, i), "0"));
  }
  const { known } = emit(before, fixedParts(exprs, isFixed), new Map());
  for (const i of streams) {
    if (steps[i] === "fixed") continue;
    const offset = offsetOf(i);
    const from = pointer(p.inputs.length, i);
    elements.set(
      i,
      vectors.read(loop, p.inputs[i], from, offset, steps[i], `r${i}`),
    );
  }
  const shared = emit(
    loop,
    lanes === 1 ? [] : fixedParts(exprs, isShared),
    known,
  );
  const results = p.outputs.map(({ dtype }, k) => {
    const to = `p.out${k}`, words = `w${k}`;
    const offset = offsetOf(p.inputs.length + k);
    vectors.begin(loop, dtype, words);
    return { dtype, to, offset, words };
  });
  const each = emit(inner, exprs, shared.known);
  results.forEach(({ dtype, to, offset, words }, k) =>
    vectors.set(inner, dtype, to, offset, words, each.emit(exprs[k]))
  );
  if (p.refuses !== undefined) {
    const inside = v.ragged ? "j + v < p.length && " : "";
    inner.push(`if (${inside}${each.emit(p.refuses)}) *p.flag = 1;`);
  }
  vectors.each(loop, inner);
  results.forEach(({ dtype, to, offset, words }) =>
    vectors.end(loop, dtype, to, offset, words)
  );

  const threads = index.number(elementThreads);
  const outputs = p.outputs.map((_, k) => p.inputs.length + k);
  const [block, blocks] = v.many
    ? ["block", "blocks"]
    : ["blockIdx.x", "gridDim.x"];
  return {
    entry: v.many ? "elements_of_many" : "elements",
    threads: elementThreads,
    lines: [
      ...before,
      `const ${index.count} step = (${index.count})${blocks} * ${threads};`,
      `for (${index.count} i = (${index.count})${block} * ${threads} + threadIdx.x; i < p.count; i += step) {`,
      ...indent(prune(loop)),
      "}",
    ],
    params: paramLayout(p, {
      wide: v.wide,
      counts: v.ragged ? ["count", "length"] : ["count"],
      sizes: Array.from({ length: last }, (_, d) => d + 1),
      strides: strideNeeds(steps, [...streams, ...outputs], rank, last),
      loads: loadsOf(exprs),
    }),
  };
}
