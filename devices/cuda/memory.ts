/**
 * Device memory: blocks come from a cache that the host keeps, so that an
 * allocation like one that was seen before makes no library call.
 *
 * Blocks are reused in the order of the compute stream: whoever gets one may
 * queue work there at once, though the work of the last owner is still running.
 *
 * @module
 */

/** Where a cache takes memory from. */
export interface MemorySource {
  /** Whether memory stays until the cache is closed, because work that runs again uses blocks which are idle by now. */
  readonly lasting?: boolean;
  /** Memory for work queued from now on; undefined when there is none left. */
  reserve(bytes: number): bigint | undefined;
  /** Returns memory after the work that is queued. */
  release(pointer: bigint): void;
}

/** A block that was taken. */
export interface Taken {
  /** Device address. */
  readonly pointer: bigint;
  /** How much work had been queued when the last owner let go of the block. */
  readonly idleSince: number;
}

/** Blocks up to this size are cut from segments. */
export const smallBytes = 1 << 20;
/** Bytes of a segment. */
export const segmentBytes = 2 << 20;
/** Blocks start at multiples of this. */
const alignment = 256;
/** Coarsest step of sizes. */
const largestStep = 2 << 20;
/** Idle large blocks beyond this share of those in use go back to the source. */
const idleShare = 0.5;
/** Idle large blocks up to this many bytes are always kept. */
const idleFloor = 256 << 20;

/** Blocks of one size that are added so that uploads need not wait. */
const mostSpares = 2;

/** Distance of sizes around `bytes`: 4 per power of two for small blocks, 16 for large ones. */
function stepOf(bytes: number): number {
  const last = Math.max(1, bytes - 1);
  const power = last < 2 ** 31
    ? 1 << (31 - Math.clz32(last))
    : 2 ** Math.floor(Math.log2(last));
  const step = power / (bytes > smallBytes ? 16 : 4);
  return Math.min(largestStep, Math.max(alignment, step));
}

/** Bytes that a request really takes. */
export function roundedBytes(bytes: number): number {
  const step = stepOf(bytes);
  return Math.max(alignment, Math.ceil(bytes / step) * step);
}

/** Idle blocks of one size: the last one freed is the first one taken. */
class Idle {
  readonly pointers: bigint[] = [];
  readonly since: number[] = [];
  /** Blocks that were added though there were idle ones, which work might still use. */
  spares = 0;
}

/** A piece of memory that small blocks are cut from. */
interface Segment {
  readonly start: bigint;
  /** Bytes that were cut. */
  cut: number;
}

/** Blocks of one device, or of one captured graph. */
export class BlockCache {
  readonly #source: MemorySource;
  readonly #work: () => number;
  readonly #exact: boolean;
  /** By size. */
  readonly #idle = new Map<number, Idle>();
  readonly #segments: Segment[] = [];
  /** Blocks in use that were not cut from segments. */
  readonly #large = new Map<bigint, number>();
  #idleLarge = 0;
  #usedLarge = 0;
  #reserved = 0;

  /**
   * Nothing is reserved before it is needed.
   *
   * @param source Where memory comes from.
   * @param work Tells how much work has been queued so far.
   * @param exact Whether each block is one of the source's, of the very size asked for, so that tools which check accesses see its bounds; slow.
   */
  constructor(
    source: MemorySource,
    work: () => number,
    exact: boolean = false,
  ) {
    this.#source = source;
    this.#work = work;
    this.#exact = exact;
  }

  /** Bytes taken from the source, in use or idle. */
  get reservedBytes(): number {
    return this.#reserved;
  }

  /** Bytes of them that no block in use takes. */
  get idleBytes(): number {
    let bytes = 0;
    for (const [size, { pointers }] of this.#idle) {
      bytes += size * pointers.length;
    }
    const segment = this.#segments.at(-1);
    return segment === undefined ? bytes : bytes + segmentBytes - segment.cut;
  }

  /**
   * A block of at least `bytes` bytes; undefined when there is no memory left.
   *
   * @param bytes How many.
   * @param ended For a block that another stream will write: how much work has ended. Rather than one that queued work may still use it is one that has been idle for longer, or another one.
   */
  take(bytes: number, ended?: number): Taken | undefined {
    if (this.#exact) return this.#reserve(Math.max(1, bytes));
    const size = roundedBytes(bytes);
    const idle = this.#idle.get(size);
    if (idle === undefined || idle.pointers.length === 0) {
      return size > smallBytes ? this.#takeLarge(size) : this.#cut(size);
    }
    if (ended !== undefined && this.#wantsAnother(size, idle, ended)) {
      idle.spares++;
      const another = this.#takeLarge(size);
      if (another !== undefined) return another;
    }
    // The last one that was freed may lie in caches; the first one is ready soonest.
    const pointer = ended === undefined
      ? idle.pointers.pop()!
      : idle.pointers.shift()!;
    const idleSince = ended === undefined
      ? idle.since.pop()!
      : idle.since.shift()!;
    if (size > smallBytes) {
      this.#idleLarge -= size;
      this.#use(pointer, size);
    }
    return { pointer, idleSince };
  }

  /** Whether all idle blocks of a large size may still be used: with one more they can take turns. */
  #wantsAnother(size: number, idle: Idle, ended: number): boolean {
    return size > smallBytes && idle.since[0] > ended &&
      idle.spares < mostSpares;
  }

  /** Takes a block back; it may be handed out again at once. */
  give(pointer: bigint, bytes: number): void {
    if (this.#exact) {
      this.#unuse(pointer);
      this.#release(pointer, Math.max(1, bytes));
      return;
    }
    const size = roundedBytes(bytes);
    let idle = this.#idle.get(size);
    if (idle === undefined) this.#idle.set(size, idle = new Idle());
    idle.pointers.push(pointer);
    idle.since.push(this.#work());
    if (size > smallBytes) {
      this.#unuse(pointer);
      this.#idleLarge += size;
    }
  }

  /** Returns to the source what is idle: large blocks, and segments of which nothing is in use. */
  trim(): void {
    this.#trimLarge();
    this.#trimSegments();
  }

  /** Returns everything to the source, blocks in use included. */
  close(): void {
    const blocks: [pointer: bigint, bytes: number][] = [...this.#large];
    for (const [size, { pointers }] of this.#idle) {
      if (size <= smallBytes) continue;
      for (const pointer of pointers) blocks.push([pointer, size]);
    }
    for (const { start } of this.#segments.splice(0)) {
      blocks.push([start, segmentBytes]);
    }
    this.#idle.clear();
    this.#large.clear();
    this.#usedLarge = 0;
    this.#idleLarge = 0;
    this.#releaseEach(blocks);
  }

  #use(pointer: bigint, size: number): void {
    this.#large.set(pointer, size);
    this.#usedLarge += size;
  }

  #unuse(pointer: bigint): void {
    this.#usedLarge -= this.#large.get(pointer) ?? 0;
    this.#large.delete(pointer);
  }

  #reserve(size: number): Taken | undefined {
    const pointer = this.#source.reserve(size);
    if (pointer === undefined) return undefined;
    this.#reserved += size;
    this.#use(pointer, size);
    return { pointer, idleSince: this.#work() };
  }

  #release(pointer: bigint, size: number): void {
    this.#reserved -= size;
    this.#source.release(pointer);
  }

  /** Releases blocks, also those behind one that the source refuses. */
  #releaseEach(blocks: readonly (readonly [bigint, number])[]): void {
    let refused: { error: unknown } | undefined;
    for (const [pointer, size] of blocks) {
      try {
        this.#release(pointer, size);
      } catch (error) {
        refused ??= { error };
      }
    }
    if (refused !== undefined) throw refused.error;
  }

  #takeLarge(size: number): Taken | undefined {
    // What this program no longer asks for must not pile up beside what it does.
    const most = Math.max(idleFloor, idleShare * this.#usedLarge);
    if (this.#idleLarge > most && !this.#source.lasting) this.#trimLarge();
    return this.#reserve(size);
  }

  #trimLarge(): void {
    const blocks: [pointer: bigint, bytes: number][] = [];
    for (const [size, { pointers }] of this.#idle) {
      if (size <= smallBytes) continue;
      this.#idle.delete(size);
      for (const pointer of pointers) blocks.push([pointer, size]);
    }
    this.#idleLarge = 0;
    this.#releaseEach(blocks);
  }

  #cut(size: number): Taken | undefined {
    let segment = this.#segments.at(-1);
    if (segment === undefined || segment.cut + size > segmentBytes) {
      const start = this.#source.reserve(segmentBytes);
      if (start === undefined) return undefined;
      this.#reserved += segmentBytes;
      if (segment !== undefined) this.#retire(segment);
      segment = { start, cut: 0 };
      this.#segments.push(segment);
    }
    const pointer = segment.start + BigInt(segment.cut);
    segment.cut += size;
    return { pointer, idleSince: this.#work() };
  }

  /** Makes idle blocks of what is left of a segment. */
  #retire(segment: Segment): void {
    while (segment.cut < segmentBytes) {
      const left = Math.min(segmentBytes - segment.cut, smallBytes);
      const step = stepOf(left);
      const size = Math.floor(left / step) * step;
      this.give(segment.start + BigInt(segment.cut), size);
      segment.cut += size;
    }
  }

  #trimSegments(): void {
    const idleBytes = new Map<Segment, number>();
    const sorted = this.#segments.toSorted((a, b) =>
      a.start < b.start ? -1 : 1
    );
    const segmentOf = (pointer: bigint): Segment => {
      let low = 0;
      let high = sorted.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (sorted[middle].start <= pointer) low = middle;
        else high = middle - 1;
      }
      return sorted[low];
    };
    for (const [size, { pointers }] of this.#idle) {
      if (size > smallBytes) continue;
      for (const pointer of pointers) {
        const segment = segmentOf(pointer);
        idleBytes.set(segment, (idleBytes.get(segment) ?? 0) + size);
      }
    }
    const unused = new Set(
      this.#segments.filter((s) => (idleBytes.get(s) ?? 0) === s.cut),
    );
    if (unused.size === 0) return;
    for (const [size, idle] of this.#idle) {
      if (size > smallBytes) continue;
      const keep = idle.pointers.map((p) => !unused.has(segmentOf(p)));
      const pointers = idle.pointers.filter((_, i) => keep[i]);
      const since = idle.since.filter((_, i) => keep[i]);
      idle.pointers.splice(0, Infinity, ...pointers);
      idle.since.splice(0, Infinity, ...since);
    }
    for (const segment of unused) {
      this.#segments.splice(this.#segments.indexOf(segment), 1);
    }
    this.#releaseEach([...unused].map(({ start }) => [start, segmentBytes]));
  }
}
