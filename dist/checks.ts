/**
 * What collectives refuse.
 *
 * @module
 */

import type { CollectiveKind, ReduceOp } from "../core/collectives.ts";
import type { Device } from "../core/device.ts";
import { type DType, isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";

/** Who takes part: the ranks of this process with their devices, and how many there are in all. */
export interface Members {
  /** The ranks of this process. */
  readonly ranks: readonly number[];
  /** Their devices. */
  readonly devices: readonly Device[];
  /** Number of ranks in all processes. */
  readonly worldSize: number;
}

/** One tensor for each rank of this process, in the order of `ranks`; without an array where there is one. */
export type PerRank = Tensor | readonly Tensor[];

/**
 * The tensors of the ranks of this process.
 *
 * @throws {TypeError} when there are more or fewer, or one is on another device.
 * @throws {ShapeError} when their shapes or dtypes differ.
 */
export function checkedTensors(
  members: Members,
  kind: CollectiveKind,
  xs: PerRank,
): readonly Tensor[] {
  const { ranks } = members;
  const tensors: readonly Tensor[] = xs instanceof Tensor ? [xs] : xs;
  if (tensors.length !== ranks.length) {
    throw new TypeError(
      `Cannot ${kind} ${tensors.length} tensors: this process drives ${ranks.length} ranks, and each takes part with one`,
    );
  }
  const [first] = tensors;
  tensors.forEach((tensor, i) => {
    localDevice(members, kind, ranks[i], tensor);
    if (
      tensor.dtype === first.dtype && sameShape(tensor.shape, first.shape)
    ) return;
    throw new ShapeError(
      `Cannot ${kind} tensors that differ: rank ${
        ranks[0]
      } has ${first.dtype} ${shapeText(first.shape)} and rank ${
        ranks[i]
      } ${tensor.dtype} ${shapeText(tensor.shape)}`,
    );
  });
  return tensors;
}

/**
 * The device of a rank of this process.
 *
 * @throws {IndexError} when another process drives the rank.
 * @throws {TypeError} when the tensor is on another device.
 */
export function localDevice(
  { ranks, devices }: Members,
  kind: CollectiveKind,
  rank: number,
  tensor?: Tensor,
): Device {
  const i = ranks.indexOf(rank);
  if (i < 0) {
    throw new IndexError(
      `Cannot ${kind} as rank ${rank}: this process drives ${ranks.join(", ")}`,
    );
  }
  const device = devices[i];
  if (tensor !== undefined && tensor.device !== device) {
    throw new TypeError(
      `Cannot ${kind} a tensor on ${tensor.device.name} as rank ${rank}, whose device is ${device.name}: bring it there with .to("${device.name}")`,
    );
  }
  return device;
}

/**
 * The rank that is meant where none is given.
 *
 * @throws {TypeError} when this process drives several on the device.
 */
export function impliedRank(
  { ranks, devices }: Members,
  kind: CollectiveKind,
  device: Device | undefined,
): number {
  if (ranks.length === 1) return ranks[0];
  const found = ranks.filter((_, i) => devices[i] === device);
  if (found.length === 1) return found[0];
  throw new TypeError(
    `Cannot ${kind} without { rank }: this process drives ranks ${
      ranks.join(", ")
    }`,
  );
}

/** Refuses ranks that there are not. @throws {IndexError} */
export function checkRank(
  { worldSize }: Members,
  kind: CollectiveKind,
  role: string,
  rank: number,
): void {
  if (Number.isInteger(rank) && rank >= 0 && rank < worldSize) return;
  throw new IndexError(
    `Cannot ${kind} with rank ${rank} as ${role}: ranks go from 0 to ${
      worldSize - 1
    }`,
  );
}

/** The shape of a rank's part along the first axis. @throws {ShapeError} when it does not come out even. */
export function splitShape(
  { worldSize }: Members,
  kind: CollectiveKind,
  shape: Shape,
): Shape {
  const [first, ...rest] = shape;
  if (first !== undefined && first % worldSize === 0) {
    return [first / worldSize, ...rest];
  }
  throw new ShapeError(
    `Cannot ${kind} a tensor of shape ${
      shapeText(shape)
    } among ${worldSize} ranks: its first axis must be a multiple of their number`,
  );
}

const reduceOps: Readonly<Record<ReduceOp, true>> = {
  sum: true,
  prod: true,
  min: true,
  max: true,
  avg: true,
};

/** Refuses ways to combine that there are not, or not for a dtype. */
export function checkOp(
  kind: CollectiveKind,
  op: ReduceOp,
  dtype: DType,
): void {
  if (!Object.hasOwn(reduceOps, op)) {
    throw new TypeError(
      `Cannot ${kind} with "${op}": there is ${
        Object.keys(reduceOps).join(", ")
      }`,
    );
  }
  if (op === "avg" && !isFloat(dtype)) {
    throw new DTypeError(
      `Cannot ${kind} tensors of dtype ${dtype} with "avg": means of whole numbers are not whole; convert them with .cast("f32")`,
    );
  }
}
