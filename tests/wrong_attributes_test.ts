/** Every operator answers wrong options with a sentence of its own, never with an error from inside. */

import { assert, assertThrows } from "@std/assert";
import { elu, matmul, ones, operators, scope, sum, Tensor } from "../mod.ts";
import type { OpInfo } from "../core/op.ts";
import { argumentsOf } from "./golden/samples.ts";

/** Values of wrong types; none of them is right for any attribute. */
const wrongTypes: readonly unknown[] = [
  null,
  "oops",
  2n,
  () => 1,
  ["a"],
  [undefined],
  [[[1]]],
  Symbol("s"),
];

/** Numbers and lists that some attributes take and others do not. */
const odd: readonly unknown[] = [
  NaN,
  -1,
  -100,
  0,
  0.5,
  7,
  Infinity,
  true,
  {},
  [],
  [0.5],
  [NaN],
  [-7],
  [7, 7, 7],
];

/** How the engine words errors that nobody foresaw. */
const raw =
  /^(Cannot (read properties|convert|destructure|mix|set prop|assign|use 'in'|access)|Method |Invalid |Maximum call|.*( is not (a function|iterable|an object|defined|a constructor)|to a BigInt|not iterable))/;

interface Attempt {
  readonly what: string;
  readonly args: readonly unknown[];
  readonly wrong: unknown;
  /** The attribute, where the attempt sets one by its name. */
  readonly name?: string;
}

function show(x: unknown): string {
  return typeof x === "bigint" || typeof x === "symbol" ||
      typeof x === "function"
    ? String(x)
    : `${JSON.stringify(x) ?? x}`;
}

/** The sample's arguments with each that is no tensor, and each option, replaced by a wrong value. */
function* attempts(info: OpInfo, args: readonly unknown[]): Generator<Attempt> {
  const isOptions = (x: unknown) =>
    typeof x === "object" && x !== null &&
    Object.getPrototypeOf(x) === Object.prototype;
  for (let i = 0; i <= args.length; i++) {
    const given = args[i];
    const put = (x: unknown) => [...args.slice(0, i), x, ...args.slice(i + 1)];
    if (given instanceof Tensor) continue;
    for (const wrong of [...wrongTypes, ...odd]) {
      yield { what: `argument ${i}`, args: put(wrong), wrong };
      if (given !== undefined && !isOptions(given)) continue;
      for (const name of Object.keys(info.attrs)) {
        const options = { ...given as object, [name]: wrong };
        yield { what: name, args: put(options), wrong, name };
      }
    }
  }
}

/** What is wrong with the answer to an attempt, or undefined. */
function judge(info: OpInfo, attempt: Attempt): string | undefined {
  const { args, wrong, name } = attempt;
  try {
    scope(() => {
      const result = info.call(...args);
      for (const y of Array.isArray(result) ? result : [result]) {
        if (y instanceof Tensor) y.data();
      }
    });
  } catch (error) {
    const { message } = error as Error;
    return message.startsWith("Cannot ") && !raw.test(message)
      ? undefined
      : `is answered with ${error}`;
  }
  if (name === undefined || !wrongTypes.includes(wrong)) return undefined;
  const { attrs } = info.bind(...args as never[]);
  return attrs[name] === wrong ? "is taken" : undefined;
}

for (const info of operators().values()) {
  Deno.test(`wrong attributes of ${info.name} are answered with a sentence`, () => {
    const bad: string[] = [];
    for (const sample of info.samples.slice(0, 4)) {
      scope(() => {
        for (const attempt of attempts(info, argumentsOf(sample))) {
          const fault = judge(info, attempt);
          if (fault !== undefined) {
            bad.push(`${attempt.what} = ${show(attempt.wrong)} ${fault}`);
          }
        }
      });
    }
    assert(bad.length === 0, bad.join("\n"));
  });
}

Deno.test("sentences about attributes name the operator, the attribute, the value and what would work", () => {
  const x = ones([2, 3]);
  const any = (f: unknown) => f as (...args: unknown[]) => Tensor;
  const cases: [() => unknown, string][] = [
    [
      () => any(sum)(x, "rows"),
      'Cannot apply sum with axes "rows": it must be an integer, or a list of integers',
    ],
    [
      () => any(sum)(x, 0.5),
      "Cannot apply sum with axes 0.5: it must be an integer, or a list of integers",
    ],
    [
      () => any(sum)(x, 0, { keepdim: true }),
      "Cannot apply sum with the option keepdim: it has axes, keepDim; did you mean keepDim?",
    ],
    [
      () => any(sum)(x, 0, true),
      "Cannot apply sum with true as an argument: options are given as an object with axes, keepDim",
    ],
    [
      () => any(elu)(x, { alpha: "1" }),
      'Cannot apply elu with alpha "1": it must be a number that is not NaN',
    ],
    [
      () => any(elu)(x, 2),
      "Cannot apply elu with 2 as an argument: options are given as an object with alpha",
    ],
    [() => any(matmul)(x, "y"), "Cannot apply matmul to a string"],
  ];
  for (const [call, text] of cases) assertThrows(call, Error, text);
  x.dispose();
});
