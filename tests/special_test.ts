/** Special functions against mpmath at 50 digits and PyTorch's edge cases. */

import { assert, assertEquals } from "@std/assert";
import { specialFunctions } from "../kernel/special.ts";
import table from "./golden/special/special.json" with { type: "json" };

type Name = keyof typeof specialFunctions;
type Entry = readonly (number | string)[];

/** Distance from the true value in units of its last place, or of `floor`'s if that is larger. */
function ulps(actual: number, truth: number, floor: number): number {
  const size = Math.max(Math.abs(truth), floor, 2 ** -1022);
  const place = 2 ** (Math.floor(Math.log2(size)) - 52);
  return Math.abs(actual - truth) / place;
}

// Near their zeros lgamma, digamma and trigamma are only accurate absolutely:
// so floor is where the place stops shrinking.
const bounds: Record<Name, { ulp: number; floor: number }> = {
  erf: { ulp: 3, floor: 0 },
  erfc: { ulp: 5, floor: 0 },
  erfinv: { ulp: 4, floor: 0 },
  lgamma: { ulp: 3, floor: 1 },
  digamma: { ulp: 4, floor: 1 },
  trigamma: { ulp: 4, floor: 1e-200 },
};

for (const name of Object.keys(bounds) as Name[]) {
  const f = specialFunctions[name];
  const { ulp, floor } = bounds[name];

  Deno.test(`special: ${name} agrees with mpmath`, () => {
    for (const [x, y] of table[name].values as Entry[]) {
      const actual = f(Number(x));
      const error = ulps(actual, Number(y), floor);
      assert(error <= ulp, `${name}(${x}) = ${actual}, ${y} expected`);
    }
  });

  Deno.test(`special: ${name} has PyTorch's edge cases`, () => {
    for (const [x, y] of table[name].edges as Entry[]) {
      const actual = f(Number(x)), expected = Number(y);
      const same = Number.isFinite(expected) && expected !== 0
        ? ulps(actual, expected, 1) <= ulp
        : Object.is(actual, expected);
      assert(same, `${name}(${x}) = ${actual}, ${y} expected`);
    }
  });

  Deno.test(`special: ${name} can be compiled from its source alone`, () => {
    const again = new Function(`return ${f.toString()};`)() as typeof f;
    for (const [x] of table[name].values as Entry[]) {
      assertEquals(again(Number(x)), f(Number(x)));
    }
  });
}

Deno.test("special: trigamma is infinite at its poles", () => {
  for (const pole of [-1, -2, -17]) {
    assertEquals(specialFunctions.trigamma(pole), Infinity);
  }
});
