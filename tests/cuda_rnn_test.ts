/**
 * Recurrent networks of the CUDA device through cuDNN's functions, on the
 * stand-in library, against the composed definition on the CPU.
 */

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { getDevice, gradients, scope, type Tensor } from "../mod.ts";
import { closeDevice, setDefaultDevice } from "../core/device.ts";
import { type DType, hostArray, setElement } from "../core/dtype.ts";
import { manualSeed, Philox } from "../core/random.ts";
import { operators } from "../core/op.ts";
import { fromHost } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { add, mul } from "../ops/arithmetic.ts";
import { sum } from "../ops/foundation.ts";
import { gru, lstm, type RecurrentOptions, rnn } from "../ops/recurrent.ts";
import { cudaHost } from "./cuda_host/mod.ts";
import { checkOperator, tolerance } from "./operator_harness.ts";

const host = await cudaHost();

/** A test on the stand-ins, which ends with nothing violated and nothing left behind. */
function onCuda(name: string, body: (machine: Machine) => void): void {
  Deno.test({
    name: host.absent === undefined ? name : `${name} (${host.absent})`,
    ignore: host.absent !== undefined,
    fn() {
      if (host.absent !== undefined) return;
      host.reset();
      try {
        body(host);
      } finally {
        closeDevice("cuda");
      }
      assertEquals(host.violations(), []);
      assertEquals(host.leaks(), []);
    },
  });
}

type Machine = Exclude<typeof host, { readonly absent: string }>;
type Kind = "lstm" | "gru" | "tanh" | "relu";

const gates = { lstm: 4, gru: 3, tanh: 1, relu: 1 };

interface Case extends RecurrentOptions {
  kind: Kind;
  /** Whether first states are given. */
  states?: boolean;
}

const extents = { steps: 5, batch: 3, features: 4, hidden: 6 };

/** Numbers from −0.9 to 0.9 in the precision of a dtype. */
function numbers(random: Philox, shape: number[], dtype: DType) {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = hostArray(dtype, size);
  for (let i = 0; i < size; i++) {
    setElement(data, dtype, i, 1.8 * random.uniform() - 0.9);
  }
  return { data, shape };
}

/** Operands of a case: input, states, weights. */
function operandsOf(c: Case, dtype: DType) {
  const random = new Philox(11);
  const { steps, batch, features, hidden } = extents;
  const { layers = 1, bidirectional = false, bias = true } = c;
  const directions = bidirectional ? 2 : 1;
  const rows = gates[c.kind] * hidden;
  const x = c.batchFirst ? [batch, steps, features] : [steps, batch, features];
  const states = [layers * directions, batch, hidden];
  const weights: number[][] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (let direction = 0; direction < directions; direction++) {
      weights.push([rows, layer === 0 ? features : hidden * directions]);
      weights.push([rows, hidden]);
      if (bias) weights.push([rows], [rows]);
    }
  }
  const make = (shape: number[]) => numbers(random, shape, dtype);
  return {
    x: make(x),
    h: c.states ? make(states) : undefined,
    c: c.states && c.kind === "lstm" ? make(states) : undefined,
    weights: weights.map(make),
  };
}

type Results = Float64Array[];

/** Runs a case on a device: results, and gradients of a weighted sum of all of them. */
function run(c: Case, dtype: DType, device: string, training = true): Results {
  return scope(() => {
    const operands = operandsOf(c, dtype);
    const bring = ({ data, shape }: ReturnType<typeof numbers>) => {
      const tensor = fromHost(data.slice(), dtype, shape, { device });
      tensor.requiresGrad = training;
      return tensor;
    };
    const x = bring(operands.x);
    const h = operands.h && bring(operands.h);
    const cell = operands.c && bring(operands.c);
    const weights = operands.weights.map(bring);
    const { kind, states: _, ...options } = c;
    const results: Tensor[] = kind === "lstm"
      ? lstm(x, h && [h, cell!], weights, options)
      : kind === "gru"
      ? gru(x, h, weights, options)
      : rnn(x, h, weights, { ...options, nonlinearity: kind });
    const found = [...results];
    if (training) {
      const random = new Philox(12);
      let total: Tensor | undefined;
      for (const result of results) {
        const { data, shape } = numbers(random, [...result.shape], dtype);
        const weight = fromHost(data, dtype, shape, { device });
        const part = sum(mul(result, weight));
        total = total === undefined ? part : add(total, part);
      }
      const wanted = [x, h, cell, ...weights];
      const given = wanted.filter((t) => t !== undefined);
      found.push(...gradients(total!, given).map((g) => g!));
    }
    return found.map((t) => Float64Array.from(t.data() as ArrayLike<number>));
  });
}

function assertClose(
  actual: Results,
  expected: Results,
  dtype: DType,
  what: string,
): void {
  assertEquals(actual.length, expected.length);
  const slack = 4 * tolerance[dtype];
  actual.forEach((values, n) =>
    values.forEach((value, i) => {
      const wanted = expected[n][i];
      assert(
        Math.abs(value - wanted) <= slack * (1 + Math.abs(wanted)),
        `${what}: result ${n}, element ${i} is ${value}, not ${wanted}`,
      );
    })
  );
}

const options: Record<string, RecurrentOptions & { states?: boolean }> = {
  "one layer": { states: true },
  "without states": {},
  "without biases": { bias: false, states: true },
  "two layers in both directions": {
    layers: 2,
    bidirectional: true,
    states: true,
  },
  "three layers, batch first": { layers: 3, batchFirst: true },
  "sequences of many lengths": { lengths: [2, 5, 1], states: true },
  "many lengths, both directions, batch first": {
    lengths: [3, 1, 5],
    bidirectional: true,
    layers: 2,
    batchFirst: true,
  },
};

for (const kind of ["lstm", "gru", "tanh", "relu"] as const) {
  onCuda(`${kind} by cuDNN gives what the definition gives`, () => {
    for (const [name, option] of Object.entries(options)) {
      for (const dtype of ["f32", "f64"] as const) {
        const c = { kind, ...option };
        const expected = run(c, dtype, "cpu");
        const actual = run(c, dtype, "cuda");
        assertClose(actual, expected, dtype, `${kind} ${name} ${dtype}`);
      }
    }
  });
}

onCuda("halves are computed in single precision", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const c: Case = { kind: "lstm", ...options["one layer"] };
    const actual = run(c, dtype, "cuda");
    assertClose(actual, run(c, dtype, "cpu"), dtype, dtype);
  }
});

onCuda("a network is one call forward and two calls backward", (machine) => {
  const c: Case = { kind: "gru", layers: 2, bidirectional: true };
  run(c, "f32", "cuda");
  machine.clearCalls();
  run(c, "f32", "cuda");
  const calls = machine.calls().filter((name) => name.startsWith("cudnnRNN"));
  assertEquals(calls, [
    "cudnnRNNForward",
    "cudnnRNNBackwardData_v8",
    "cudnnRNNBackwardWeights_v8",
  ]);
});

onCuda("without gradients nothing is kept for them", (machine) => {
  const c: Case = { kind: "lstm", layers: 2 };
  const expected = run(c, "f32", "cpu", false);
  machine.clearCalls();
  assertClose(run(c, "f32", "cuda", false), expected, "f32", "inference");
  assertEquals(
    machine.calls().filter((name) => name.startsWith("cudnnRNN")),
    ["cudnnRNNForward"],
  );
});

onCuda(
  "dropout between layers is Decaf's own, the same on every device",
  (machine) => {
    const c: Case = {
      kind: "lstm",
      layers: 3,
      dropout: 0.4,
      training: true,
      lengths: [4, 1, 5],
    };
    manualSeed(5);
    const expected = run(c, "f32", "cpu");
    manualSeed(5);
    machine.clearCalls();
    assertClose(run(c, "f32", "cuda"), expected, "f32", "dropout");
    const forward = machine.calls().filter((name) =>
      name === "cudnnRNNForward"
    );
    assertEquals(forward.length, 3);
  },
);

onCuda("a refused call names itself and what it was asked", (machine) => {
  const c: Case = { kind: "lstm", ...options["one layer"] };
  machine.fail({ function: "cudnnRNNForward", nth: 1, status: 5000 });
  const error = assertThrows(() => run(c, "f32", "cuda"));
  const { message } = error as Error;
  for (
    const part of [
      "cudnnRNNForward failed on cuda:0",
      "CUDNN_STATUS_EXECUTION_FAILED (5000)",
      "lstm f32, 1 layers in 1 directions, 5 steps, batch 3, 4 to 6",
    ]
  ) assertStringIncludes(message, part);
  assertClose(run(c, "f32", "cuda"), run(c, "f32", "cpu"), "f32", "after it");
});

onCuda(
  "the stand-in notices a reserve space that no forward pass filled",
  (machine) => {
    const device = getDevice("cuda");
    const { recurrent } = device.kernels;
    const { steps, batch, features, hidden } = extents;
    const spec = {
      kind: "tanh",
      dtype: "f32",
      steps,
      batch,
      features,
      hidden,
      layers: 1,
      directions: 1,
      bias: true,
      batchFirst: false,
      lengths: [steps, steps, steps],
      training: true,
    } as const;
    const plan = recurrent!.plan(spec)!;
    scope(() => {
      const made: Value[] = [];
      const block = (shape: number[], dtype: DType = "f32") => {
        const value = Value.empty(device, dtype, shape);
        device.write(value.storage, 0, new Uint8Array(value.storage.bytes));
        made.push(value);
        return value;
      };
      const lengths = fromHost(Int32Array.of(5, 5, 5), "i32", [3], {
        device: "cuda",
      });
      recurrent!.backward(spec, {
        x: block([steps, batch, features]),
        lengths: lengths.value,
        h0: undefined,
        c0: undefined,
        weights: block([plan.packed]),
        y: block([steps, batch, hidden]),
        reserve: block([plan.reserve], "u8"),
      }, {
        dy: block([steps, batch, hidden]),
        dhidden: undefined,
        dcell: undefined,
        dx: block([steps, batch, features]),
        dh0: block([1, batch, hidden]),
        dc0: undefined,
        dweights: block([plan.packed]),
      });
      const violations = machine.violations();
      assertEquals(violations.length, 2);
      assertStringIncludes(violations[0], "reserve space");
      machine.clearViolations();
      for (const value of made) value.release();
    });
  },
);

onCuda(
  "each call that fails says so, leaks nothing, and the next step is right",
  (machine) => {
    const c: Case = { kind: "gru", ...options["one layer"] };
    const expected = run(c, "f32", "cpu");
    // Libraries and kernels are found once per process.
    run(c, "f32", "cuda");
    closeDevice("cuda");
    getDevice("cuda");
    machine.clearCalls();
    run(c, "f32", "cuda");
    const calls = machine.calls();
    closeDevice("cuda");
    assertEquals(machine.leaks(), []);
    let failed = 0;
    calls.forEach((name, i) => {
      if (!name.startsWith("cudnn")) return;
      failed++;
      getDevice("cuda");
      const nth = calls.slice(0, i + 1).filter((n) => n === name).length;
      machine.fail({ function: name, nth, status: 4000 });
      let error: unknown;
      try {
        run(c, "f32", "cuda");
      } catch (thrown) {
        error = thrown;
      }
      const what = `call ${i}, ${name}`;
      assertEquals(machine.faultsLeft(), 0, what);
      // What the library does not describe is composed; all else is an error.
      if (name !== "cudnnSetRNNDescriptor_v8") {
        assertStringIncludes(`${error}`, name, what);
      }
      assertClose(run(c, "f32", "cuda"), expected, "f32", `after ${what}`);
      closeDevice("cuda");
      assertEquals(machine.leaks(), [], what);
    });
    assert(failed > 20, `only ${failed} calls`);
  },
);

for (
  const name of ["lstm", "gru", "rnn", "recurrentLayer", "recurrentNetwork"]
) {
  onCuda(
    `operator ${name} on CUDA gives PyTorch's values, gradients and second derivatives`,
    () => {
      setDefaultDevice("cuda");
      try {
        checkOperator(operators().get(name)!, { golden: true });
      } finally {
        setDefaultDevice("cpu");
      }
    },
  );
}
