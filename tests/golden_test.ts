/** The way of samples to PyTorch and back; the values themselves are checked per operator. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  decodeTensor,
  encodeAttribute,
  encodeSample,
  encodeTensor,
  goldenWeight,
  type Sampled,
} from "./golden/samples.ts";
import "../devices/cpu/device.ts";
import type { Bound } from "../core/op.ts";
import { t } from "../ops/samples.ts";
import { findTorch } from "../tools/python.ts";

const grad = false;

Deno.test("golden: tensors of every dtype come back as they went", () => {
  const odd = [NaN, Infinity, -Infinity, -0, 0.5, -2];
  for (const dtype of ["f64", "f32", "f16", "bf16"] as const) {
    const encoded = encodeTensor({ shape: [2, 3], dtype, data: odd, grad });
    assertEquals([...decodeTensor(encoded)], odd, dtype);
    assert(Object.is(decodeTensor(encoded)[3], -0), dtype);
  }
  for (const dtype of ["i64", "i32", "i8"] as const) {
    const encoded = encodeTensor({
      shape: [3],
      dtype,
      data: [-128, 0, 127],
      grad,
    });
    assertEquals([...decodeTensor(encoded)], [-128, 0, 127], dtype);
  }
  const flags = encodeTensor({ shape: [2], dtype: "bool", data: [1, 0], grad });
  assertEquals(flags.data, "AQA=");
  const large = encodeTensor({
    shape: [],
    dtype: "i64",
    data: [2 ** 62],
    grad,
  });
  assertEquals(large.data, "AAAAAAAAAEA=");
});

Deno.test("golden: a sample whose data do not fill its shape is refused", () => {
  assertThrows(
    () => encodeTensor({ shape: [2, 2], dtype: "f32", data: [1], grad }),
    RangeError,
    "needs 4 elements and has 1",
  );
});

Deno.test("golden: attributes that JSON lacks are spelled out", () => {
  assertEquals(encodeAttribute({ a: [-Infinity, 1], b: undefined, c: "x" }), {
    a: [{ number: "-Infinity" }, 1],
    b: null,
    c: "x",
  });
});

/** A declaration of x · by, for the tests below. */
const scale: Sampled = {
  name: "scale",
  family: "self",
  inputs: ["x", "...more"],
  torch: "x * by",
  bind: (...args: unknown[]) => ({
    inputs: args.slice(1) as Bound["inputs"],
    attrs: { by: args[0] },
  }),
  samples: [],
};

Deno.test("golden: a sample's operands and attributes go by their names", () => {
  const more = t([1], { dtype: "i32", data: [3] });
  const { inputs, attributes } = encodeSample(scale, [2, t([1]), 5, more]);
  assertEquals(attributes, { by: 2 });
  assertEquals(inputs, {
    x: encodeTensor(t([1])),
    more: [5 as never, encodeTensor(more)],
  });
  assertEquals(encodeTensor(t([1])).grad, true);
  assertEquals(encodeSample(scale, [2]).inputs.x, null);
});

Deno.test("golden: a sample's key changes with whatever changes the answer", () => {
  const { key } = encodeSample(scale, [2, t([2])]);
  assertEquals(encodeSample(scale, [2, t([2])]).key, key);
  const others = [
    encodeSample({ ...scale, torch: "x / by" }, [2, t([2])]),
    encodeSample(scale, [3, t([2])]),
    encodeSample(scale, [2, t([3])]),
    encodeSample(scale, [2, t([2], { grad: false })]),
    encodeSample(scale, [2, t([2], { dtype: "f64" })]),
  ];
  assertEquals(new Set([key, ...others.map((o) => o.key)]).size, 6);
});

Deno.test("golden: weights are exact in bfloat16 and within (-1, 1)", () => {
  for (let k = 0; k < 300; k++) {
    const weight = goldenWeight(k, 2);
    assert(Math.abs(weight) < 1);
    const data = [weight];
    assertEquals(
      decodeTensor(encodeTensor({ shape: [1], dtype: "bf16", data, grad }))[0],
      weight,
    );
  }
});

const python = await findTorch({ install: false });
const missing = "absent" in python ? ` (${python.absent})` : "";

Deno.test({
  name: `golden: make.py passes its own test${missing}`,
  ignore: missing !== "",
  async fn() {
    assert("path" in python);
    const { code, stderr } = await new Deno.Command(python.path, {
      args: [
        new URL("./golden/make.py", import.meta.url).pathname,
        "--self-test",
      ],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  },
});
