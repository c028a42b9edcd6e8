import { assertEquals, assertThrows } from "@std/assert";
import type { ArrayRecord } from "../formats/array_record.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
} from "../formats/safetensors.ts";
import { goldenArrays, goldenFile } from "./formats_golden_arrays.ts";

Deno.test("safetensors: what the Python package wrote is read", async () => {
  const { tensors, metadata } = await readSafetensors(
    new URL("./golden/formats/arrays.safetensors", import.meta.url),
  );
  assertEquals(Object.fromEntries(tensors), goldenArrays);
  assertEquals(metadata, { format: "np" });
  const { tensors: halves } = decodeSafetensors(goldenFile("bf16.safetensors"));
  assertEquals(halves.get("w"), {
    data: new Uint16Array([0x3f80, 0xc020, 0x7149]),
    shape: [3],
    dtype: "bf16",
  });
});

Deno.test("safetensors: written byte for byte as the Python package does", () => {
  assertEquals(
    encodeSafetensors(Object.entries(goldenArrays), { format: "np" }),
    goldenFile("arrays.safetensors"),
  );
});

Deno.test("safetensors: data starts at a multiple of 8, and is not copied", () => {
  for (let length = 1; length < 20; length++) {
    const name = "x".repeat(length);
    const bytes = encodeSafetensors([[name, goldenArrays.f64]]);
    const { tensors } = decodeSafetensors(bytes);
    const data = tensors.get(name)!.data;
    assertEquals(data.byteOffset % 8, 0);
    assertEquals(data.buffer, bytes.buffer);
  }
});

Deno.test("safetensors: names that JavaScript objects treat specially", () => {
  const one: ArrayRecord = { data: new Int8Array([1]), shape: [], dtype: "i8" };
  const names = ["7", "__proto__", "constructor", 'quote " \\ ü', ""];
  const bytes = encodeSafetensors(names.map((name) => [name, one] as const));
  const { tensors } = decodeSafetensors(bytes);
  assertEquals([...tensors.keys()].sort(), names.sort());
  assertEquals(encodeSafetensors([]).length, 16);
  assertEquals(decodeSafetensors(encodeSafetensors([])).tensors.size, 0);
});

/** A file with this header, and `dataBytes` zero bytes after it. */
function file(header: string, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  const out = new Uint8Array(8 + text.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  return out;
}

function entry(dtype: string, shape: unknown, offsets: unknown): string {
  return JSON.stringify({ dtype, shape, data_offsets: offsets });
}

Deno.test("safetensors: each kind of damage has its own sentence", () => {
  const f4 = (begin: number) => entry("F32", [1], [begin, begin + 4]);
  const cases: [Uint8Array, string][] = [
    [new Uint8Array(7), "at least 8 bytes, and has 7"],
    [new Uint8Array(8).fill(255), "has 18446744073709551615 bytes"],
    [file("{}", 0).subarray(0, 9), "ends at byte 10, and it has 9"],
    [file("{", 0), "not JSON"],
    [file("[]", 0), "not a JSON object"],
    [file("\u{feff}{}", 0), "not JSON"],
    [edited(file('{"a": 1}', 0), 10, 0xff), "not UTF-8"],
    [file('{"a": 1}', 0), 'entry of tensor "a" is not a JSON object'],
    [file(`{"a":${f4(0)},"a":${f4(4)}}`, 8), 'the key "a" twice'],
    [file(`{"a":${f4(0)},"\\u0061":${f4(4)}}`, 8), 'the key "a" twice'],
    [file('{"__metadata__": []}', 0), "__metadata__ is not a JSON object"],
    [file('{"__metadata__": {"n": 1}}', 0), '"n" is 1'],
    [file(`{"a":${entry("F33", [1], [0, 4])}}`, 4), 'the dtype "F33"'],
    [file(`{"a":${entry("F32", [-1], [0, 4])}}`, 4), "the shape [-1]"],
    [file(`{"a":${entry("F32", [1.5], [0, 6])}}`, 6), "the shape [1.5]"],
    [file(`{"a":${entry("F32", [1], [0])}}`, 4), "data_offsets [0]"],
    [file(`{"a":${entry("F32", [1], [4, 0])}}`, 4), "needs 4 bytes"],
    [file(`{"a":${entry("F32", [2], [0, 4])}}`, 4), "needs 8 bytes"],
    [
      file(`{"a":${entry("U8", [2 ** 52, 2 ** 52], [0, 4])}}`, 4),
      "needs 2.028240960365167e+31 bytes",
    ],
    [file(`{"a":${f4(0)},"b":${f4(2)}}`, 6), 'overlaps tensor "a"'],
    [file(`{"a":${f4(0)},"b":${f4(6)}}`, 10), "bytes 4 to 6"],
    [file(`{"a":${f4(2)}}`, 6), "bytes 0 to 2, between the start"],
    [
      file(`{"a":${f4(0)}}`, 3),
      "the file is truncated; copy or download it again",
    ],
    [file(`{"a":${f4(0)}}`, 5), "end at byte 4 of the data, which has 5"],
  ];
  for (const [bytes, sentence] of cases) {
    assertThrows(
      () => decodeSafetensors(bytes, "x.safetensors"),
      SyntaxError,
      sentence,
    );
  }
});

Deno.test("safetensors: what cannot be written says why", () => {
  const { f32, i8 } = goldenArrays;
  assertThrows(
    () => encodeSafetensors([["a", f32], ["b", f32], ["a", i8]]),
    RangeError,
    'named "a" twice',
  );
  assertThrows(
    () => encodeSafetensors([["__metadata__", i8]]),
    RangeError,
    "taken by the metadata",
  );
  assertThrows(
    () => encodeSafetensors([["a", { ...f32, shape: [7] }]]),
    TypeError,
    'Tensor "a" has shape [7], which needs 7 elements, but its data has 6',
  );
  assertThrows(
    () => encodeSafetensors([["a", { ...f32, dtype: "i32" }]]),
    TypeError,
    "kept in a Int32Array, but its data is a Float32Array",
  );
});

function edited(bytes: Uint8Array, at: number, byte: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = byte;
  return copy;
}
