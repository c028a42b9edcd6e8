/**
 * Copies between host and device through page-locked memory, so that a write
 * returns before its bytes have arrived.
 *
 * Uploads to a block that nobody has used since it was allocated go over the
 * copy stream, beside the compute that is under way: they wait for the last
 * work of the block's former owner, and compute waits for them when the block
 * is first used.
 *
 * @module
 */

import { check, cudart, memcpyKind, pinned } from "../../ffi/cudart.ts";
import type { CudaStorage, PendingUpload } from "./context.ts";
import type { Gpu } from "./gpu.ts";

/** Bytes of one piece of page-locked memory. */
const slotBytes = 4 << 20;
/** Most pieces that uploads use. */
const slotLimit = 8;
/** Uploads of at least this size go over the copy stream. */
const overlapBytes = 64 << 10;
/** Overwriting so many bytes goes over the copy stream too, to a place beside them first. */
const indirectBytes = 1 << 20;
/** Uploads that compute need not wait for yet. */
const arrivingLimit = 16;
/** Points of the compute stream that are remembered. */
const markLimit = 8;

/** A piece of page-locked memory. */
interface Slot {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  used: number;
  /** Streams that read from it. */
  readonly streams: Set<bigint>;
  /** Points of those streams after which it may be written again. */
  readonly events: bigint[];
}

/** A point of the compute stream. */
interface Mark {
  /** Work queued before it. */
  count: number;
  readonly event: bigint;
}

/** The copies of one device. */
export class Staging {
  readonly #gpu: Gpu;
  /** Oldest first; the last one is being filled. */
  readonly #slots: Slot[] = [];
  readonly #marks: Mark[] = [];
  /** The copy stream is behind all work up to this count. */
  #copiesAfter = 0;
  /** Blocks whose bytes are on their way over the copy stream. */
  readonly #arriving = new Set<CudaStorage>();
  #reading: Slot[] = [];

  /**
   * Nothing is reserved before the first copy.
   *
   * @param gpu Device to copy to and from.
   */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Queues an upload; the bytes may change afterwards. */
  upload(storage: CudaStorage, offset: number, bytes: Uint8Array): void {
    const gpu = this.#gpu;
    const fresh = storage.allocatedAt === gpu.faults.count;
    gpu.faults.note("upload");
    storage.upload?.join();
    const target = storage.pointer + BigInt(offset);
    if (fresh && bytes.length >= overlapBytes) {
      this.#orderCopies(storage.idleSince);
      this.#copyingBeside(() => {
        this.#copyIn(target, bytes, gpu.copyStream);
        storage.upload = this.#pending(storage);
      });
    } else if (bytes.length >= indirectBytes) {
      this.#copyBeside(target, bytes);
    } else this.#copyIn(target, bytes, gpu.stream);
  }

  /** Overwrites a block that compute may still use: the bytes arrive beside it first. */
  #copyBeside(target: bigint, bytes: Uint8Array): void {
    const gpu = this.#gpu;
    const { pointer, idleSince } = gpu.memory.take(bytes.length, true);
    try {
      this.#orderCopies(idleSince);
      this.#copyingBeside(() => {
        this.#copyIn(pointer, bytes, gpu.copyStream);
        gpu.order(gpu.copyStream, gpu.stream);
      });
      gpu.called("copy");
      check(
        cudart().cudaMemcpyAsync(
          target,
          pointer,
          BigInt(bytes.length),
          memcpyKind.DeviceToDevice,
          gpu.stream,
        ),
        "cudaMemcpyAsync",
        `${bytes.length} bytes within the device`,
      );
      gpu.queued();
    } finally {
      gpu.memory.give(pointer, bytes.length);
    }
  }

  /** Uses the copy stream; when that fails, nothing may be on its way any more, because nobody would wait for it. */
  #copyingBeside(body: () => void): void {
    try {
      body();
    } catch (error) {
      cudart().cudaStreamSynchronize(this.#gpu.copyStream);
      throw error;
    }
  }

  /** Has the copy stream wait for the last work of a block's former owner, if it may still run. */
  #orderCopies(count: number): void {
    const gpu = this.#gpu;
    this.#mark();
    if (count <= Math.max(this.#copiesAfter, gpu.faults.ended)) return;
    const mark = this.#marks.find((mark) => mark.count >= count)!;
    check(
      cudart().cudaStreamWaitEvent(gpu.copyStream, mark.event, 0),
      "cudaStreamWaitEvent",
    );
    this.#copiesAfter = mark.count;
  }

  /** Notes where the compute stream stands. */
  #mark(): void {
    const gpu = this.#gpu;
    const event = this.#marks.length < markLimit
      ? gpu.takeEvent()
      : this.#marks.shift()!.event;
    check(cudart().cudaEventRecord(event, gpu.stream), "cudaEventRecord");
    this.#marks.push({ count: gpu.faults.count, event });
  }

  /** What compute must wait for before it uses a block. */
  #pending(storage: CudaStorage): PendingUpload {
    const gpu = this.#gpu;
    const event = gpu.recorded(gpu.copyStream);
    const arriving = this.#arriving;
    arriving.add(storage);
    // Those that nobody uses must not keep their memory for ever.
    if (arriving.size > arrivingLimit) {
      const [oldest] = arriving;
      oldest.upload?.join();
    }
    return {
      join() {
        storage.upload = undefined;
        arriving.delete(storage);
        gpu.giveEvent(event);
        gpu.activate();
        const status = cudart().cudaStreamWaitEvent(gpu.stream, event, 0);
        if (status === 0) return;
        cudart().cudaStreamSynchronize(gpu.copyStream);
        check(status, "cudaStreamWaitEvent");
      },
    };
  }

  /** Has later work of the compute stream wait for every upload. */
  join(): void {
    for (const storage of [...this.#arriving]) storage.upload?.join();
  }

  #copyIn(target: bigint, bytes: Uint8Array, stream: bigint): void {
    for (let done = 0; done < bytes.length;) {
      const left = bytes.length - done;
      const slot = this.#slotFor(Math.min(left, slotBytes));
      const n = Math.min(left, slotBytes - slot.used);
      slot.bytes.set(bytes.subarray(done, done + n), slot.used);
      slot.streams.add(stream);
      this.#gpu.queues("upload", stream);
      check(
        cudart().cudaMemcpyAsync(
          target + BigInt(done),
          slot.address + BigInt(slot.used),
          BigInt(n),
          memcpyKind.HostToDevice,
          stream,
        ),
        "cudaMemcpyAsync",
        `${n} bytes to the device`,
      );
      this.#gpu.queued(stream);
      // Whole cache lines, so that two copies never share one.
      slot.used = Math.min(slotBytes, slot.used + Math.ceil(n / 64) * 64);
      done += n;
    }
  }

  /** A piece with room for `bytes` bytes. */
  #slotFor(bytes: number): Slot {
    const filling = this.#slots.at(-1);
    if (filling !== undefined) {
      if (filling.used + bytes <= slotBytes) return filling;
      this.#seal(filling);
    }
    const oldest = this.#slots[0];
    if (
      oldest === undefined ||
      this.#slots.length < slotLimit && !this.#arrived(oldest)
    ) {
      const slot = this.#newSlot(slotBytes);
      this.#slots.push(slot);
      return slot;
    }
    for (const event of oldest.events) this.#awaitEvent(event);
    for (const event of oldest.events.splice(0)) this.#gpu.giveEvent(event);
    this.#slots.push(this.#slots.shift()!);
    oldest.used = 0;
    return oldest;
  }

  #newSlot(size: number): Slot {
    const { address, bytes } = pinned(size);
    this.#gpu.onClose(() => cudart().cudaFreeHost(address));
    return { address, bytes, used: 0, streams: new Set(), events: [] };
  }

  /** Notes after which points a full piece is free again. */
  #seal(slot: Slot): void {
    for (const stream of slot.streams) {
      const event = this.#gpu.takeEvent();
      slot.events.push(event);
      check(cudart().cudaEventRecord(event, stream), "cudaEventRecord");
    }
    slot.streams.clear();
  }

  #arrived({ events }: Slot): boolean {
    return events.every((event) => cudart().cudaEventQuery(event) === 0);
  }

  /** Waits for all work of the compute stream, then has the bytes of the device in `bytes`. */
  download(source: bigint, bytes: Uint8Array): void {
    const { stream } = this.#gpu;
    const slots = this.#reading.length > 0 ? this.#reading : this.#reading = [
      this.#newSlot(slotBytes / 2),
      this.#newSlot(slotBytes / 2),
    ];
    const size = slotBytes / 2;
    const events: bigint[] = [];
    // One piece fills while the host empties the other.
    const empty = (piece: number) => {
      const at = piece * size;
      const n = Math.min(size, bytes.length - at);
      bytes.set(slots[piece & 1].bytes.subarray(0, n), at);
    };
    const pieces = Math.ceil(bytes.length / size);
    this.#gpu.faults.note("read");
    for (let piece = 0; piece < pieces; piece++) {
      const at = piece * size;
      const n = Math.min(size, bytes.length - at);
      this.#gpu.queues("read", stream);
      check(
        cudart().cudaMemcpyAsync(
          slots[piece & 1].address,
          source + BigInt(at),
          BigInt(n),
          memcpyKind.DeviceToHost,
          stream,
        ),
        "cudaMemcpyAsync",
        `${n} bytes to the host`,
      );
      this.#gpu.queued();
      if (piece === pieces - 1) break;
      events[piece & 1] ??= this.#gpu.takeEvent();
      check(
        cudart().cudaEventRecord(events[piece & 1], stream),
        "cudaEventRecord",
      );
      if (piece === 0) continue;
      this.#awaitEvent(events[(piece - 1) & 1]);
      empty(piece - 1);
    }
    if (pieces > 1) {
      this.#awaitEvent(events[(pieces - 2) & 1]);
      empty(pieces - 2);
    }
    this.#gpu.synchronize();
    empty(pieces - 1);
    for (const event of events) this.#gpu.giveEvent(event);
  }

  #awaitEvent(event: bigint): void {
    check(cudart().cudaEventSynchronize(event), "cudaEventSynchronize");
  }
}
