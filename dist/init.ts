/**
 * One process for each device: joining the group.
 *
 * @module
 */

import type { Communicator } from "../core/collectives.ts";
import { getDevice } from "../core/device.ts";
import { CollectiveError } from "./errors.ts";
import { processGroup } from "./groups.ts";
import {
  type GroupOptions,
  ProcessGroup,
  usualTimeout,
} from "./process_group.ts";
import { rendezvous } from "./rendezvous.ts";
import { seat } from "./seat.ts";

/** Options of {@linkcode init}. */
export interface InitOptions extends GroupOptions {
  /** Device of this process; `cuda:` and its rank on this host when omitted. */
  device?: string;
  /** Milliseconds to wait for the other processes; 60,000 when omitted. */
  joinTimeout?: number;
}

/**
 * Joins the processes that were started together ({@linkcode launch},
 * `torchrun`), one for each device; returns when all have come. A process that
 * was started alone is a group of its own.
 *
 * @throws {TypeError} when the environment does not say which rank this is, or
 *   the device cannot be joined with others.
 * @throws {CollectiveError} when not all processes come in time.
 *
 * @example
 * ```ts
 * import { dist, tensor } from "@decaf/decaf";
 *
 * // Of the processes that `decaf launch --processes 4 script.ts` starts:
 * using group = await dist.init({ device: "cpu" });
 * const [sum] = group.allReduce(tensor([group.rank])).wait();
 * if (sum.item() !== 0) throw new Error("this one was started alone");
 * ```
 */
export async function init(options: InitOptions = {}): Promise<ProcessGroup> {
  const { joinTimeout: timeout = 60_000 } = options;
  const { rank, worldSize, localRank, address, port } = seat();
  const name = options.device ?? `cuda:${localRank}`;
  if (worldSize === 1) return processGroup([name], options);
  const device = getDevice(name);
  const { collectives } = device;
  if (collectives === undefined) {
    throw new TypeError(
      `Cannot join ${worldSize} processes on ${name}: there is no library for collectives among processes on such devices; CUDA devices have one`,
    );
  }
  const meeting = { rank, worldSize, address, port, timeout };
  const id = await rendezvous(meeting, () => collectives.uniqueId());
  const { timeout: callTimeout = usualTimeout } = options;
  const spec = { device, rank, worldSize, id, timeout, callTimeout };
  let communicator: Communicator;
  try {
    communicator = collectives.join(spec);
  } catch (error) {
    throw new CollectiveError((error as Error).message, { cause: error });
  }
  return new ProcessGroup(communicator, [device], options);
}
