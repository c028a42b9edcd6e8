/** Process groups whose ranks share the CPU: values, what is refused, memory. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import "../mod.ts";
import type { Communicator, Flight } from "../core/collectives.ts";
import { getDevice } from "../core/device.ts";
import { DTypeError, IndexError, ShapeError } from "../core/errors.ts";
import { memory } from "../core/memory.ts";
import { noGrad } from "../core/autograd.ts";
import { Scope, scope } from "../core/scope.ts";
import { LocalCommunicator } from "../dist/local.ts";
import * as dist from "../dist/mod.ts";
import { contiguous, fromHost, ones, tensor } from "../mod.ts";
import { checkGroup } from "./dist_cases.ts";

for (const world of [1, 2, 3, 8, 11]) {
  Deno.test(`every collective of ${world} ranks on one device is that of plain loops`, () => {
    checkGroup(new Array(world).fill("cpu"));
  });
}

Deno.test("collectives keep shapes, take views and pending values, and empty tensors", () => {
  using group = dist.processGroup(["cpu", "cpu"]);
  scope(() => {
    const x = tensor([[1, 2, 3], [4, 5, 6]]);
    const pair = [x.transpose(0, 1), tensor([[1, 0], [0, 1], [0, 0]]).mul(2)];
    const [sum] = group.allReduce(pair).wait();
    assertEquals(sum.toArray(), [[3, 4], [2, 7], [3, 6]]);
    const [all] = group.allGather([x, x.add(1)]).wait();
    assertEquals(all.toArray(), [[1, 2, 3], [4, 5, 6], [2, 3, 4], [5, 6, 7]]);
    const [scalars] = group.allGather([tensor(1), tensor(2)]).wait();
    assertEquals(scalars.toArray(), [1, 2]);
    const [part] = group.reduceScatter([x, x]).wait();
    assertEquals(part.toArray(), [[2, 4, 6]]);
    const [none] = group.allReduce([ones([0, 3]), ones([0, 3])]).wait();
    assertEquals(none.shape, [0, 3]);
  });
});

Deno.test("in place, bytes that somebody else sees stay", () => {
  using group = dist.processGroup(["cpu", "cpu"]);
  scope(() => {
    const xs = [tensor([1, 2]), tensor([3, 4])];
    const view = xs[0].reshape([2, 1]);
    const pending = xs[0].mul(10);
    group.allReduce(xs, { inPlace: true }).wait();
    assertEquals(xs.map((x) => x.toArray()), [[4, 6], [4, 6]]);
    assertEquals(view.toArray(), [[1], [2]]);
    assertEquals(pending.toArray(), [10, 20]);
  });
});

Deno.test("half-precision sums are rounded once", () => {
  const world = 12;
  using group = dist.processGroup(new Array(world).fill("cpu"));
  scope(() => {
    const xs = Array.from(
      { length: world },
      (_, rank) => tensor([rank === 0 ? 2048 : 1], { dtype: "f16" }),
    );
    // Added one by one in f16, 2048 + 1 is 2048 again and again.
    const [sum] = group.allReduce(xs).wait();
    assertEquals(sum.toArray(), [2060]);
  });
});

Deno.test("what does not fit is refused by name", () => {
  using group = dist.processGroup(["cpu", "cpu"]);
  scope(() => {
    const x = ones([3]);
    const i = tensor([1, 2], { dtype: "i32" });
    const refused: [() => unknown, new (m: string) => Error, string][] = [
      [() => group.allReduce(x), TypeError, "1 tensors"],
      [() => group.allReduce([x, ones([4])]), ShapeError, "rank 1 f32 [4]"],
      [() => group.allReduce([i, i], { op: "avg" }), DTypeError, "i32"],
      [
        () => group.allReduce([x, x], { op: "mean" as "avg" }),
        TypeError,
        "sum, prod",
      ],
      [() => group.broadcast([x, x], { root: 2 }), IndexError, "0 to 1"],
      [() => group.reduceScatter([x, x]), ShapeError, "[3] among 2"],
      [() => group.allToAll([tensor(1), tensor(1)]), ShapeError, "[]"],
      [() => group.send(x, { to: 1 }), TypeError, "without { rank }"],
      [() => group.send(x, { to: 1, rank: 0 }), TypeError, "not receive"],
      [() => group.recv([3], { from: 1, rank: 0 }), TypeError, "not send"],
      [() => group.recv([3], { from: 1, rank: 5 }), IndexError, "rank 5"],
    ];
    for (const [call, type, text] of refused) assertThrows(call, type, text);
    group.grouped(() => {
      const work = group.allReduce([x, x]);
      assertThrows(() => work.wait(), TypeError, "inside of the grouped()");
    });
  });
  assertThrows(() => dist.processGroup([]), RangeError, "no devices");
  assertThrows(() => dist.processGroup(["cpu", "tpu"]), RangeError, `"tpu"`);
  assertThrows(
    () => dist.processGroup(["cpu"], { timeout: 0 }),
    RangeError,
    "0 ms",
  );
});

Deno.test("calls that are refused leave nothing behind", () => {
  using group = dist.processGroup(["cpu", "cpu"]);
  const x = ones([3]).materialize();
  const before = memory();
  for (const inPlace of [true, false]) {
    using _own = new Scope();
    assertThrows(() => group.send(x, { to: 1, rank: 0 }), TypeError);
    assertThrows(() => group.recv([3], { from: 1, rank: 0 }), TypeError);
    assertThrows(() =>
      group.grouped(() => {
        group.allReduce([x, x], { inPlace });
        throw new Error("no");
      })
    );
  }
  assertEquals(memory().tensors, before.tensors);
  assertEquals(memory().devices.cpu.blocks, before.devices.cpu.blocks);
  assertEquals(x.toArray(), [1, 1, 1]);
  x.dispose();
});

Deno.test("a closed group and an aborted one start nothing", () => {
  const x = ones([1]);
  const closed = dist.processGroup(["cpu"]);
  closed[Symbol.dispose]();
  closed[Symbol.dispose]();
  assertThrows(() => closed.allReduce(x), dist.CollectiveError, "closed");
  using aborted = dist.processGroup(["cpu"]);
  aborted.abort();
  assertThrows(() => aborted.allReduce(x), dist.CollectiveError, "aborted");
  x.dispose();
});

/** A communicator whose calls end when they are told to. */
class Slow extends LocalCommunicator {
  ended = true;
  joins = 0;
  aborted = false;
  problem: Error | undefined;

  override start(): Flight {
    return {
      join: () => void this.joins++,
      done: () => this.ended,
      release() {},
    };
  }

  override failure(): undefined {
    return this.problem as undefined;
  }

  override abort(): void {
    this.aborted = true;
  }
}

function slowGroup(timeout: number) {
  const device = getDevice("cpu");
  const slow: Slow & Communicator = new Slow(device, 1);
  const group = new dist.ProcessGroup(slow, [device], { timeout });
  return { slow, group };
}

Deno.test("a collective that does not end is named, and ends the group", async () => {
  const x = ones([5]);
  for (const sync of [true, false]) {
    const { slow, group } = slowGroup(30);
    slow.ended = false;
    const work = group.allReduce(x);
    assert(!work.done);
    const text = "allReduce of f32 [5] among 1 ranks: it did not end within 30";
    if (sync) {
      assertThrows(() => work.finishSync(), dist.CollectiveError, text);
    } else {
      await assertRejects(() => work.finish(), dist.CollectiveError, text);
    }
    assert(slow.aborted);
    assertThrows(() => group.allReduce(x), dist.CollectiveError, text);
    work.wait()[0].dispose();
  }
  x.dispose();
});

Deno.test("a peer that is gone is noticed while waiting, and before the next call", async () => {
  const x = ones([5]);
  const { slow, group } = slowGroup(10_000);
  slow.ended = false;
  const work = group.broadcast(x);
  setTimeout(() => slow.problem = new Error("rank 3 is gone"), 10);
  await assertRejects(
    () => work.finish(),
    dist.CollectiveError,
    "broadcast of f32 [5] among 1 ranks: rank 3 is gone",
  );
  const { slow: other, group: next } = slowGroup(10_000);
  other.problem = new Error("rank 2 is gone");
  assertThrows(() => next.allReduce(x), dist.CollectiveError, "rank 2 is gone");
  work.wait()[0].dispose();
  x.dispose();
});

Deno.test("operands live until later work waits for the collective", () => {
  const { slow, group } = slowGroup(1000);
  const before = memory().devices.cpu.blocks;
  const work = noGrad(() =>
    scope(() => ({ work: group.allReduce(ones([64])) })).work
  );
  assertEquals(memory().devices.cpu.blocks, before + 2);
  assertEquals(slow.joins, 0);
  const results = work.wait();
  assertEquals(slow.joins, 1);
  work.wait();
  assertEquals(slow.joins, 1, "one wait is enough");
  for (const result of results) if (!result.disposed) result.dispose();
  assertEquals(memory().devices.cpu.blocks, before);
});

Deno.test("images whose channels lie last stay so, where all ranks have them", () => {
  using group = dist.processGroup(["cpu", "cpu"]);
  scope(() => {
    const images = (first: number) =>
      Float32Array.from({ length: 24 }, (_, i) => first + i);
    const make = (first: number, last: boolean) => {
      const x = fromHost(images(first), "f32", [1, 2, 3, 4]);
      return last ? contiguous(x, { memoryFormat: "channelsLast" }) : x;
    };
    const wanted = images(0).map((v, i) => v + images(100)[i]);
    for (const [a, b] of [[true, true], [true, false], [false, true]]) {
      for (const inPlace of [true, false]) {
        const xs = [make(0, a), make(100, b)];
        const sums = group.allReduce(xs, { inPlace }).wait();
        for (const sum of sums) assertEquals(sum.data(), wanted);
        assertEquals(sums.every((s) => s.value.channelsLast), a && b);
        const [copy] = group.broadcast(xs, { root: 1, inPlace }).wait();
        assertEquals(copy.data(), inPlace ? wanted : images(100));
        const [all] = group.allGather(xs).wait();
        assertEquals(all.shape, [2, 2, 3, 4]);
        assertEquals(all.data().slice(0, 24), xs[0].data());
      }
    }
  });
});
