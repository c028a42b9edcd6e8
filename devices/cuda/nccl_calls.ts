/**
 * One rank's part in a collective as calls of NCCL.
 *
 * @module
 */

import type {
  CollectiveCall,
  CollectiveKind,
  ReduceOp,
} from "../../core/collectives.ts";
import type { Block } from "../../core/device.ts";
import { bytesOf, type DType } from "../../core/dtype.ts";
import { shapeText } from "../../core/errors.ts";
import { check, dataType, nccl, redOp } from "../../ffi/nccl.ts";
import { addressOf } from "./context.ts";

/** Where calls go. */
export interface CallTarget {
  /** `ncclComm_t`. */
  readonly handle: bigint;
  /** Stream. */
  readonly stream: bigint;
  /** Number of ranks. */
  readonly worldSize: number;
}

const functions: Readonly<Record<CollectiveKind, string>> = {
  allReduce: "ncclAllReduce",
  broadcast: "ncclBroadcast",
  reduce: "ncclReduce",
  allGather: "ncclAllGather",
  reduceScatter: "ncclReduceScatter",
  allToAll: "ncclSend and ncclRecv",
  send: "ncclSend",
  recv: "ncclRecv",
};

/** What a rank does of the calls of a group, in words; undefined where that is nothing. */
export function partOf(
  rank: number,
  calls: readonly CollectiveCall[],
): string | undefined {
  const counts = new Map<string, number>();
  for (const call of calls) {
    if (call.rank !== rank || call.count === 0) continue;
    const name = functions[call.kind];
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  if (counts.size === 0) return undefined;
  return Array.from(counts, ([name, n]) => n === 1 ? name : `${n} ${name}`)
    .join(", ");
}

const types: Readonly<Record<DType, number>> = {
  f32: dataType.Float32,
  f64: dataType.Float64,
  f16: dataType.Float16,
  bf16: dataType.Bfloat16,
  i64: dataType.Int64,
  i32: dataType.Int32,
  i8: dataType.Int8,
  u8: dataType.Uint8,
  bool: dataType.Uint8,
};

const operations: Readonly<Record<ReduceOp, number>> = {
  sum: redOp.Sum,
  prod: redOp.Prod,
  min: redOp.Min,
  max: redOp.Max,
  avg: redOp.Avg,
};

/** Of truth values, the sum is "or" and the product is "and". */
const logical: Readonly<Record<ReduceOp, number>> = {
  sum: redOp.Max,
  prod: redOp.Min,
  min: redOp.Min,
  max: redOp.Max,
  avg: redOp.Avg,
};

/**
 * Issues a call; inside of a group, it starts when the group ends.
 *
 * @throws {CudaError} when NCCL refuses it.
 */
export function issue(call: CollectiveCall, target: CallTarget): void {
  const { handle, stream } = target;
  const { kind, dtype, op = "sum", peer = 0 } = call;
  const lib = nccl().symbols;
  const type = types[dtype];
  const operation = (dtype === "bool" ? logical : operations)[op];
  const count = BigInt(call.count);
  const send = address(call.send, dtype), recv = address(call.recv, dtype);
  const done = (status: number, name: string) => {
    if (status === 0) return;
    const what = `rank ${call.rank}, ${dtype} ${shapeText([call.count])}`;
    check(status, name, { communicator: handle, arguments: what });
  };
  switch (kind) {
    case "allReduce":
      return done(
        lib.ncclAllReduce(send, recv, count, type, operation, handle, stream),
        "ncclAllReduce",
      );
    case "broadcast":
      return done(
        lib.ncclBroadcast(send, recv, count, type, peer, handle, stream),
        "ncclBroadcast",
      );
    case "reduce":
      return done(
        lib.ncclReduce(
          send,
          recv,
          count,
          type,
          operation,
          peer,
          handle,
          stream,
        ),
        "ncclReduce",
      );
    case "allGather":
      return done(
        lib.ncclAllGather(send, recv, count, type, handle, stream),
        "ncclAllGather",
      );
    case "reduceScatter":
      return done(
        lib.ncclReduceScatter(
          send,
          recv,
          count,
          type,
          operation,
          handle,
          stream,
        ),
        "ncclReduceScatter",
      );
    case "allToAll": {
      const step = count * BigInt(bytesOf(dtype));
      for (let rank = 0; rank < target.worldSize; rank++) {
        const offset = BigInt(rank) * step;
        done(
          lib.ncclSend(send + offset, count, type, rank, handle, stream),
          "ncclSend",
        );
        done(
          lib.ncclRecv(recv + offset, count, type, rank, handle, stream),
          "ncclRecv",
        );
      }
      return;
    }
    case "send":
      return done(
        lib.ncclSend(send, count, type, peer, handle, stream),
        "ncclSend",
      );
    case "recv":
      return done(
        lib.ncclRecv(recv, count, type, peer, handle, stream),
        "ncclRecv",
      );
    default:
      return kind satisfies never;
  }
}

function address(block: Block | undefined, dtype: DType): bigint {
  return block === undefined ? 0n : addressOf(block, dtype);
}
