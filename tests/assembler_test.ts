import { assert, assertEquals, assertThrows } from "@std/assert";
import wabt from "npm:wabt@1.0.37";
import {
  type FunctionBuilder,
  hasRelaxedSimd,
  ModuleBuilder,
  type ValueType,
} from "../kernel/wasm/assembler.ts";
import {
  type LaneLoadOp,
  type LaneOp,
  laneOps,
  memoryOps,
  type PlainOp,
  plainOps,
} from "../kernel/wasm/opcodes.ts";

// An independent assembler from WebAssembly's text format.
const toolkit = await wabt();
const features = {
  threads: true,
  simd: true,
  relaxed_simd: true,
  bulk_memory: true,
  sat_float_to_int: true,
  sign_extension: true,
};

/** Code section entry of a function that wabt assembles from text, unreachable first so that any operand types fit. */
function reference(body: string): number[] {
  const module = toolkit.parseWat(
    "t.wat",
    `(module (memory 1 1 shared) (func (param i32 i64 f32 f64 v128) unreachable ${body} unreachable))`,
    features,
  );
  try {
    return codeOf(module.toBinary({}).buffer);
  } finally {
    module.destroy();
  }
}

/** The first function's entry in the code section of a module. */
function codeOf(bytes: Uint8Array): number[] {
  let at = 8;
  while (bytes[at] !== 10) at = skip(bytes, at);
  const [, body] = leb(bytes, at + 1);
  return [...bytes.subarray(body + 1, skip(bytes, at))];
}

function leb(bytes: Uint8Array, at: number): [number, number] {
  let value = 0, shift = 0;
  for (;;) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    shift += 7;
    if (byte < 128) return [value, at];
  }
}

function skip(bytes: Uint8Array, section: number): number {
  const [size, body] = leb(bytes, section + 1);
  return body + size;
}

function own(body: (f: FunctionBuilder) => void): number[] {
  const m = new ModuleBuilder();
  m.func("", ["i32", "i64", "f32", "f64", "v128"], [], (f) => {
    f.op("unreachable");
    body(f);
    f.op("unreachable");
  });
  return codeOf(m.toBytes());
}

Deno.test("every instruction has the bytes that wabt gives it", () => {
  for (const name of Object.keys(plainOps) as PlainOp[]) {
    assertEquals(own((f) => f.op(name)), reference(name), name);
  }
  for (const name of Object.keys(laneOps) as LaneOp[]) {
    assertEquals(own((f) => f.lane(name, 1)), reference(`${name} 1`), name);
  }
  for (const name of Object.keys(memoryOps) as (keyof typeof memoryOps)[]) {
    const lane = name.endsWith("_lane");
    const body = (f: FunctionBuilder) =>
      lane
        ? f.loadLane(name as LaneLoadOp, 1, 300)
        : f.load(name as "i32.load", 300);
    const text = `${name} offset=300${lane ? " 1" : ""}`;
    assertEquals(own(body), reference(text), name);
  }
});

Deno.test("constants, variables and structure have the bytes that wabt gives them", () => {
  const bytes = Array.from({ length: 16 }, (_, i) => i * 17 % 32);
  const cases: [(f: FunctionBuilder) => void, string][] = [
    ...[0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2 ** 31 - 1, -(2 ** 31)].map((
      v,
    ): [(f: FunctionBuilder) => void, string] => [
      (f) => f.i32(v),
      `i32.const ${v}`,
    ]),
    [(f) => f.i32(2 ** 32 - 1), "i32.const -1"],
    ...[0n, -1n, 64n, -(2n ** 63n), 2n ** 63n - 1n].map((
      v,
    ): [(f: FunctionBuilder) => void, string] => [
      (f) => f.i64(v),
      `i64.const ${v}`,
    ]),
    [(f) => f.f32(1.1), "f32.const 1.1"],
    [(f) => f.f32(-Infinity), "f32.const -inf"],
    [(f) => f.f64(-0), "f64.const -0"],
    [(f) => f.f64(1.1), "f64.const 1.1"],
    [(f) => f.v128(bytes), `v128.const i8x16 ${bytes.join(" ")}`],
    [(f) => f.shuffle(bytes), `i8x16.shuffle ${bytes.join(" ")}`],
    [(f) => f.get(4).tee(4).set(4), "local.get 4 local.tee 4 local.set 4"],
    [(f) => f.block((l) => f.br(l)), "block br 0 end"],
    [
      (f) => f.loop((l) => f.block((k) => f.get(0).brIf(l).br(k))),
      "loop block local.get 0 br_if 1 br 0 end end",
    ],
    [
      (f) => f.get(0).if(() => f.i32(1), () => f.i32(2), "i32").drop(),
      "local.get 0 if (result i32) i32.const 1 else i32.const 2 end drop",
    ],
    [(f) => f.get(0).if((l) => f.br(l)), "local.get 0 if br 0 end"],
    [
      (f) => f.block((a) => f.block((b) => f.get(0).brTable([a, b], a))),
      "block block local.get 0 br_table 1 0 1 end end",
    ],
    [
      (f) => f.get(0).call(0).return(),
      "local.get 0 call 0 return",
    ],
    [
      (f) => f.get(0).get(0).get(0).select().drop(),
      [
        "local.get 0 local.get 0 local.get 0 select drop",
      ].join(),
    ],
  ];
  for (const [body, text] of cases) {
    assertEquals(own(body), reference(text), text);
  }
});

Deno.test("a module with imports, locals and several functions runs", () => {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", { min: 1, max: 2, shared: true });
  const twice = m.importFunction("env", "twice", ["f64"], ["f64"]);
  m.importGlobal("env", "zero", "f64");
  const one = m.importGlobal("env", "one", "f64");
  const next = m.func("", ["f64"], ["f64"], (f) => {
    f.get(0).global(one).op("f64.add");
  });
  // Sum over i < n of twice(i + 1), kept in a local declared after others.
  m.func("run", ["i32"], ["f64"], (f) => {
    const types: ValueType[] = ["v128", "i64"];
    for (const type of types) f.local(type);
    const sum = f.local("f64"), i = f.local("i32");
    f.block((done) => {
      f.loop((again) => {
        f.get(i).get(0).op("i32.ge_s").brIf(done);
        f.get(i).op("f64.convert_i32_s").call(next).call(twice);
        f.get(sum).op("f64.add").set(sum);
        f.get(i).i32(1).op("i32.add").set(i).br(again);
      });
    });
    f.i32(8).get(sum).store("f64.store").get(sum);
  });
  const memory = new WebAssembly.Memory({
    initial: 1,
    maximum: 2,
    shared: true,
  });
  const { exports } = new WebAssembly.Instance(
    new WebAssembly.Module(m.toBytes()),
    { env: { memory, zero: 0, one: 1, twice: (x: number) => 2 * x } },
  );
  assertEquals((exports.run as (n: number) => number)(4), 20);
  assertEquals(new Float64Array(memory.buffer)[1], 20);
});

Deno.test("relaxed SIMD is found where the engine validates it", () => {
  assert(hasRelaxedSimd());
});

Deno.test("misuse is refused with a sentence", () => {
  const m = new ModuleBuilder();
  m.func("", [], [], () => {});
  assertThrows(
    () => m.importFunction("env", "late", [], []),
    TypeError,
    "Cannot import env.late after a function was defined",
  );
  assertThrows(
    () => m.importMemory("env", "memory", { min: 1, shared: true }),
    TypeError,
    "needs a maximum",
  );
  assertThrows(
    () => m.func("", [], [], (f) => f.shuffle([1, 2])),
    RangeError,
    "16 bytes, not 2",
  );
});
