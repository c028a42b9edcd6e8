/**
 * Vector functions against float64 and PyTorch: the bounds of docs/accuracy.md,
 * in plain JavaScript steps with fma fused and not, and in WebAssembly.
 */

import { assert, assertEquals } from "@std/assert";
import "../devices/cpu/device.ts";
import { fromHost } from "../core/tensor.ts";
import { add } from "../ops/arithmetic.ts";
import { cos, sin } from "../ops/trigonometry.ts";
import { getDevice } from "../core/device.ts";
import { readBytes, runRows } from "../core/row_kernels.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { ExprOp } from "../kernel/expr.ts";
import { lowerMath } from "../kernel/wasm/vector_math.ts";
import edges from "./golden/vector_math/edges.json" with { type: "json" };
import { compile, operationCount, ulpError } from "./vector_math_reference.ts";
import {
  lowered,
  measure,
  pairs,
  parseRows,
  references,
  references2,
  sweep,
} from "./vector_math_sweep.ts";

const rows = parseRows(
  Deno.readTextFileSync(new URL("../docs/accuracy.md", import.meta.url)),
);
const device = getDevice("cpu");

/** The row of the widest range in which a function's bound holds on every machine. */
function everywhere(name: string) {
  return rows.findLast((r) => r.name === name && r.separate !== undefined)!;
}

/** That bound. */
function bound(name: string): number {
  const { fused, separate } = everywhere(name);
  return Math.max(fused, separate!);
}

Deno.test("vector math: every function has its row in docs/accuracy.md", () => {
  const names = [...Object.keys(references), ...Object.keys(references2)];
  assertEquals([...new Set(rows.map((r) => r.name))].sort(), names.sort());
  for (const row of rows) {
    assertEquals(operationCount(lowered(row.name)), row.operations, row.name);
  }
});

for (const row of rows) {
  const range = row.limit === Infinity ? "" : ` up to ${row.limit}`;
  Deno.test(`vector math: ${row.name}${range} errs as stated`, () => {
    const { fused, separate } = measure(row, 4099);
    assert(fused <= row.fused, `${fused} ULP, ${row.fused} stated`);
    // A statement far from the truth would be a defect as well.
    assert(fused >= row.fused * 0.6, `only ${fused} ULP, ${row.fused} stated`);
    if (row.separate !== undefined) {
      assert(
        separate <= row.separate,
        `${separate} ULP, ${row.separate} stated`,
      );
    }
  });
}

/** Runs a function on the CPU device. */
function onDevice(name: string, operands: readonly Float32Array[]) {
  const values = operands.map((data) => {
    const value = Value.empty(device, "f32", [data.length]);
    device.write(value.storage, 0, new Uint8Array(data.buffer));
    return value;
  });
  const [result] = runRows(device, {
    name,
    space: [operands[0].length],
    axes: [],
    streams: values,
    passes: 1,
    build: ({ streams }) => ({
      stages: [],
      outputs: [{
        dtype: "f32",
        per: "element",
        value: k.node(name as ExprOp, "f32", streams),
      }],
    }),
  });
  const bytes = readBytes(result);
  for (const value of [...values, result]) value.release();
  return new Float32Array(bytes.buffer, bytes.byteOffset, operands[0].length);
}

for (const name of Object.keys(references)) {
  Deno.test(`vector math: ${name} in WebAssembly errs as stated`, () => {
    const { limit } = everywhere(name);
    const xs: number[] = [];
    sweep(limit, 65521, (x) => xs.push(x));
    const ys = onDevice(name, [Float32Array.from(xs)]);
    xs.forEach((x, i) => {
      const error = ulpError(ys[i], references[name](x));
      assert(error <= bound(name), `${name}(${x}) = ${ys[i]}: ${error} ULP`);
    });
  });
}

for (const name of Object.keys(references2)) {
  Deno.test(`vector math: ${name} in WebAssembly errs as stated`, () => {
    const xs: number[] = [], ys: number[] = [];
    pairs(60000, (x, y) => {
      xs.push(x);
      ys.push(y);
    });
    const zs = onDevice(name, [Float32Array.from(xs), Float32Array.from(ys)]);
    xs.forEach((x, i) => {
      const error = ulpError(zs[i], references2[name](x, ys[i]));
      assert(
        error <= bound(name),
        `${name}(${x}, ${ys[i]}) = ${zs[i]}: ${error} ULP`,
      );
    });
  });
}

for (const [name, text] of Object.entries(edges)) {
  Deno.test(`vector math: ${name} has PyTorch's special values`, () => {
    const entries = text.split(";").map((entry) =>
      entry.split(",").map(Number)
    );
    const f = compile(lowered(name), true);
    const arity = entries[0].length - 1;
    const columns = Array.from(
      { length: arity },
      (_, j) => Float32Array.from(entries, (entry) => entry[j]),
    );
    const results = onDevice(name, columns);
    entries.forEach((entry, i) => {
      const args = columns.map((column) => column[i]);
      const expected = entry[arity];
      for (const actual of [f(args[0], args[1]), results[i]]) {
        // PyTorch's own error comes on top of ours.
        const same = Number.isFinite(expected) && expected !== 0
          ? ulpError(actual, expected) <= bound(name) + 1.5
          : Object.is(actual, Math.fround(expected));
        assert(same, `${name}(${args}) = ${actual}, PyTorch has ${expected}`);
      }
    });
  });
}

Deno.test("vector math: results stay within the functions' bounds", () => {
  for (
    const [name, most] of [["tanh", 1], ["erf", 1], ["sin", 1], [
      "cos",
      1,
    ]] as const
  ) {
    const e = lowered(name);
    const functions = [compile(e, true), compile(e, false)];
    sweep(Infinity, 32749, (x) => {
      for (const f of functions) {
        assert(!(Math.abs(f(x)) > most), `${name}(${x})`);
      }
    });
  }
});

Deno.test("vector math: exact results are exact", () => {
  const exp2 = compile(lowered("exp2"), false);
  for (let n = -149; n < 128; n++) assertEquals(exp2(n), 2 ** n);
  const log2 = compile(lowered("log2"), false);
  for (let n = -149; n < 128; n++) assertEquals(log2(2 ** n), n);
  const log10 = compile(lowered("log10"), false);
  for (let n = 0; n <= 10; n++) assertEquals(log10(10 ** n), n);
  const pow = compile(lowered("pow"), false);
  for (let x = -12; x <= 12; x++) {
    for (let n = 0; n <= 6; n++) assertEquals(pow(x, n), x ** n, `${x}^${n}`);
  }
});

Deno.test("vector math: powers with simple constant exponents are products and roots", () => {
  const x = k.input(0, "f32");
  for (const [y, operations] of [[2, 1], [3, 2], [0.5, 1], [-1, 1], [-2, 2]]) {
    const e = lowerMath(k.pow(x, y))!;
    assertEquals(operationCount(e), operations);
    const f = compile(e, true);
    for (const base of [0.3, 1.7, 4, 1e-30, Infinity, 0]) {
      const b = Math.fround(base);
      assert(ulpError(f(b), b ** y) <= 1.5, `${base}^${y} = ${f(b)}`);
    }
  }
});

Deno.test("vector math: other types and functions are left alone", () => {
  assertEquals(lowerMath(k.exp(k.input(0, "f64"))), undefined);
  assertEquals(lowerMath(k.call("lgamma", k.input(0, "f32"))), undefined);
  assertEquals(lowerMath(k.add(k.input(0, "f32"), 1)), undefined);
});

Deno.test("vector math: far from 0, sines are right in vectors of either width", () => {
  const xs = Float32Array.from([1, 1e7, 2, -3.4e38, 12000.5, 0.5, -1e30, 3, 7]);
  const x = fromHost(xs, "f32", [xs.length]);
  const zero = fromHost(new Float64Array(xs.length), "f64", [xs.length]);
  for (const [f, reference] of [[sin, Math.sin], [cos, Math.cos]] as const) {
    const narrow = f(x), wide = add(f(x), zero);
    const found = [narrow.data(), wide.data()] as ArrayLike<number>[];
    for (const values of found) {
      xs.forEach((x, i) =>
        assert(ulpError(Math.fround(values[i]), reference(x)) <= 2.5, `${x}`)
      );
    }
    narrow.dispose();
    wide.dispose();
  }
  x.dispose();
  zero.dispose();
});
