/**
 * From tensors to calls: which memory a collective reads and writes.
 *
 * @module
 */

import type {
  CollectiveCall,
  CollectiveKind,
  ReduceOp,
} from "../core/collectives.ts";
import type { Device } from "../core/device.ts";
import type { DType } from "../core/dtype.ts";
import { shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import { contiguous } from "../core/row_kernels.ts";
import type { Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { exclusive } from "../core/update.ts";
import { Value } from "../core/value.ts";

/** What a collective takes and gives. */
export interface Plan {
  /** What is done. */
  readonly kind: CollectiveKind;
  /** The ranks of this process that take part. */
  readonly ranks: readonly number[];
  /** Number of ranks in all processes. */
  readonly worldSize: number;
  /** What they give. */
  readonly tensors: readonly Tensor[];
  /** How elements are combined. */
  readonly op?: ReduceOp;
  /** The root, or the other side. */
  readonly peer?: number;
  /** Whether the tensors are overwritten. */
  readonly inPlace?: boolean;
  /** Shape of the result of a rank; undefined where it gets none. */
  readonly shape?: (rank: number) => Shape | undefined;
  /** Elements, as `CollectiveCall` counts them. */
  readonly count: number;
}

/** A tensor that is to have another value: its own is used by somebody else too. */
export interface Overwritten {
  /** The tensor. */
  readonly tensor: Tensor;
  /** What it will hold. */
  readonly value: Value;
}

/** Calls and their memory, before they are started. */
export interface Calls {
  /** One for each rank of this process. */
  readonly calls: readonly CollectiveCall[];
  /** Values that are read and written, retained. */
  readonly held: readonly Value[];
  /** Tensors that get new memory when the calls have started. */
  readonly overwritten: readonly Overwritten[];
  /** Whether memory is used that was not there before. */
  readonly fresh: boolean;
  /** The collective, for messages. */
  readonly what: string;
  /** The results of the ranks; undefined where one gets none. */
  readonly results: readonly (Tensor | undefined)[];
}

/** Makes the calls of a plan. */
export function callsOf(plan: Plan): Calls {
  const { kind, tensors, ranks, op, peer, count, inPlace = false } = plan;
  const held: Value[] = [];
  const overwritten: Overwritten[] = [];
  const results: (Tensor | undefined)[] = [];
  let fresh = false;
  for (const tensor of tensors) materialize(tensor.value);
  const asTheyLie = liesAlike(plan);
  const calls = tensors.map((tensor, i): CollectiveCall => {
    const { dtype, device, value } = tensor;
    // Before anything here holds the value too.
    const free = inPlace && exclusive(value) &&
      (asTheyLie || value.contiguous);
    const send = asTheyLie ? value.retain() : contiguous(value);
    held.push(send);
    fresh ||= send !== tensor.value;
    const shape = plan.shape?.(ranks[i]);
    let recv: Value | undefined;
    let result: Tensor | undefined;
    if (free) {
      recv = send;
      result = tensor;
    } else if (shape !== undefined) {
      const strides = asTheyLie ? value.strides : undefined;
      recv = Value.empty(device, dtype, shape, strides);
      held.push(recv);
      fresh = true;
      result = inPlace ? tensor : new Tensor(recv.retain());
      if (inPlace) overwritten.push({ tensor, value: recv });
    }
    results.push(result);
    return {
      kind,
      rank: ranks[i],
      dtype,
      count,
      op,
      peer,
      send: { storage: send.storage, offset: send.offset },
      recv: recv && { storage: recv.storage, offset: recv.offset },
    };
  });
  const [{ dtype, shape }] = tensors;
  const what = `${kind} of ${dtype} ${shapeText(shape)}`;
  return { calls, held, overwritten, fresh, what, results };
}

/**
 * Whether the tensors are images whose channels lie last on every rank, and
 * may stay so: element i of one then meets element i of the others.
 */
function liesAlike({ kind, tensors, ranks, worldSize }: Plan): boolean {
  const meets = kind === "allReduce" || kind === "broadcast" ||
    kind === "reduce";
  return meets && ranks.length === worldSize &&
    tensors.every(({ value }) => value.channelsLast);
}

/** What a rank receives. */
export interface Receipt {
  /** The rank. */
  readonly rank: number;
  /** Who sends. */
  readonly from: number;
  /** Device of the rank. */
  readonly device: Device;
  /** Extents. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
}

/** Makes the call that receives a tensor. */
export function receiveCall(receipt: Receipt): Calls {
  const { rank, from, device, shape, dtype } = receipt;
  const value = Value.empty(device, dtype, shape);
  const call: CollectiveCall = {
    kind: "recv",
    rank,
    dtype,
    count: value.size,
    peer: from,
    recv: { storage: value.storage, offset: 0 },
  };
  return {
    calls: [call],
    held: [value],
    overwritten: [],
    fresh: true,
    what: `recv of ${dtype} ${shapeText(shape)} from rank ${from}`,
    results: [new Tensor(value.retain())],
  };
}
