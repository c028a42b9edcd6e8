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
import { findTorch } from "../tools/python.ts";

Deno.test("golden: tensors of every dtype come back as they went", () => {
  const odd = [NaN, Infinity, -Infinity, -0, 0.5, -2];
  for (const dtype of ["f64", "f32", "f16", "bf16"] as const) {
    const encoded = encodeTensor({ shape: [2, 3], dtype, data: odd });
    assertEquals([...decodeTensor(encoded)], odd, dtype);
    assert(Object.is(decodeTensor(encoded)[3], -0), dtype);
  }
  for (const dtype of ["i64", "i32", "i8"] as const) {
    const encoded = encodeTensor({ shape: [3], dtype, data: [-128, 0, 127] });
    assertEquals([...decodeTensor(encoded)], [-128, 0, 127], dtype);
  }
  const flags = encodeTensor({ shape: [2], dtype: "bool", data: [1, 0] });
  assertEquals(flags.data, "AQA=");
  const large = encodeTensor({
    shape: [],
    dtype: "i64",
    data: [2n ** 62n + 1n],
  });
  assertEquals(large.data, "AQAAAAAAAEA=");
});

Deno.test("golden: a sample whose data do not fill its shape is refused", () => {
  assertThrows(
    () => encodeTensor({ shape: [2, 2], dtype: "f32", data: [1] }),
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

Deno.test("golden: a sample's key changes with whatever changes the answer", () => {
  const operator: Sampled = {
    name: "scale",
    family: "self",
    torch: "x * by",
    samples: [],
    differentiable: ["x"],
  };
  const sample = {
    inputs: { x: { shape: [1], dtype: "f32" as const, data: [1] } },
    attrs: { by: 2 },
  };
  const { key } = encodeSample(operator, sample);
  assertEquals(encodeSample(operator, structuredClone(sample)).key, key);
  const others = [
    encodeSample({ ...operator, torch: "x / by" }, sample),
    encodeSample({ ...operator, differentiable: [] }, sample),
    encodeSample(operator, { ...sample, attrs: { by: 3 } }),
    encodeSample(operator, {
      ...sample,
      inputs: { x: { ...sample.inputs.x, data: [2] } },
    }),
  ];
  assertEquals(new Set([key, ...others.map((o) => o.key)]).size, 5);
});

Deno.test("golden: weights are exact in bfloat16 and within (-1, 1)", () => {
  for (let k = 0; k < 300; k++) {
    const weight = goldenWeight(k, 2);
    assert(Math.abs(weight) < 1);
    const data = [weight];
    assertEquals(
      decodeTensor(encodeTensor({ shape: [1], dtype: "bf16", data }))[0],
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
