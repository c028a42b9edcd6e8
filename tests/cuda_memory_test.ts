/** The cache of device memory, on a source that counts. */

import { assert, assertEquals } from "@std/assert";
import {
  BlockCache,
  roundedBytes,
  segmentBytes,
  smallBytes,
} from "../devices/cuda/memory.ts";

const MiB = 1 << 20;

/** Memory of a made-up device: addresses that never overlap, a limit, and a list of calls. */
class Source {
  readonly blocks = new Map<bigint, number>();
  calls = 0;
  #next = 0x7f00_0000_0000n;

  constructor(public limit: number = Infinity) {}

  get bytes(): number {
    return [...this.blocks.values()].reduce((sum, n) => sum + n, 0);
  }

  reserve(bytes: number): bigint | undefined {
    this.calls++;
    if (this.bytes + bytes > this.limit) return undefined;
    const pointer = this.#next;
    this.#next += BigInt(bytes) + 4096n;
    this.blocks.set(pointer, bytes);
    return pointer;
  }

  release(pointer: bigint): void {
    this.calls++;
    assert(this.blocks.delete(pointer), `released twice: ${pointer}`);
  }
}

/** Whether [pointer, pointer + bytes) lies in one block of the source. */
function inside(source: Source, pointer: bigint, bytes: number): boolean {
  return [...source.blocks].some(([start, size]) =>
    start <= pointer && pointer + BigInt(bytes) <= start + BigInt(size)
  );
}

function cacheOf(source: Source, work = { count: 0 }, exact = false) {
  return new BlockCache(source, () => work.count, exact);
}

Deno.test("sizes: at least what was asked, aligned, at most a quarter more, stable", () => {
  for (let bytes = 0; bytes < 40 * MiB; bytes += 1 + (bytes >> 7)) {
    const size = roundedBytes(bytes);
    const most = bytes > smallBytes ? bytes * (1 + 1 / 16) : bytes * 1.25 + 256;
    assert(size >= bytes && size <= most, `${bytes} → ${size}`);
    assertEquals(size % 256, 0);
    assertEquals(roundedBytes(size), size);
  }
});

Deno.test("what was freed is taken again without a call", () => {
  const source = new Source();
  const cache = cacheOf(source);
  for (const bytes of [0, 1, 1000, MiB, 3 * MiB, 100 * MiB]) {
    const { pointer } = cache.take(bytes)!;
    cache.give(pointer, bytes);
    const before = source.calls;
    assertEquals(cache.take(bytes)!.pointer, pointer);
    assertEquals(source.calls, before);
  }
});

Deno.test("small blocks share segments and do not overlap", () => {
  const source = new Source();
  const cache = cacheOf(source);
  const taken: [bigint, number][] = [];
  for (let i = 0; i < 4000; i++) {
    const bytes = (i * 7919) % 9000;
    const { pointer } = cache.take(bytes)!;
    assert(inside(source, pointer, bytes));
    taken.push([pointer, bytes]);
  }
  taken.sort(([a], [b]) => a < b ? -1 : 1);
  for (let i = 1; i < taken.length; i++) {
    assert(taken[i - 1][0] + BigInt(taken[i - 1][1]) <= taken[i][0]);
  }
  const total = taken.reduce((sum, [, bytes]) => sum + bytes, 0);
  assert(source.calls <= Math.ceil(1.3 * total / segmentBytes) + 1);
});

Deno.test("takes and gives at random: no overlap, nothing lost", () => {
  const source = new Source();
  const cache = cacheOf(source);
  const live = new Map<bigint, number>();
  let seed = 12345;
  const random = () =>
    (seed = seed * 1103515245 + 12345 & 0x7fffffff) / 2 ** 31;
  for (let i = 0; i < 5000; i++) {
    if (random() < 0.55) {
      const bytes = Math.floor(2 ** (22 * random()));
      const { pointer } = cache.take(bytes)!;
      assert(inside(source, pointer, bytes));
      for (const [other, size] of live) {
        assert(
          pointer + BigInt(bytes) <= other || other + BigInt(size) <= pointer,
        );
      }
      live.set(pointer, Math.max(1, bytes));
    } else if (live.size > 0) {
      const [pointer, bytes] = [...live][Math.floor(random() * live.size)];
      live.delete(pointer);
      cache.give(pointer, bytes);
    }
    if (i % 1000 === 999) cache.trim();
  }
  for (const [pointer, bytes] of live) cache.give(pointer, bytes);
  cache.trim();
  assertEquals(source.blocks.size, 0);
  assertEquals(cache.reservedBytes, 0);
});

Deno.test("trim keeps segments of which something is in use", () => {
  const source = new Source();
  const cache = cacheOf(source);
  const kept = cache.take(1000)!.pointer;
  const other = cache.take(5000)!.pointer;
  cache.give(other, 5000);
  cache.trim();
  assertEquals(source.blocks.size, 1);
  assertEquals(cache.take(5000)!.pointer, other);
  cache.give(other, 5000);
  cache.give(kept, 1000);
  cache.trim();
  assertEquals(source.blocks.size, 0);
  assert(cache.take(1000) !== undefined);
});

Deno.test("idle large blocks do not pile up beside what is asked for", () => {
  const source = new Source();
  const cache = cacheOf(source);
  for (let i = 1; i <= 100; i++) {
    const bytes = i * 10 * MiB;
    const { pointer } = cache.take(bytes)!;
    cache.give(pointer, bytes);
  }
  // The largest request, and what may stay idle beside it.
  assert(
    source.bytes <= (1000 + 1000 + 256) * MiB,
    `${source.bytes / MiB} MiB`,
  );
});

Deno.test("no memory left: undefined, until something is freed and trimmed", () => {
  const source = new Source(100 * MiB);
  const cache = cacheOf(source);
  const { pointer } = cache.take(90 * MiB)!;
  assertEquals(cache.take(20 * MiB), undefined);
  cache.give(pointer, 90 * MiB);
  assertEquals(cache.take(20 * MiB), undefined);
  cache.trim();
  assert(cache.take(20 * MiB) !== undefined);
});

Deno.test("a block knows when its former owner let go", () => {
  const work = { count: 3 };
  const cache = cacheOf(new Source(), work);
  const first = cache.take(1000)!;
  assertEquals(first.idleSince, 3);
  work.count = 8;
  cache.give(first.pointer, 1000);
  work.count = 20;
  assertEquals(cache.take(1000)!.idleSince, 8);
});

Deno.test("a block for another stream: one that nothing uses any more, or one more", () => {
  const work = { count: 0 };
  const source = new Source();
  const cache = cacheOf(source, work);
  const size = 5 * MiB;
  const [a, b] = [cache.take(size)!.pointer, cache.take(size)!.pointer];
  work.count = 10;
  cache.give(a, size);
  // Work up to 5 has ended, and a may be used by later work: another one.
  const c = cache.take(size, 5)!.pointer;
  assert(c !== a && c !== b);
  work.count = 20;
  cache.give(b, size);
  // Work has ended up to the use of a: that one, though b was freed last.
  assertEquals(cache.take(size, 10)!.pointer, a);
  cache.give(a, size);
  const d = cache.take(size, 5)!.pointer;
  assert(![a, b, c].includes(d));
  // Not one more each time: the one that is ready first.
  assertEquals(cache.take(size, 5)!.pointer, b);
  // Without more memory a block that may be used is better than none.
  source.limit = 0;
  assertEquals(cache.take(size, 5)!.pointer, a);
});

Deno.test("exact: each block is one of the source's, of its very size", () => {
  const source = new Source();
  const cache = cacheOf(source, undefined, true);
  const a = cache.take(1000)!.pointer;
  const b = cache.take(0)!.pointer;
  assertEquals([...source.blocks.values()], [1000, 1]);
  cache.give(a, 1000);
  cache.give(b, 0);
  assertEquals(source.blocks.size, 0);
});

Deno.test("close returns everything, in use or not", () => {
  for (const exact of [false, true]) {
    const source = new Source();
    const cache = cacheOf(source, undefined, exact);
    cache.take(10);
    cache.take(50 * MiB);
    cache.give(cache.take(7 * MiB)!.pointer, 7 * MiB);
    cache.close();
    assertEquals(source.blocks.size, 0);
    assertEquals(cache.reservedBytes, 0);
  }
});
