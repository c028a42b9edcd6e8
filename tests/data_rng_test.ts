import { assert, assertEquals, assertThrows } from "@std/assert";
import { permutation, Philox, philox4x32, type Words4 } from "../data/rng.ts";

Deno.test("philox: the known answers of Random123", () => {
  // From kat_vectors of the authors' library, philox4x32 with 10 rounds.
  const answers: [Words4, [number, number], Words4][] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, words] of answers) {
    assertEquals(philox4x32(counter, key), words);
  }
});

Deno.test("philox: a stream walks its counter, and streams differ", () => {
  const random = new Philox(2 ** 40 + 5, 3, 4);
  const drawn = Array.from({ length: 8 }, () => random.next32());
  assertEquals(drawn, [
    ...philox4x32([0, 0, 3, 4], [5, 256]),
    ...philox4x32([1, 0, 3, 4], [5, 256]),
  ]);
  const firsts = [[1], [2], [1, 1], [1, 0, 1]].map(
    ([seed, ...streams]) => new Philox(seed, ...streams).next32(),
  );
  assertEquals(new Set(firsts).size, firsts.length);
});

Deno.test("philox: numbers below a count are uniform and in range", () => {
  const random = new Philox(1);
  const counts = new Array(7).fill(0);
  for (let i = 0; i < 70_000; i++) counts[random.below(7)]++;
  const chi2 = counts.reduce((sum, n) => sum + (n - 10_000) ** 2 / 10_000, 0);
  // The 99.9 % quantile of the chi-squared distribution with 6 degrees.
  assert(chi2 < 22.46, `chi-squared is ${chi2}`);
  assertEquals(random.below(1), 0);
  const uniform = Array.from({ length: 1000 }, () => random.uniform());
  assert(uniform.every((value) => value >= 0 && value < 1));
});

Deno.test("permutation: each index once, by seed and stream only", () => {
  for (const length of [0, 1, 2, 10, 1000]) {
    const order = permutation(length, 5, 2);
    assertEquals(order.toSorted(), Uint32Array.from({ length }, (_, i) => i));
    assertEquals(permutation(length, 5, 2), order);
  }
  const orders = [[5, 2], [5, 3], [6, 2]].map(
    ([seed, stream]) => permutation(50, seed, stream).join(),
  );
  assertEquals(new Set(orders).size, 3);
  // All six orders of three are equally likely.
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 6000; seed++) {
    const key = permutation(3, seed).join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const chi2 = [...counts.values()].reduce(
    (sum, n) => sum + (n - 1000) ** 2 / 1000,
    0,
  );
  assertEquals(counts.size, 6);
  // The 99.9 % quantile with 5 degrees.
  assert(chi2 < 20.52, `chi-squared is ${chi2}`);
});

Deno.test("philox: seeds and counts out of range are refused", () => {
  const cases: [() => unknown, string][] = [
    [() => new Philox(-1), "and -1 is not"],
    [() => new Philox(1.5), "and 1.5 is not"],
    [() => new Philox(1, 2 ** 32), "and 4294967296 is not"],
    [() => new Philox(1).below(0), "not below 0"],
  ];
  for (const [run, sentence] of cases) {
    assertThrows(run, RangeError, sentence);
  }
});
