/**
 * The one memory of the CPU device, and its allocator.
 *
 * The memory is reserved once at its maximum, so its typed views never go
 * stale and addresses stay valid for ever; the system commits pages when they
 * are first written. Blocks come from segregated free lists: 16 size classes
 * per power of two, so a block is at most 1/16 larger than asked. When the
 * lists and the untouched end of the memory cannot serve, neighbouring free
 * blocks are merged.
 *
 * @module
 */

import { type MemoryRoom, OutOfMemoryError } from "../../core/errors.ts";

/** No block of the CPU memory is large enough for a request. */
export class CpuMemoryError extends OutOfMemoryError {
  /** Name of the class, as shown in stack traces. */
  override name = "CpuMemoryError";

  /** Words the sentence from the request and the state of the memory. */
  constructor(
    /** Bytes asked for. */
    readonly requested: number,
    /** Bytes in live blocks. */
    readonly live: number,
    /** Bytes of the whole memory. */
    readonly limit: number,
    room: MemoryRoom,
  ) {
    super(
      `Cannot allocate ${sizeText(requested)} of CPU memory: ${
        sizeText(live)
      } of ${
        sizeText(limit)
      } are live; release tensors, or use smaller batches`,
      { room },
    );
  }
}

/** Typed views of the whole CPU memory; index = byte address / bytes per element. */
export interface Heap {
  /** The buffer itself. */
  readonly buffer: ArrayBufferLike;
  /** As f32. */
  readonly f32: Float32Array;
  /** As f64. */
  readonly f64: Float64Array;
  /** As signed bytes. */
  readonly i8: Int8Array;
  /** As unsigned bytes. */
  readonly u8: Uint8Array;
  /** As 16-bit patterns (f16 and bf16). */
  readonly u16: Uint16Array;
  /** As i32. */
  readonly i32: Int32Array;
  /** As unsigned 32-bit integers. */
  readonly u32: Uint32Array;
  /** As i64. */
  readonly i64: BigInt64Array;
}

/** What the allocator has handed out. */
export interface MemoryStats {
  /** Bytes asked for by live blocks. */
  readonly liveBytes: number;
  /** Most bytes that were live at once. */
  readonly peakBytes: number;
  /** Bytes taken from the system: live, free and permanent. */
  readonly reservedBytes: number;
  /** Number of live blocks. */
  readonly blocks: number;
  /** Bytes that the memory can hold at most. */
  readonly limitBytes: number;
}

/** Whether the memory can be shared with workers here. */
function canShare(): boolean {
  const isolated =
    (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated;
  return typeof SharedArrayBuffer === "function" &&
    typeof Worker === "function" && isolated !== false;
}

function reserve(): {
  memory: WebAssembly.Memory;
  pages: number;
  shared: boolean;
} {
  let failure: unknown;
  for (const shared of canShare() ? [true, false] : [false]) {
    for (let pages = 65536; pages >= 256; pages /= 2) {
      try {
        const memory = new WebAssembly.Memory({
          initial: pages,
          maximum: pages,
          shared,
        });
        return { memory, pages, shared };
      } catch (error) {
        failure = error;
      }
    }
  }
  throw new Error("Cannot reserve even 16 MiB of WebAssembly memory", {
    cause: failure,
  });
}

const reserved = reserve();

/** The memory that every kernel imports as `env.memory`. */
export const memory: WebAssembly.Memory = reserved.memory;

/** Whether workers can share the memory; when not, there is only the main thread. */
export const sharedMemory: boolean = reserved.shared;

/**
 * The limits with which a kernel must import `env.memory`. They are exact: V8
 * checks every access, and reads the size again for each unless it knows that
 * the memory cannot grow.
 */
export const memoryLimits: {
  readonly min: number;
  readonly max: number;
  readonly shared: boolean;
} = { min: reserved.pages, max: reserved.pages, shared: reserved.shared };

const buffer = memory.buffer;

/** Typed views of the memory. */
export const heap: Heap = {
  buffer,
  f32: new Float32Array(buffer),
  f64: new Float64Array(buffer),
  i8: new Int8Array(buffer),
  u8: new Uint8Array(buffer),
  u16: new Uint16Array(buffer),
  i32: new Int32Array(buffer),
  u32: new Uint32Array(buffer),
  i64: new BigInt64Array(buffer),
};

// Blocks are measured in units of 64 bytes. Each starts with a header of one
// unit, so data is 64-byte aligned: word 0 is the block's units, word 1 its
// state, word 2 the bytes asked for. Blocks lie end to end from `firstUnit`
// to `endUnit`, so a walk over the headers visits all of them.
const unitBytes = 64;
const wordsPerUnit = unitBytes / 4;
const stateFree = 0x46524545;
const stateLive = 0x4c495645;
const statePermanent = 0x5045524d;

/** Bytes at the start of the memory that belong to the worker pool. */
const controlBytes = 65536;

const firstUnit = controlBytes / unitBytes;
const limitUnits = buffer.byteLength / unitBytes;
// One list of free header units per size class.
const freeLists: number[][] = Array.from({ length: 400 }, () => []);
let endUnit = firstUnit;
let freeUnits = 0;
let liveBytes = 0;
let peakBytes = 0;
let blocks = 0;
let blockCount = 0;
let releasesSinceMerge = 0;

/** The smallest class whose blocks all have at least `units` units. */
function classOf(units: number): number {
  const last = units - 1;
  if (last < 16) return last;
  const shift = 27 - Math.clz32(last);
  return (shift << 4) + (last >>> shift);
}

/** The least units of a block in a class. */
function classUnits(index: number): number {
  if (index < 16) return index + 1;
  return ((index & 15) + 17) * 2 ** ((index >>> 4) - 1);
}

/** The largest class that a block of `units` units can serve. */
function classServed(units: number): number {
  const index = classOf(units);
  return classUnits(index) > units ? index - 1 : index;
}

function setFree(unit: number, units: number): void {
  const word = unit * wordsPerUnit;
  heap.u32[word] = units;
  heap.i32[word + 1] = stateFree;
  freeLists[classServed(units)].push(unit);
}

/** Merges neighbouring free blocks, and gives the last one back to the untouched end. */
function mergeFree(): void {
  for (const list of freeLists) list.length = 0;
  releasesSinceMerge = 0;
  freeUnits = 0;
  blockCount = 0;
  let spanStart = -1;
  let unit = firstUnit;
  while (unit < endUnit) {
    const word = unit * wordsPerUnit;
    if (heap.i32[word + 1] === stateFree) {
      if (spanStart < 0) spanStart = unit;
    } else {
      blockCount++;
      if (spanStart >= 0) {
        setFree(spanStart, unit - spanStart);
        freeUnits += unit - spanStart;
        blockCount++;
      }
      spanStart = -1;
    }
    unit += heap.u32[word];
  }
  if (spanStart >= 0) endUnit = spanStart;
}

/** Takes a free block of at least `units` units and splits off what is too much; −1 when there is none. */
function takeLarger(units: number): number {
  for (let c = classOf(units); c < freeLists.length; c++) {
    const unit = freeLists[c].pop();
    if (unit === undefined) continue;
    const word = unit * wordsPerUnit;
    const spare = heap.u32[word] - units;
    if (spare > units >>> 4) {
      heap.u32[word] = units;
      setFree(unit + units, spare);
      blockCount++;
      freeUnits -= units;
    } else {
      freeUnits -= units + spare;
    }
    return unit;
  }
  return -1;
}

function takeFresh(units: number): number {
  if (endUnit + units > limitUnits) return -1;
  const unit = endUnit;
  heap.u32[unit * wordsPerUnit] = units;
  endUnit += units;
  blockCount++;
  return unit;
}

/** A block when its own free list is empty. */
function takeSlowly(units: number): number {
  // Reuse before growing once half of what was taken lies idle; a merge walks
  // over all blocks, so it must be paid for by as many releases.
  const idle = freeUnits * 2 > endUnit - firstUnit && freeUnits > 2 ** 20;
  if (idle && releasesSinceMerge > blockCount) mergeFree();
  let unit = idle ? takeLarger(units) : -1;
  if (unit < 0) unit = takeFresh(units);
  if (unit < 0) unit = takeLarger(units);
  if (unit < 0) {
    mergeFree();
    unit = takeLarger(units);
    if (unit < 0) unit = takeFresh(units);
  }
  return unit;
}

/** The error for a request that no block is large enough for. */
function noneLeft(bytes: number): CpuMemoryError {
  const limit = buffer.byteLength;
  const freeBytes = (freeUnits + limitUnits - endUnit) * unitBytes;
  return new CpuMemoryError(bytes, liveBytes, limit, {
    freeBytes,
    others: {
      "are the ends of blocks and what kernels need": limit -
        liveBytes - freeBytes,
    },
  });
}

function take(bytes: number, state: number): number {
  const exact = Math.ceil(bytes / unitBytes) + 1;
  if (!(bytes >= 0 && exact <= limitUnits)) {
    throw noneLeft(bytes);
  }
  const index = classOf(exact);
  let unit = freeLists[index].pop();
  if (unit === undefined) {
    unit = takeSlowly(classUnits(index));
    if (unit < 0) throw noneLeft(bytes);
  } else {
    freeUnits -= heap.u32[unit * wordsPerUnit];
  }
  const word = unit * wordsPerUnit;
  heap.i32[word + 1] = state;
  heap.u32[word + 2] = bytes;
  return unit;
}

/**
 * Takes a block of at least `bytes` bytes, aligned to 64, and returns its
 * address. Its contents are whatever was there before.
 *
 * @throws {CpuMemoryError} when no block is large enough.
 */
export function allocate(bytes: number): number {
  const unit = take(bytes, stateLive);
  liveBytes += bytes;
  if (liveBytes > peakBytes) peakBytes = liveBytes;
  blocks++;
  return (unit + 1) * unitBytes;
}

/**
 * Gives a block back.
 *
 * @throws {Error} when no live block starts at the address.
 */
export function release(address: number): void {
  const unit = address / unitBytes - 1;
  const word = unit * wordsPerUnit;
  if (heap.i32[word + 1] !== stateLive) {
    throw new Error(
      `Cannot release address ${address}: no live block starts there (it may have been released before)`,
    );
  }
  liveBytes -= heap.u32[word + 2];
  blocks--;
  releasesSinceMerge++;
  const units = heap.u32[word];
  heap.i32[word + 1] = stateFree;
  freeUnits += units;
  freeLists[classServed(units)].push(unit);
}

/**
 * Takes a block that is never given back, and is not counted as live:
 * compiled kernels, tables.
 *
 * @throws {CpuMemoryError} when no block is large enough.
 */
export function allocatePermanent(bytes: number): number {
  return (take(bytes, statePermanent) + 1) * unitBytes;
}

/**
 * Turns a permanent block back into a free one, for scratch space that has to grow.
 *
 * @throws {Error} when no permanent block starts at the address.
 */
export function releasePermanent(address: number): void {
  const unit = address / unitBytes - 1;
  const word = unit * wordsPerUnit;
  if (heap.i32[word + 1] !== statePermanent) {
    throw new Error(
      `Cannot release address ${address}: no permanent block starts there`,
    );
  }
  freeUnits += heap.u32[word];
  releasesSinceMerge++;
  setFree(unit, heap.u32[word]);
}

/** What is live, what was, and what the memory can hold. */
export function memoryStats(): MemoryStats {
  return {
    liveBytes,
    peakBytes,
    reservedBytes: (endUnit - firstUnit) * unitBytes,
    blocks,
    limitBytes: buffer.byteLength,
  };
}

function sizeText(bytes: number): string {
  if (bytes < 2 ** 10) return `${bytes} bytes`;
  const [unit, name] = bytes < 2 ** 20
    ? [2 ** 10, "KiB"]
    : bytes < 2 ** 30
    ? [2 ** 20, "MiB"]
    : [2 ** 30, "GiB"];
  return `${(bytes / unit).toFixed(1)} ${name}`;
}
