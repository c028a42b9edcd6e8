/**
 * Copies among GPUs: over their link where they have one.
 *
 * @module
 */

import {
  canAccessPeer,
  check,
  cudaError,
  cudart,
  memAccess,
  memcpyKind,
} from "../../ffi/cudart.ts";
import type { CudaStorage } from "./context.ts";
import type { Gpu } from "./gpu.ts";

/** One end of a copy. */
export interface CopyEnd {
  /** Device. */
  readonly gpu: Gpu;
  /** Block. */
  readonly storage: CudaStorage;
  /** First byte. */
  readonly offset: number;
}

/** Pairs of devices that were introduced to each other; by the reading one. */
const introduced = new WeakMap<Gpu, Set<Gpu>>();

/** Lets a device reach the memory of another, if their link allows it. */
function introduce(gpu: Gpu, peer: Gpu): void {
  let known = introduced.get(gpu);
  if (known === undefined) introduced.set(gpu, known = new Set());
  if (known.has(peer)) return;
  known.add(peer);
  if (!canAccessPeer(gpu.ordinal, peer.ordinal)) return;
  gpu.activate();
  const status = cudart().cudaDeviceEnablePeerAccess(peer.ordinal, 0);
  if (status === cudaError.PeerAccessAlreadyEnabled) {
    cudart().cudaGetLastError();
  } else check(status, "cudaDeviceEnablePeerAccess", peer.name);
  if (peer.memory.pool.handle === undefined) return;
  // A pool's memory is open to peers by a setting of its own.
  const access = new Int32Array([
    memAccess.LocationTypeDevice,
    gpu.ordinal,
    memAccess.FlagsProtReadWrite,
  ]);
  check(
    cudart().cudaMemPoolSetAccess(peer.memory.pool.handle, access, 1n),
    "cudaMemPoolSetAccess",
    `${gpu.name} to the memory of ${peer.name}`,
  );
}

/** Lets two devices reach each other's memory, if their link allows it. */
export function introducePeers(a: Gpu, b: Gpu): void {
  introduce(a, b);
  introduce(b, a);
}

/** Queues a copy on the target's compute stream, in the order of both devices' work. */
export function copyBetween(
  target: CopyEnd,
  source: CopyEnd,
  bytes: number,
): void {
  const { gpu: to } = target;
  const { gpu: from } = source;
  source.storage.upload?.join();
  target.storage.upload?.join();
  const into = target.storage.pointer + BigInt(target.offset);
  const out = source.storage.pointer + BigInt(source.offset);
  const what = `${bytes} bytes from ${from.name} to ${to.name}`;
  if (to === from) {
    to.activate();
    to.called("copy");
    check(
      cudart().cudaMemcpyAsync(
        into,
        out,
        BigInt(bytes),
        memcpyKind.DeviceToDevice,
        to.stream,
      ),
      "cudaMemcpyAsync",
      what,
    );
    to.queued();
    return;
  }
  introducePeers(to, from);
  from.activate();
  from.order(from.stream, to.stream);
  to.activate();
  to.called("copy from a peer");
  check(
    cudart().cudaMemcpyPeerAsync(
      into,
      to.ordinal,
      out,
      from.ordinal,
      BigInt(bytes),
      to.stream,
    ),
    "cudaMemcpyPeerAsync",
    what,
  );
  to.queued();
  // The source may be overwritten or freed once the copy has read it: a block
  // that is given back from now on is busy until this wait is over.
  from.called("wait for a peer");
  to.activate();
  to.order(to.stream, from.stream);
  from.queued();
}
