import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { data } from "../mod.ts";
import { decodeNpy, encodeNpy, readNpy } from "../formats/npy.ts";
import { decodeNpz, encodeNpz, readNpz } from "../formats/npz.ts";
import { goldenArrays, goldenFile } from "./formats_golden_arrays.ts";

for (const [name, array] of Object.entries(goldenArrays)) {
  Deno.test(`npy: ${name} is read, and written byte for byte, as NumPy does`, () => {
    const file = goldenFile(`${name}.npy`);
    assertEquals(decodeNpy(file), array);
    assertEquals(encodeNpy(array), file);
  });
}

Deno.test("npy: other versions, orders and widths that NumPy writes", () => {
  assertEquals(decodeNpy(goldenFile("version2.npy")), goldenArrays.f32);
  assertEquals(decodeNpy(goldenFile("version3.npy")), goldenArrays.f32);
  assertEquals(decodeNpy(goldenFile("fortran.npy")), goldenArrays.i32);
  assertEquals(decodeNpy(goldenFile("big_endian.npy")), goldenArrays.i32);
  assertEquals(decodeNpy(goldenFile("i16.npy")), {
    data: new Int32Array([-32768, 32767]),
    shape: [2],
    dtype: "i32",
  });
  assertEquals(decodeNpy(goldenFile("u16.npy")), {
    data: new Int32Array([0, 65535]),
    shape: [2],
    dtype: "i32",
  });
  assertEquals(decodeNpy(goldenFile("u32.npy")), {
    data: new BigInt64Array([0n, 4294967295n]),
    shape: [2],
    dtype: "i64",
  });
});

Deno.test("npy: elements at an odd address are read all the same", () => {
  const file = goldenFile("f64.npy");
  const shifted = new Uint8Array(file.length + 1);
  shifted.set(file, 1);
  assertEquals(decodeNpy(shifted.subarray(1)), goldenArrays.f64);
});

Deno.test("npy: what cannot be read says why", () => {
  assertThrows(
    () => decodeNpy(goldenFile("records.npy"), "records.npy"),
    TypeError,
    "records.npy has records with named fields",
  );
  assertThrows(
    () => decodeNpy(goldenFile("complex.npy")),
    TypeError,
    "NumPy's type '<c8'",
  );
  const file = goldenFile("i32.npy");
  const cases: [Uint8Array, string][] = [
    [file.subarray(0, 4), "does not start with \\x93NUMPY"],
    [file.subarray(0, 11), "at least 12 bytes, and it has 11"],
    [file.subarray(0, 100), "its header ends at byte 128, and it has 100"],
    [file.subarray(0, 223), "needs 96 bytes after the header, and it has 95"],
    [edited(file, 6, 9), "version 9.0"],
    [edited(file, 11, 0x78), "should be a dictionary"],
  ];
  for (const [bytes, sentence] of cases) {
    assertThrows(() => decodeNpy(bytes, "x.npy"), SyntaxError, sentence);
  }
  assertThrows(
    () => encodeNpy({ data: new Uint16Array(1), shape: [1], dtype: "bf16" }),
    TypeError,
    "NumPy has no bf16",
  );
});

Deno.test("npy: a header that is more than a dictionary is refused", () => {
  const headers = [
    "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}; import os",
    "{'descr': '<i4', 'fortran_order': False}",
    "{'descr': '<i4', 'fortran_order': 1, 'shape': (2,)}",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (-2,)}",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), 'x': 1}",
  ];
  for (const header of headers) {
    const bytes = new Uint8Array(10 + header.length + 8);
    bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0]);
    bytes.set(new TextEncoder().encode(header), 10);
    assertThrows(() => decodeNpy(bytes), SyntaxError, "should be a dictionary");
  }
});

Deno.test("npz: NumPy's plain and compressed archives are read", async () => {
  for (const file of ["plain.npz", "compressed.npz"]) {
    const arrays = await decodeNpz(goldenFile(file), file);
    assertEquals(Object.fromEntries(arrays), goldenArrays);
  }
});

Deno.test("npz: what is written is read, and is the same every time", async () => {
  const arrays = Object.entries(goldenArrays);
  const plain = await encodeNpz(arrays);
  const small = await encodeNpz(arrays, { compress: true });
  assertEquals(await encodeNpz(arrays), plain);
  assertEquals(small.length < plain.length, true);
  for (const bytes of [plain, small]) {
    assertEquals(Object.fromEntries(await decodeNpz(bytes)), goldenArrays);
  }
});

Deno.test("npz: damage is found", async () => {
  const file = goldenFile("plain.npz");
  await assertRejects(
    () => decodeNpz(file.subarray(0, 500), "x.npz"),
    SyntaxError,
    "truncated (500 bytes)",
  );
  // A flipped bit inside the elements of the first array.
  await assertRejects(
    () => decodeNpz(edited(file, 180, file[180] ^ 1), "x.npz"),
    SyntaxError,
    'x.npz, array "f32" cannot be unpacked',
  );
  await assertRejects(
    () => encodeNpz([["a", goldenArrays.i8], ["a", goldenArrays.u8]]),
    RangeError,
    'two arrays named "a"',
  );
});

Deno.test("npy, npz: files", async () => {
  const folder = new URL("./golden/formats/", import.meta.url);
  assertEquals(await readNpy(new URL("f16.npy", folder)), goldenArrays.f16);
  const arrays = await readNpz(new URL("plain.npz", folder));
  assertEquals(arrays.get("i64"), goldenArrays.i64);
});

Deno.test("npy, npz: a script that imports mod.ts reads and writes them", async () => {
  const array = { data: new Float32Array([1, 2]), shape: [2], dtype: "f32" };
  const given = array as data.ArrayRecord;
  assertEquals(data.decodeNpy(data.encodeNpy(given)), given);
  const archive = await data.encodeNpz([["given", given]]);
  assertEquals((await data.decodeNpz(archive)).get("given"), given);
});

function edited(bytes: Uint8Array, at: number, byte: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = byte;
  return copy;
}
