/**
 * `explain`: shows what runs to compute an operator or an expression.
 *
 * @module
 */

import "../devices/cpu/device.ts";
import "../ops/methods.ts";
import { defaultDevice } from "../core/device.ts";
import type { SampleTensor } from "../core/op.ts";
import { Scope } from "../core/scope.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import { shapeText } from "../core/errors.ts";
import { sizeOf } from "../core/shape.ts";
import { cast } from "../ops/functions.ts";
import { type Settings, settle, textSetting } from "../train/settings.ts";
import type { Command } from "./command.ts";
import { deviceSetting, useDevices } from "./devices.ts";
import { type Expression, parseExpression } from "./expression.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { findOperator } from "./ops.ts";
import { Recorder, type Work } from "./recorder.ts";
import { bold } from "./terminal.ts";

const settings = {
  shapes: textSetting(
    "SHAPES",
    "shapes of the names, as in x=64x128,w=128x32; 64x64 by default",
  ),
  device: deviceSetting,
} satisfies Settings;

/** The `explain` command. */
export const command: Command = {
  summary: "show what computes an operator or an expression, with times",
  usage: "OPERATOR | EXPRESSION [FLAGS]",
  async run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("explain")}: ${command.summary}

${invocation()} explain ${command.usage}

An operator runs on the first sample of its declaration. In an expression such
as "gelu(add(mul(x, w), b))", names that are no operators are f32 tensors. Times
are those of a second run.

${settingsHelp({ Flags: settings })}`);
      return exitCodes.done;
    }
    const [text, ...more] = flags.rest;
    if (text === undefined || more.length > 0) {
      throw new UsageError(
        `explain takes one operator or expression in quotes, and was given ${flags.rest.length}`,
      );
    }
    const { shapes, device: name } = settle(settings, [fromFlags(flags)]);
    await useDevices({ device: name });
    using _explaining = new Scope();
    const expression = parseExpression(text);
    const run = expression.kind === "name"
      ? sampleRun(expression.name)
      : expressionRun(expression, parseShapes(shapes));
    const compute = () => {
      const results = [run()].flat().filter((x) => x instanceof Tensor);
      return results.map((tensor) => tensor.materialize());
    };
    compute(); // compiles kernels and makes plans
    const device = defaultDevice();
    device.synchronize();
    using recorder = new Recorder(device);
    const results = compute();
    print(text, results, recorder.end());
    return exitCodes.done;
  },
};

function print(
  text: string,
  results: readonly Tensor[],
  work: readonly Work[],
): void {
  const shapes = results.map((t) => `${t.dtype}${shapeText(t.shape)}`);
  console.log(`${bold(text)} → ${shapes.join(", ")}`);
  if (work.length === 0) {
    console.log("\nNothing runs: the result is a view.");
    return;
  }
  for (const [i, { head, program, runs }] of work.entries()) {
    const lines = [
      `${i + 1}. ${head}`,
      ...program?.split("\n") ?? [],
      ...runs.map(({ name, duration }) => `${name}: ${micro(duration)}`),
    ];
    console.log(`\n${lines.join("\n   ")}`);
  }
  const runs = work.flatMap((each) => each.runs);
  const total = runs.reduce((sum, { duration }) => sum + duration, 0);
  const { name } = defaultDevice();
  console.log(
    `\n${runs.length === 1 ? "1 run" : `${runs.length} runs`} on ${name}: ${
      micro(total)
    }`,
  );
}

function micro(microseconds: number): string {
  return `${microseconds.toFixed(1)} µs`;
}

/** Makes the operands of the first sample of an operator's declaration; what runs it on them. */
function sampleRun(name: string): () => unknown {
  const { samples, call } = findOperator(name);
  const real = (x: unknown): unknown => {
    if (Array.isArray(x)) return x.map(real);
    if (typeof x !== "object" || x === null) return x;
    const sample = x as SampleTensor;
    if (sample.sample) return sampleTensor(sample);
    return Object.fromEntries(
      Object.entries(x).map(([key, value]) => [key, real(value)]),
    );
  };
  const args = samples[0].map(real);
  return () => call(...args);
}

function sampleTensor({ data, shape, dtype }: SampleTensor): Tensor {
  const host = fromHost(Float32Array.from(data), "f32", shape);
  return (dtype === "f32" ? host : cast(host, dtype)).materialize();
}

/** What computes an expression, of operands that are made when it first runs. */
function expressionRun(
  expression: Expression,
  shapes: ReadonlyMap<string, readonly number[]>,
): () => unknown {
  const inputs = new Map<string, Tensor>();
  const input = (name: string) => {
    const shape = shapes.get(name) ?? [64, 64];
    const data = Float32Array.from(
      { length: sizeOf(shape) },
      (_, i) => (i * 0.618) % 1,
    );
    const made = inputs.get(name) ?? fromHost(data, "f32", shape);
    inputs.set(name, made);
    return made;
  };
  const value = (e: Expression): unknown => {
    switch (e.kind) {
      case "name":
        return input(e.name);
      case "value":
        return e.value;
      case "array":
        return e.items.map(value);
      case "object":
        return Object.fromEntries(e.entries.map(([k, v]) => [k, value(v)]));
      case "call":
        return findOperator(e.name).call(...e.args.map(value));
      default:
        return e satisfies never;
    }
  };
  return () => value(expression);
}

function parseShapes(text: string): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  for (const part of text.split(",").filter((p) => p.trim() !== "")) {
    const match = /^\s*(\w+)=(\d+(?:x\d+)*)?\s*$/.exec(part);
    if (match === null) {
      throw new UsageError(
        `Cannot read the shape "${part}": write x=64x128, and several with commas between them`,
      );
    }
    shapes.set(match[1], match[2]?.split("x").map(Number) ?? []);
  }
  return shapes;
}
