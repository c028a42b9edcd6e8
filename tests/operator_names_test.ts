/**
 * The names that operators have in ONNX and Caffe2, against the lists that
 * tests/golden/names was given by those themselves.
 */

import { assertEquals } from "@std/assert";
import { operators, type OpInfo } from "../core/op.ts";
import "../mod.ts";

/** First words of the lines of a list, but for its heading. */
function names(list: string): string[] {
  const text = Deno.readTextFileSync(
    new URL(`./golden/names/${list}.txt`, import.meta.url),
  );
  return text.trim().split("\n").slice(1).map((line) => line.split(" ")[0]);
}

const all = [...operators().values()];
const lists = { onnx: names("onnx"), caffe2: names("caffe2") };

/** ONNX operators that no operator here stands for, and why. */
const withoutCounterpart: Record<string, readonly string[]> = {
  "control flow is the language's": ["If", "Loop", "Scan"],
  "lists and optional values are the language's": [
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
  ],
  "there are no tensors of text": [
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
  ],
  "files are decoded by decaf's data, not by operators": ["ImageDecoder"],
  "a property or a function of the tensor: shape, size, tensor(), cast(x, y.dtype)":
    ["CastLike", "Constant", "Identity", "Shape", "Size"],
  "no signals: Fourier transforms and windows": [
    "BlackmanWindow",
    "DFT",
    "HammingWindow",
    "HannWindow",
    "MelWeightMatrix",
    "STFT",
  ],
  "no detection": ["MaxRoiPool", "NonMaxSuppression", "RoiAlign"],
  "no quantised integers": [
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
  ],
  "no dtype is another's bits": ["BitCast"],
  "two calls of operators there are": [
    "AffineGrid", // linear of meshgrid
    "CenterCropPad", // slice or pad
    "GatherND", // take
    "GlobalLpPool", // norm over the spatial axes
    "Hardmax", // oneHot of argMax
    "MaxUnpool", // placeAt is its adding form
    "Mean", // of many tensors: mean of a stack
    "MeanVarianceNormalization", // moments, sub, div
    "ReduceL1", // norm with p = 1
    "ReduceLogSum", // log of sum
    "ReverseSequence", // flip of unpadSequence
    "ScatterND", // scatter of the flattened tensor
    "Sum", // of many tensors: adds
    "TensorScatter", // indexCopy
  ],
  "not in the list of operators that Decaf set out to have": [
    "CausalConvWithState",
    "DeformConv",
    "Det",
    "LinearAttention",
    "RotaryEmbedding",
  ],
};

/** Operators that only share their names. */
const namesakes = [
  "caffe2 gather", // takes whole rows: indexSelect
  "caffe2 recurrentNetwork", // runs a net of its own for each step
];

for (const source of ["onnx", "caffe2"] as const) {
  Deno.test(`every ${source} name is one of its operators`, () => {
    const known = new Set(lists[source]);
    assertEquals(
      all.filter((op) => op[source] !== undefined && !known.has(op[source]))
        .map((op) => `${op.name}: ${op[source]}`),
      [],
    );
  });

  Deno.test(`an operator that ${source} has under the same name says so`, () => {
    const known = new Map(lists[source].map((n) => [plain(n), n]));
    const silent = all.filter((op) => op[source] === undefined)
      .filter((op) => !namesakes.includes(`${source} ${op.name}`))
      .flatMap(({ name }) =>
        [name, `reduce${name}`].flatMap((n) => known.get(plain(n)) ?? [])
          .map((n) => `${name} is ${n}`)
      );
    assertEquals(silent, []);
  });
}

function plain(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

Deno.test("each ONNX operator has a counterpart, or a reason why not", () => {
  const declared = new Set(all.map((op: OpInfo) => op.onnx));
  const excused = Object.values(withoutCounterpart).flat();
  assertEquals(
    lists.onnx.filter((n) => !declared.has(n) && !excused.includes(n)),
    [],
  );
  assertEquals(
    excused.filter((n) => declared.has(n) || !lists.onnx.includes(n)),
    [],
  );
});
