/**
 * Collectives among ranks that share one device: each is one or a few kernels.
 * It serves to try programs for many devices on one, and tests.
 *
 * @module
 */

import type {
  CollectiveCall,
  CollectiveKind,
  Communicator,
  Flight,
  Mark,
  ReduceOp,
} from "../core/collectives.ts";
import type { Block, Device } from "../core/device.ts";
import { bytesOf, type DType } from "../core/dtype.ts";
import type { Expr } from "../kernel/expr.ts";
import * as k from "../kernel/expr.ts";
import { type Program, program } from "../kernel/program.ts";
import { simplify } from "../kernel/simplify.ts";

/** Operands that one kernel combines; more are combined step by step. */
const maxOperands = 8;

/** A part of a storage with its element type. */
interface Typed extends Block {
  readonly dtype: DType;
}

/** Combines two elements in the type they compute in. */
const combine = {
  sum: (a, b) => a.type === "bool" ? k.or(a, b) : k.add(a, b),
  avg: k.add,
  prod: (a, b) => a.type === "bool" ? k.and(a, b) : k.mul(a, b),
  min: (a, b) => a.type === "bool" ? k.and(a, b) : k.min(a, b),
  max: (a, b) => a.type === "bool" ? k.or(a, b) : k.max(a, b),
} satisfies Record<ReduceOp, (a: Expr, b: Expr) => Expr>;

const programs = new Map<string, Program>();

/** A kernel that combines elements of `inputs` and writes the result to each of `outputs`. */
function combination(
  op: ReduceOp,
  inputs: readonly DType[],
  outputs: readonly DType[],
  divisor: number,
): Program {
  const key = `${op} ${inputs} ${outputs} ${divisor}`;
  let made = programs.get(key);
  if (made === undefined) {
    const type = k.computeType(outputs[0]);
    let value = inputs.map((dtype, i) =>
      k.cast(k.input(i, k.computeType(dtype)), type)
    ).reduce(combine[op]);
    if (divisor !== 1) value = k.div(value, k.constant(divisor, type));
    made = program(
      inputs,
      [],
      [],
      outputs.map((dtype) => ({
        dtype,
        value: simplify(k.roundTo(value, dtype)),
        per: "element",
      })),
    );
    programs.set(key, made);
  }
  return made;
}

/** Ranks on one device. */
export class LocalCommunicator implements Communicator {
  /** All ranks. */
  readonly ranks: readonly number[];
  /** Their number. */
  readonly worldSize: number;

  /** Joins `worldSize` ranks on a device. */
  constructor(readonly device: Device, worldSize: number) {
    this.worldSize = worldSize;
    this.ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  }

  /** The device keeps the order of its work by itself. */
  mark(_rank: number): Mark {
    return { release() {} };
  }

  /** Runs the calls. */
  start(calls: readonly CollectiveCall[]): Flight {
    for (const together of matched(calls, this.worldSize)) {
      const { kind } = together[0];
      if (together[0].count > 0) this[kind](together);
    }
    const { device } = this;
    return {
      join() {},
      done() {
        device.synchronize();
        return true;
      },
      release() {},
    };
  }

  /** Nothing can go wrong on the way. */
  failure(): undefined {}

  /** Nothing is ever on its way. */
  abort(): void {}

  /** There is nothing to end. */
  close(): void {}

  /** Combines all ranks' elements for all ranks. */
  private allReduce(calls: readonly CollectiveCall[]): void {
    this.#reduce(calls[0], calls.map(sent), calls.map(received));
  }

  /** Combines all ranks' elements for the root. */
  private reduce(calls: readonly CollectiveCall[]): void {
    const root = calls.find((c) => c.rank === c.peer)!;
    this.#reduce(root, calls.map(sent), [received(root)]);
  }

  /** Combines for each rank its part. */
  private reduceScatter(calls: readonly CollectiveCall[]): void {
    for (const call of calls) {
      const from = call.rank * call.count;
      const parts = calls.map((c) => part(sent(c), from));
      this.#reduce(call, parts, [received(call)]);
    }
  }

  /** Copies the root's elements to all. */
  private broadcast(calls: readonly CollectiveCall[]): void {
    const root = calls.find((c) => c.rank === c.peer)!;
    for (const call of calls) {
      this.#copy(call, sent(root), received(call));
    }
  }

  /** Copies every rank's elements to all. */
  private allGather(calls: readonly CollectiveCall[]): void {
    for (const from of calls) {
      for (const to of calls) {
        const place = part(received(to), from.rank * from.count);
        this.#copy(from, sent(from), place);
      }
    }
  }

  /** Copies part j of rank i to part i of rank j. */
  private allToAll(calls: readonly CollectiveCall[]): void {
    for (const from of calls) {
      for (const to of calls) {
        this.#copy(
          from,
          part(sent(from), to.rank * from.count),
          part(received(to), from.rank * from.count),
        );
      }
    }
  }

  /** Copies what is sent to where it is received. */
  private send([from, to]: readonly CollectiveCall[]): void {
    this.#copy(from, sent(from), received(to));
  }

  /** Receives stand behind their sends. */
  private recv(calls: readonly CollectiveCall[]): void {
    this.send([calls[1], calls[0]]);
  }

  #copy({ count }: CollectiveCall, from: Typed, to: Typed): void {
    const { storage, offset } = from;
    if (storage === to.storage && offset === to.offset) return;
    this.#launch("sum", [from], [to], count);
  }

  #reduce(
    { count, op = "sum" }: CollectiveCall,
    from: readonly Typed[],
    to: readonly Typed[],
  ): void {
    const divisor = op === "avg" ? from.length : 1;
    if (from.length <= maxOperands) {
      this.#launch(op, from, to, count, divisor);
      return;
    }
    // Half-precision sums are kept in f32 until they are complete.
    const { dtype } = from[0];
    const wide = dtype === "f16" || dtype === "bf16" ? "f32" : dtype;
    const storage = this.device.allocate(count * bytesOf(wide));
    const sum: Typed = { storage, offset: 0, dtype: wide };
    try {
      this.#launch(op, from.slice(0, maxOperands), [sum], count);
      for (let i = maxOperands; i < from.length; i += maxOperands - 1) {
        const more = from.slice(i, i + maxOperands - 1);
        this.#launch(op, [sum, ...more], [sum], count);
      }
      for (const place of to) this.#launch(op, [sum], [place], count, divisor);
    } finally {
      storage.release();
    }
  }

  #launch(
    op: ReduceOp,
    from: readonly Typed[],
    to: readonly Typed[],
    count: number,
    divisor = 1,
  ): void {
    const strides = [1];
    const dtypes = (blocks: readonly Typed[]) => blocks.map((b) => b.dtype);
    this.device.launch({
      program: combination(op, dtypes(from), dtypes(to), divisor),
      sizes: [count],
      outerRank: 0,
      inputs: from.map((block) => ({ ...block, strides })),
      limits: [],
      outputs: to.map((block) => ({ ...block, strides })),
      scalars: [],
    });
  }
}

function sent({ send, dtype }: CollectiveCall): Typed {
  const { storage, offset } = send!;
  return { storage, offset, dtype };
}

function received({ recv, dtype }: CollectiveCall): Typed {
  const { storage, offset } = recv!;
  return { storage, offset, dtype };
}

function part({ storage, offset, dtype }: Typed, from: number): Typed {
  return { storage, offset: offset + from, dtype };
}

const pairs: ReadonlySet<CollectiveKind> = new Set(["send", "recv"]);

/** The calls that belong together, in order: the n-th of every rank, and each send with its receive. */
function matched(
  calls: readonly CollectiveCall[],
  worldSize: number,
): CollectiveCall[][] {
  const found: CollectiveCall[][] = [];
  const open: CollectiveCall[][] = [];
  for (const call of calls) {
    const together = open.find((others) =>
      pairs.has(call.kind)
        ? answers(others, call)
        : others[0].kind === call.kind &&
          !others.some((o) => o.rank === call.rank)
    );
    const size = pairs.has(call.kind) ? 2 : worldSize;
    if (together === undefined) {
      const others = [call];
      found.push(others);
      if (size > 1) open.push(others);
      continue;
    }
    together.push(call);
    if (together.length === size) open.splice(open.indexOf(together), 1);
  }
  for (const [{ kind, rank, peer }] of open) {
    const what = kind === "send"
      ? `rank ${rank} sends to rank ${peer}, which does not receive`
      : kind === "recv"
      ? `rank ${rank} receives from rank ${peer}, which does not send`
      : "not every rank takes part";
    throw new TypeError(
      `Cannot start ${kind} among ranks of one process: ${what}; put what belongs together into one grouped()`,
    );
  }
  return found;
}

/** Whether a send or receive is the other side of the one that waits. */
function answers([other]: readonly CollectiveCall[], call: CollectiveCall) {
  return pairs.has(other.kind) && other.kind !== call.kind &&
    other.rank === call.peer && other.peer === call.rank;
}
