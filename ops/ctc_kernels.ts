/**
 * The forward–backward algorithm of connectionist temporal classification
 * (Graves et al., 2006): the states of the alignments, and one kernel per time
 * step and direction.
 *
 * @module
 */

import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";

/** Labels with blanks between them, and what the recursions need to know of each. */
export interface Lattice {
  /** Time steps. */
  readonly steps: number;
  /** Examples. */
  readonly batch: number;
  /** Classes, the blank included. */
  readonly classes: number;
  /** States of the longest target: its labels, and blanks around them. */
  readonly states: number;
  /** Class of each state (i32, [batch, states]); −1 past the end. */
  readonly labels: Int32Array<ArrayBuffer>;
  /** Whether a state can be reached from two before (i32, [batch, states]). */
  readonly skips: Int32Array<ArrayBuffer>;
  /** Last state of each example (i32). */
  readonly ends: Int32Array<ArrayBuffer>;
  /** Time steps of each example (i32). */
  readonly lengths: Int32Array<ArrayBuffer>;
  /** Labels of each example. */
  readonly counts: readonly number[];
}

/** Numbers from a tensor or an array. */
export function numbers(x: Tensor | readonly number[]): number[] {
  // What is no tensor of numbers is refused with the other attributes.
  if (!(x instanceof Tensor)) return x as number[];
  return Array.from(x.data() as Iterable<number>, Number);
}

/** Refuses shapes and lengths that do not fit. */
export function refuse(reason: string): never {
  throw new ShapeError(`Cannot take the CTC loss: ${reason}`);
}

/** Reads targets and lengths, checks them, and lays out the states. */
export function latticeOf(
  logProbs: Tensor,
  targets: Tensor,
  inputLengths: readonly number[],
  targetLengths: readonly number[],
  blank: number,
): Lattice {
  const [steps, batch, classes] = logProbs.shape;
  if (inputLengths.length !== batch || targetLengths.length !== batch) {
    refuse(
      `there are ${batch} examples, ${inputLengths.length} input lengths and ${targetLengths.length} target lengths`,
    );
  }
  if (!Number.isInteger(blank) || blank < 0 || blank >= classes) {
    throw new IndexError(
      `Cannot take the CTC loss with blank ${blank}: it must be a class, from 0 to ${
        classes - 1
      }`,
    );
  }
  const all = numbers(targets);
  const total = targetLengths.reduce((a, b) => a + b, 0);
  const padded = targets.rank === 2;
  if (padded ? targets.shape[0] !== batch : all.length !== total) {
    refuse(
      `targets of shape ${
        shapeText(targets.shape)
      } fit neither [${batch}, longest] nor, one after the other, [${total}]`,
    );
  }
  const longest = Math.max(0, ...targetLengths);
  if (padded && longest > targets.shape[1]) {
    refuse(
      `a target length is ${longest}, but targets have shape ${
        shapeText(targets.shape)
      }`,
    );
  }
  const states = 2 * longest + 1;
  const labels = new Int32Array(batch * states).fill(-1);
  const skips = new Int32Array(batch * states);
  let start = 0;
  for (let n = 0; n < batch; n++) {
    const length = inputLengths[n], count = targetLengths[n];
    if (!(length >= 1 && length <= steps)) {
      refuse(`input length ${length} is not from 1 to ${steps}`);
    }
    const from = padded ? n * targets.shape[1] : start;
    start += count;
    for (let s = 0; s <= 2 * count; s++) {
      const label = s % 2 === 0 ? blank : all[from + (s - 1) / 2];
      if (!(label >= 0 && label < classes)) {
        throw new IndexError(
          `Cannot take the CTC loss with label ${label} among ${classes} classes: labels must be from 0 to ${
            classes - 1
          }`,
        );
      }
      labels[n * states + s] = label;
      if (s % 2 === 1 && s >= 3 && labels[n * states + s - 2] !== label) {
        skips[n * states + s] = 1;
      }
    }
  }
  return {
    steps,
    batch,
    classes,
    states,
    labels,
    skips,
    ends: Int32Array.from(targetLengths, (count) => 2 * count),
    lengths: Int32Array.from(inputLengths),
    counts: targetLengths,
  };
}

/** The lattice on the device. */
export interface DeviceLattice extends Omit<Lattice, "counts"> {
  /** Where the kernels run. */
  readonly device: Tensor["device"];
  /** Type in which they compute. */
  readonly type: ScalarType;
  /** Log-probabilities [steps, batch, classes]. */
  readonly logProbs: Value;
  /** Labels, skips, ends and lengths. */
  readonly streams: readonly Value[];
}

/** Brings the lattice to the device of the log-probabilities (contiguous). */
export function upload(l: Lattice, logProbs: Value): DeviceLattice {
  const { batch, states } = l;
  const options = { device: logProbs.device.name };
  const wide = [batch, states], narrow = [batch, 1];
  const streams = [
    fromHost(l.labels, "i32", wide, options),
    fromHost(l.skips, "i32", wide, options),
    fromHost(l.ends, "i32", narrow, options),
    fromHost(l.lengths, "i32", narrow, options),
  ].map((s) => s.value);
  const { device, dtype } = logProbs;
  return { ...l, device, type: k.computeType(dtype), logProbs, streams };
}

/** log(eᵃ + eᵇ + eᶜ), −∞ where all are. */
function logAdd(terms: readonly Expr[]): Expr {
  const top = terms.reduce((a, b) => k.max(a, b));
  const zero = k.constant(0, top.type);
  const safe = k.select(k.eq(top, -Infinity), zero, top);
  const total = terms.map((e) => k.exp(k.sub(e, safe))).reduce(k.add);
  return k.add(safe, k.log(total));
}

/** What one step's kernel knows at one state. */
interface StateExprs {
  readonly state: Expr;
  readonly end: Expr;
  readonly length: Expr;
  readonly step: Expr;
  /** Log-probability of the state's label at this step. */
  readonly emission: Expr;
  /** The neighbouring step's value `distance` states further; −∞ where there is none, or where the skip is forbidden. */
  neighbour(distance: number): Expr;
}

/** Fills [steps, batch, states] step after step, forwards or backwards. */
function recur(
  l: DeviceLattice,
  name: "alpha" | "beta",
  define: (e: StateExprs) => Expr,
): Value {
  const { steps, batch, states, classes, type, device } = l;
  const dtype = type === "f64" ? "f64" : "f32";
  const result = Value.empty(device, dtype, [steps, batch, states]);
  const shape = [batch, states];
  const at = (step: number) =>
    result.view(shape, [states, 1], step * batch * states);
  const forward = name === "alpha";
  const skips = l.streams[1];
  for (let i = 0; i < steps; i++) {
    const step = forward ? i : steps - 1 - i;
    const target = at(step);
    // The first step has no neighbour: it reads itself, and selects nothing of it.
    const before = i === 0 ? at(step) : at(forward ? step - 1 : step + 1);
    runRows(device, {
      name: `ctc ${name}`,
      space: shape,
      axes: [],
      streams: l.streams,
      tables: [l.logProbs, before, skips],
      scalars: [step, step * batch * classes, classes, states],
      scalarTypes: ["i32", "i32", "i32", "i32"],
      into: [target],
      passes: 1,
      build: ({ streams, scalars, coord, load }) => {
        const [label, skip, end, length] = streams;
        const [step, start, classes, states] = scalars;
        const example = coord(0), state = coord(1);
        const none = k.constant(-Infinity, type);
        const here = k.add(k.mul(example, states), state);
        const emission = k.select(
          k.lt(label, 0),
          none,
          k.cast(
            load(0, k.add(start, k.add(k.mul(example, classes), label))),
            type,
          ),
        );
        const neighbour = (distance: number) => {
          const there = k.add(state, distance);
          let allowed = k.and(k.ge(there, 0), k.lt(there, states));
          if (Math.abs(distance) === 2) {
            const flag = distance < 0
              ? skip
              : load(2, k.add(here, k.constant(distance, "i32")));
            allowed = k.and(allowed, k.ne(flag, 0));
          }
          return k.select(allowed, load(1, k.add(here, distance)), none);
        };
        const value = define({ state, end, length, step, emission, neighbour });
        return { stages: [], outputs: [{ dtype, per: "element", value }] };
      },
    });
    target.release();
    before.release();
  }
  return result;
}

/** Log-probability of all ways to be in each state after each step; the last one's stays. */
export function alphas(l: DeviceLattice): Value {
  const none = k.constant(-Infinity, l.type);
  return recur(l, "alpha", (e) => {
    const first = k.select(k.lt(e.state, 2), e.emission, none);
    const ways = logAdd([0, -1, -2].map((d) => e.neighbour(d)));
    return k.select(
      k.eq(e.step, 0),
      first,
      k.select(
        k.lt(e.step, e.length),
        k.add(ways, e.emission),
        e.neighbour(0),
      ),
    );
  });
}

/** Log-probability of all ways to go on from each state, its own emission included. */
function betas(l: DeviceLattice): Value {
  const none = k.constant(-Infinity, l.type);
  return recur(l, "beta", (e) => {
    const last = k.sub(e.length, 1);
    const final = k.and(
      k.le(e.state, e.end),
      k.ge(e.state, k.sub(e.end, 1)),
    );
    const ways = logAdd([0, 1, 2].map((d) => e.neighbour(d)));
    return k.select(
      k.lt(e.step, last),
      k.add(ways, e.emission),
      k.select(
        k.and(k.eq(e.step, last), final),
        e.emission,
        none,
      ),
    );
  });
}

/** −log of the likelihood of each example, from the last alphas. */
export function likelihoods(l: DeviceLattice, alpha: Value): Value {
  const { batch, states, steps, type } = l;
  const dtype = type === "f64" ? "f64" : "f32";
  const last = new Tensor(alpha.view(
    [batch, states],
    [states, 1],
    (steps - 1) * batch * states,
  )).value;
  const [losses] = runRows(l.device, {
    name: "ctc loss",
    space: [batch, 1],
    axes: [],
    streams: [l.streams[2]],
    tables: [last],
    scalars: [states],
    scalarTypes: ["i32"],
    passes: 1,
    build: ({ streams: [end], scalars: [states], coord, load }) => {
      const at = k.add(k.mul(coord(0), states), end);
      const before = k.select(
        k.gt(end, 0),
        load(0, k.sub(at, 1)),
        k.constant(-Infinity, type),
      );
      const value = k.neg(logAdd([load(0, at), before]));
      return { stages: [], outputs: [{ dtype, per: "element", value }] };
    },
  });
  return losses;
}

/** The share of each state in the likelihood, at each step. */
export function posteriors(
  l: DeviceLattice,
  alpha: Value,
  losses: Value,
): Value {
  const { batch, states, type } = l;
  const beta = new Tensor(betas(l)).value;
  const dtype = alpha.dtype;
  const [shares] = runRows(l.device, {
    name: "ctc posterior",
    space: alpha.shape,
    axes: [],
    streams: [alpha, beta, l.streams[0], losses],
    tables: [l.logProbs],
    scalars: [batch, l.classes],
    scalarTypes: ["i32", "i32"],
    passes: 1,
    build: ({ streams, scalars: [batch, classes], coord, load }) => {
      const [a, b, label, loss] = streams;
      const row = k.add(k.mul(coord(0), batch), coord(1));
      const emission = load(0, k.add(k.mul(row, classes), label));
      const sum = k.add(k.sub(k.add(a, b), k.cast(emission, type)), loss);
      const impossible = k.or(k.eq(a, -Infinity), k.eq(b, -Infinity));
      const value = k.select(impossible, k.constant(0, type), k.exp(sum));
      return { stages: [], outputs: [{ dtype, per: "element", value }] };
    },
  });
  const view = shares.view(
    [l.steps, batch, 1, states],
    [batch * states, states, 0, 1],
    0,
  );
  shares.release();
  return view;
}

/** ∂: −g·Σ of the posteriors of the states of each class */
export function classGradient(
  l: DeviceLattice,
  shares: Value,
  grad: Value,
  dtype: Value["dtype"],
): Value {
  const { steps, batch, classes, states, type } = l;
  const labels = l.streams[0].view(
    [1, batch, 1, states],
    [0, states, 0, 1],
    0,
  );
  const scale = grad.view(
    [1, batch, 1, 1],
    [0, grad.strides[0], 0, 0],
    grad.offset,
  );
  const [value] = runRows(l.device, {
    name: `ctc gradient ${dtype}`,
    space: [steps, batch, classes, states],
    axes: [3],
    streams: [shares, labels, scale],
    passes: 1,
    build: ({ streams: [share, label, g], coord }) => {
      const own = k.eq(label, coord(2));
      const total = k.mul(k.neg(k.cast(g, type)), k.stage(0, type));
      return {
        stages: [{
          op: "sum",
          value: k.select(own, share, k.constant(0, type)),
        }],
        outputs: [{ dtype, per: "row", value: k.roundTo(total, dtype) }],
      };
    },
  });
  labels.release();
  scale.release();
  return value;
}
