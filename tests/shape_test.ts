/** Views, slices, joining and padding: what the operators' samples do not show. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromHost, gradients, scope, type Tensor } from "../mod.ts";
import { IndexError, ShapeError } from "../core/errors.ts";
import { mul } from "../ops/arithmetic.ts";
import { sum } from "../ops/foundation.ts";
import { concat, split, stack, unbind } from "../ops/joining.ts";
import { flip, meshgrid, repeat, roll } from "../ops/repeating.ts";
import { diagEmbed, diagonal, tril, windows } from "../ops/diagonals.ts";
import { pad, padSequence } from "../ops/pad.ts";
import { channelShuffle, pixelShuffle } from "../ops/blocks.ts";
import { movedim, permute, transpose, unflatten } from "../ops/shape.ts";
import {
  narrow,
  select,
  slice,
  type SlicePart,
  unslice,
} from "../ops/slicing.ts";
import { liveBytes } from "./live_bytes.ts";

/** 0, 1, 2, … in a shape. */
function count(shape: readonly number[], requiresGrad = false): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: size }, (_, i) => i);
  return fromHost(data, "f32", shape, { requiresGrad });
}

Deno.test("parts that lie side by side are joined without a copy", () => {
  scope(() => {
    const x = count([2, 6, 3]);
    const shares = (joined: Tensor) => joined.value.storage === x.value.storage;
    for (const axis of [0, 1, 2]) {
      const pieces = split(x, 1, axis), slices = unbind(x, axis);
      const together = concat(pieces, axis), apart = stack(slices, axis);
      assert(shares(together) && shares(apart));
      for (const joined of [together, apart]) {
        assertEquals(joined.shape, x.shape);
        assertEquals(joined.data(), x.data());
      }
      const swapped = concat([...pieces].reverse(), axis);
      assert(!shares(swapped));
      assertEquals(swapped.data(), flip(x, [axis]).data());
    }
    // Every second piece, of equal and of different extents.
    const [a, , c, , e] = split(x, 1, 1);
    const spread = concat([a, c, e], 1);
    assert(shares(spread));
    assertEquals(spread.data(), slice(x, [null, [0, 6, 2]]).data());
    const [, b2] = split(x, [1, 2, 3], 1);
    const uneven = concat([a, b2], 1);
    assert(shares(uneven));
    assertEquals(uneven.data(), narrow(x, 1, 0, 3).data());
    const gap = concat([b2, e], 1);
    assert(!shares(gap));
    assertEquals([...gap.data() as Float32Array].slice(0, 9), [
      3,
      4,
      5,
      6,
      7,
      8,
      12,
      13,
      14,
    ]);
  });
});

Deno.test("views share the memory of their source", () => {
  scope(() => {
    const x = count([4, 6]);
    const bytes = liveBytes();
    const views = [
      permute(x, [1, 0]),
      transpose(x),
      movedim(x, 0, 1),
      slice(x, [[1, 3], [null, null, 2]]),
      narrow(x, 1, 2, 3),
      select(x, 0, -1),
      diagonal(x, { offset: 1 }),
      windows(x, 1, 3),
      unflatten(x, 1, [2, 3]),
      ...split(x, [1, 3]),
      ...unbind(x, 1),
    ];
    for (const view of views) {
      assert(view.value.storage === x.value.storage);
    }
    assertEquals(liveBytes(), bytes);
  });
});

Deno.test("a range takes what Array.prototype.slice takes", () => {
  scope(() => {
    const host = [0, 1, 2, 3, 4];
    const x = count([5]);
    const ends = [null, -7, -5, -2, 0, 1, 4, 5, 9];
    for (const start of ends) {
      for (const stop of ends) {
        for (const step of [1, 2, 3, 7]) {
          const expected = host.slice(start ?? 0, stop ?? 5)
            .filter((_, i) => i % step === 0);
          assertEquals(slice(x, [[start, stop, step]]).toArray(), expected);
        }
      }
    }
  });
});

Deno.test("views of views read the right elements", () => {
  scope(() => {
    const x = count([2, 3, 4]);
    const at = (i: number, j: number, k: number) => 12 * i + 4 * j + k;
    const y = slice(permute(flip(x, 1), [2, 0, 1]), [[1, null, 2], 1]);
    const expected = [1, 3].map((k) => [0, 1, 2].map((j) => at(1, 2 - j, k)));
    assertEquals(y.toArray(), expected);
    assertEquals(
      mul(y, 2).toArray(),
      expected.map((row) => row.map((v) => 2 * v)),
    );
    assertEquals(
      sum(y, 0).toArray(),
      [0, 1, 2].map((j) => expected[0][j] + expected[1][j]),
    );
  });
});

Deno.test("slices of every combination of parts, against nested loops", () => {
  scope(() => {
    const x = count([3, 4]);
    const rows = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]];
    const cases: [SlicePart[], unknown][] = [
      [[], rows],
      [["..."], rows],
      [[-1], rows[2]],
      [["...", 1], [1, 5, 9]],
      [[1, -2], 6],
      [[[1], [0, 2]], [[4, 5], [8, 9]]],
      [[null, [3, 1]], [[], [], []]],
    ];
    for (const [parts, expected] of cases) {
      assertEquals(slice(x, parts).toArray(), expected as never);
    }
  });
});

Deno.test("second derivatives pass through slices, splits and joins", () => {
  scope(() => {
    const x = count([2, 4], true);
    const [left, right] = split(x, 2, 1);
    const y = concat([mul(right, left), flip(mul(left, left), 1)], 0);
    const cube = sum(mul(mul(y, y), 1));
    const [first] = gradients(cube, [x], { createGraph: true });
    const [second] = gradients(sum(first!), [x]);
    // Σ (l·r)² + l⁴: gradients 2lr² + 4l³ and 2l²r; summed and derived again below.
    const l = [0, 1, 4, 5], r = [2, 3, 6, 7];
    const dl = l.map((a, i) => 2 * a * r[i] ** 2 + 4 * a ** 3);
    const dr = l.map((a, i) => 2 * a * a * r[i]);
    const ddl = l.map((a, i) => 2 * r[i] ** 2 + 12 * a * a + 4 * a * r[i]);
    const ddr = l.map((a, i) => 4 * a * r[i] + 2 * a * a);
    const woven = (a: number[], b: number[]) => [
      [a[0], a[1], b[0], b[1]],
      [a[2], a[3], b[2], b[3]],
    ];
    assertEquals(first!.toArray(), woven(dl, dr));
    assertEquals(second!.toArray(), woven(ddl, ddr));
  });
});

Deno.test("a piece that nothing used gets no gradient", () => {
  scope(() => {
    const x = count([5], true);
    const pieces = split(x, 2);
    const [grad] = gradients(sum(mul(pieces[1], 3)), [x]);
    assertEquals(grad!.toArray(), [0, 0, 3, 3, 0]);
    const rows = unbind(count([2, 2], true), 0);
    assertEquals(rows.length, 2);
  });
});

Deno.test("overlapping windows add up their gradients", () => {
  scope(() => {
    const x = count([6], true);
    const [grad] = gradients(sum(windows(x, 0, 3, 1)), [x]);
    assertEquals(grad!.toArray(), [1, 2, 3, 3, 2, 1]);
  });
});

Deno.test("padding of all axes at once is NumPy's", () => {
  scope(() => {
    const x = fromHost(new Float32Array([1, 2, 3, 4, 5, 6]), "f32", [2, 3]);
    // numpy.pad(x, ((1, 1), (2, 2)), "reflect").
    assertEquals(pad(x, [2, 2, 1, 1], { mode: "reflect" }).toArray(), [
      [6, 5, 4, 5, 6, 5, 4],
      [3, 2, 1, 2, 3, 2, 1],
      [6, 5, 4, 5, 6, 5, 4],
      [3, 2, 1, 2, 3, 2, 1],
    ]);
    // numpy.pad(x, ((2, 1), (1, 2)), "edge")
    assertEquals(pad(x, [1, 2, 2, 1], { mode: "replicate" }).toArray(), [
      [1, 1, 2, 3, 3, 3],
      [1, 1, 2, 3, 3, 3],
      [1, 1, 2, 3, 3, 3],
      [4, 4, 5, 6, 6, 6],
      [4, 4, 5, 6, 6, 6],
    ]);
    // numpy.pad(x, ((1, 2), (2, 1)), "wrap")
    assertEquals(pad(x, [2, 1, 1, 2], { mode: "circular" }).toArray(), [
      [5, 6, 4, 5, 6, 4],
      [2, 3, 1, 2, 3, 1],
      [5, 6, 4, 5, 6, 4],
      [2, 3, 1, 2, 3, 1],
      [5, 6, 4, 5, 6, 4],
    ]);
  });
});

Deno.test("joining computes pending operands into their places", () => {
  scope(() => {
    const x = count([2, 2]);
    const y = stack([mul(x, 2), mul(x, -1)], -1);
    assertEquals(y.toArray(), [[[0, 0], [2, -1]], [[4, -2], [6, -3]]]);
    const whole = roll(concat([x, mul(x, 10)], 1), [1, 1], [0, 1]);
    assertEquals(whole.toArray(), [[30, 2, 3, 20], [10, 0, 1, 0]]);
  });
});

Deno.test("large transposes and joins are exact", () => {
  scope(() => {
    const n = 321, m = 257;
    const x = count([n, m]);
    const y = concat([transpose(x), transpose(flip(x, 0))], 0).data();
    let wrong = 0;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        if (y[i * n + j] !== j * m + i) wrong++;
        if (y[(m + i) * n + j] !== (n - 1 - j) * m + i) wrong++;
      }
    }
    assertEquals(wrong, 0);
  });
});

Deno.test("shape errors say what, with which values, and what would work", () => {
  scope(() => {
    const x = count([2, 3]);
    const cases: [() => unknown, new () => Error, string][] = [
      [() => permute(x, [0, 0]), IndexError, "[0, 0]"],
      [() => permute(x, [0, 2]), IndexError, "axis 2"],
      [() => transpose(x, 0, 5), IndexError, "axis 5"],
      [() => movedim(x, [0, 1], 0), IndexError, "[0, 1] to [0]"],
      [
        () => slice(x, [0, 0, 0]),
        IndexError,
        "[2, 3] with 3 parts",
      ],
      [() => slice(x, [[0, 2, -1]]), IndexError, "flip()"],
      [() => slice(x, [null, 3]), IndexError, "position 3 of axis 1"],
      [() => select(x, 0, -3), IndexError, "from -2 to 1"],
      [() => narrow(x, 1, 2, 2), IndexError, "2 positions from 2"],
      [() => unslice(x, [4, 4], [[0, 3]]), ShapeError, "[3, 4]"],
      [() => concat([x, count([2, 4])]), ShapeError, "[2, 3], [2, 4]"],
      [() => concat([]), ShapeError, "at least one"],
      [() => stack([x, count([3, 2])]), ShapeError, "[2, 3], [3, 2]"],
      [() => split(x, [1, 1], 1), ShapeError, "add up to 2"],
      [() => split(x, 0), ShapeError, "pieces of 0"],
      [() => repeat(x, [2]), ShapeError, "tile()"],
      [() => roll(x, [1, 2], [0]), IndexError, "one integer for each axis"],
      [() => pad(x, [1]), ShapeError, "two integers per axis"],
      [() => pad(x, [-2, -2]), ShapeError, "fewer than no positions"],
      [() => pad(x, [3, 0], { mode: "reflect" }), ShapeError, "at most 2"],
      [() => pad(x, [0, 4], { mode: "circular" }), ShapeError, "at most 3"],
      [() => pad(x, [1, 1], { mode: "edge" as never }), TypeError, "edge"],
      [() => windows(x, 0, 3), ShapeError, "at most 2"],
      [() => diagonal(x, { axis1: 1, axis2: -1 }), IndexError, "two different"],
      [() => diagEmbed(count([])), IndexError, "no axes"],
      [() => tril(count([3])), IndexError, "axis -2"],
      [() => pixelShuffle(count([1, 6, 2, 2]), 2), ShapeError, "by 4"],
      [() => channelShuffle(count([1, 6, 2]), 4), ShapeError, "by 4"],
      [() => meshgrid([x]), ShapeError, "[2, 3]"],
      [() => padSequence([count([])]), ShapeError, "time axis"],
    ];
    for (const [call, type, text] of cases) assertThrows(call, type, text);
  });
});
