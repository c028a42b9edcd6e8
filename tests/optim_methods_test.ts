/**
 * Every optimizer over 20 steps: PyTorch's against PyTorch in double
 * precision, Caffe2's own against its formulas in NumPy, the others against
 * their formula written out on plain numbers.
 */

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { fromHost, type Tensor } from "../mod.ts";
import * as optim from "../optim/mod.ts";
import { ROOT } from "../tools/files.ts";
import { goldenNames, goldenOptimizer, kept } from "./optim_golden.ts";

const shapes = [[2, 3], [4]];

// As in tests/golden/optim/make.py.
function noise(step: number, parameter: number, i: number): number {
  return ((i * 37 + step * 11 + parameter * 17) % 23 - 11) / 16;
}

function first(parameter: number, size: number): number[] {
  return Array.from(
    { length: size },
    (_, i) => ((i * 29 + parameter * 13) % 19 - 9) / 8,
  );
}

type DType = "f32" | "f64";

function host(data: ArrayLike<number>, dtype: DType) {
  return dtype === "f64" ? Float64Array.from(data) : Float32Array.from(data);
}

function start(dtype: DType): Tensor[] {
  return shapes.map((shape, p) =>
    fromHost(
      host(first(p, shape.reduce((a, b) => a * b)), dtype),
      dtype,
      shape,
      { requiresGrad: true },
    )
  );
}

function gradientOf(w: ArrayLike<number | bigint>, step: number, p: number) {
  return Array.from(w, (x, i) => Number(x) / 2 + noise(step, p, i));
}

type Make = (parameters: Tensor[]) => optim.Optimizer;

/** Parameters after each step, flat. */
function run(make: Make, dtype: DType, clip?: number): number[][] {
  const parameters = start(dtype);
  using optimizer = make(parameters);
  return Array.from({ length: kept.at(-1)! }, (_, n) => {
    parameters.forEach((w, p) => {
      const g = gradientOf(w.data(), n + 1, p);
      w.grad = fromHost(host(g, dtype), dtype, w.shape);
    });
    if (clip !== undefined) optim.clipGradNorm(parameters, clip);
    optimizer.step();
    return parameters.flatMap((w) => Array.from(w.data(), Number));
  });
}

function near(actual: number[], expected: number[], bound: number): void {
  assertEquals(actual.length, expected.length);
  actual.forEach((x, i) => {
    assertAlmostEquals(x, expected[i], bound * (1 + Math.abs(expected[i])));
  });
}

const torch: Record<string, Make> = {
  "sgd": (p) => optim.sgd(p, { lr: 0.1 }),
  "sgd decay": (p) => optim.sgd(p, { lr: 0.1, weightDecay: 0.05 }),
  "sgd momentum": (p) =>
    optim.sgd(p, {
      lr: 0.1,
      momentum: 0.9,
      dampening: 0.3,
      weightDecay: 0.01,
    }),
  "sgd nesterov": (p) =>
    optim.sgd(p, { lr: 0.1, momentum: 0.9, nesterov: true }),
  "sgd clipGradNorm": (p) => optim.sgd(p, { lr: 0.1, momentum: 0.9 }),
  "adagrad": (p) =>
    optim.adagrad(p, { lr: 0.1, lrDecay: 0.01, initialAccumulator: 0.2 }),
  "adadelta": (p) =>
    optim.adadelta(p, { lr: 0.5, rho: 0.8, weightDecay: 0.01 }),
  "rmsProp": (p) => optim.rmsProp(p, { lr: 0.05 }),
  "rmsProp centered": (p) =>
    optim.rmsProp(p, {
      lr: 0.05,
      alpha: 0.9,
      momentum: 0.8,
      centered: true,
      eps: 1e-4,
    }),
  "adam": (p) => optim.adam(p, { lr: 0.05 }),
  "adam amsgrad": (p) =>
    optim.adam(p, {
      lr: 0.05,
      beta1: 0.8,
      beta2: 0.9,
      amsgrad: true,
      weightDecay: 0.1,
    }),
  "adamW": (p) => optim.adamW(p, { lr: 0.05 }),
  "adamW decay": (p) =>
    optim.adamW(p, { lr: 0.05, weightDecay: 0.3, eps: 1e-3 }),
  "adamax": (p) => optim.adamax(p, { lr: 0.05, weightDecay: 0.01 }),
  "nAdam": (p) => optim.nAdam(p, { lr: 0.05 }),
  "nAdam decay": (p) =>
    optim.nAdam(p, { lr: 0.05, momentumDecay: 0.1, weightDecay: 0.01 }),
  "rAdam": (p) => optim.rAdam(p, { lr: 0.05 }),
  "rAdam short": (p) => optim.rAdam(p, { lr: 0.05, beta1: 0.8, beta2: 0.95 }),
};

const caffe2: Record<string, Make> = {
  "rowWiseAdam": (p) => optim.rowWiseAdam(p, { lr: 0.05 }),
  "rowWiseAdam short": (p) =>
    optim.rowWiseAdam(p, { lr: 0.05, beta1: 0.8, beta2: 0.9, eps: 1e-2 }),
  "storm": (p) => optim.storm(p),
  "storm slow": (p) =>
    optim.storm(p, {
      lr: 0.3,
      momentum: 3,
      beta: 0.5,
      initialAccumulator: 0.2,
    }),
  "gFtrl": (p) => optim.gFtrl(p, { lr: 0.2, beta: 0.1, l1: 0.4, l2: 0.05 }),
  "gFtrl sparse": (p) => optim.gFtrl(p, { lr: 0.5, beta: 0.1, l1: 1.5 }),
  "decayAdagrad": (p) => optim.decayAdagrad(p, { lr: 0.1 }),
  "decayAdagrad decay": (p) =>
    optim.decayAdagrad(p, {
      lr: 0.1,
      beta1: 0.9,
      eps: 1e-3,
      weightDecay: 0.05,
    }),
  "decayAdagrad plain": (p) =>
    optim.decayAdagrad(p, { lr: 0.1, beta1: 0.9, biasCorrection: false }),
};

for (
  const [kind, whose, makers] of [
    ["optimizer", "PyTorch's", torch],
    ["caffe2", "Caffe2's", caffe2],
  ] as const
) {
  Deno.test(`every golden optimizer is compared with ${whose}`, () => {
    assertEquals(Object.keys(makers).sort(), goldenNames(kind).sort());
  });

  for (const [name, make] of Object.entries(makers)) {
    Deno.test(`${name} takes ${whose} steps`, () => {
      const expected = goldenOptimizer(kind, name);
      const clip = name.endsWith("clipGradNorm") ? 0.5 : undefined;
      // The learning rate and its like are exact in f64 kernels; f32 kernels round them.
      for (const [dtype, bound] of [["f64", 1e-9], ["f32", 2e-5]] as const) {
        const steps = run(make, dtype, clip);
        kept.forEach((step, i) => near(steps[step - 1], expected[i], bound));
      }
    });
  }
}

/** An optimizer on plain numbers: updates `w` in place, `s` is its memory of one parameter. */
type Plain = (
  w: number[],
  g: number[],
  t: number,
  s: Record<string, number[]>,
) => void;

function runPlain(plain: Plain): number[][] {
  const parameters = shapes.map((shape, p) =>
    first(p, shape.reduce((a, b) => a * b))
  );
  const memories = parameters.map((): Record<string, number[]> => ({}));
  return Array.from({ length: kept.at(-1)! }, (_, n) => {
    parameters.forEach((w, p) =>
      plain(w, gradientOf(w, n + 1, p), n + 1, memories[p])
    );
    return parameters.flat();
  });
}

const norm = (x: number[]) => Math.hypot(...x);
const zeros = (x: number[]) => x.map(() => 0);

function caffeMomentum(nesterov: boolean): Plain {
  return (w, g, _, s) => {
    const v = s.v ??= zeros(w);
    w.forEach((_, i) => {
      const next = 0.9 * v[i] + 0.1 * g[i];
      w[i] -= nesterov ? 1.9 * next - 0.9 * v[i] : next;
      v[i] = next;
    });
  };
}

const formulas: Record<string, [Make, Plain]> = {
  "momentumSgd": [
    (p) => optim.momentumSgd(p, { lr: 0.1 }),
    caffeMomentum(false),
  ],
  "nesterov": [(p) => optim.nesterov(p, { lr: 0.1 }), caffeMomentum(true)],
  "adagrad with decay": [
    (p) => optim.adagrad(p, { lr: 0.1, decay: 0.9, eps: 1e-4 }),
    (w, g, _, s) => {
      const h = s.h ??= zeros(w);
      w.forEach((_, i) => {
        h[i] = 0.9 * h[i] + g[i] ** 2;
        w[i] -= 0.1 * g[i] / (Math.sqrt(h[i]) + 1e-4);
      });
    },
  ],
  "rowWiseAdagrad": [
    (p) => optim.rowWiseAdagrad(p, { lr: 0.1, initialAccumulator: 0.1 }),
    (w, g, _, s) => {
      const rows = w.length === 6 ? 2 : 4;
      const width = w.length / rows;
      const h = s.h ??= Array(rows).fill(0.1);
      for (let r = 0; r < rows; r++) {
        const row = g.slice(r * width, (r + 1) * width);
        h[r] += row.reduce((sum, x) => sum + x * x, 0) / width;
        row.forEach((x, c) => {
          w[r * width + c] -= 0.1 * x / (Math.sqrt(h[r]) + 1e-4);
        });
      }
    },
  ],
  "rmsProp as Caffe2": [
    (p) =>
      optim.rmsProp(p, {
        lr: 0.05,
        alpha: 0.9,
        momentum: 0.5,
        eps: 1e-2,
        form: "caffe2",
      }),
    (w, g, _, s) => {
      const ms = s.ms ??= zeros(w), mom = s.mom ??= zeros(w);
      w.forEach((_, i) => {
        ms[i] += 0.1 * (g[i] ** 2 - ms[i]);
        mom[i] = 0.5 * mom[i] + g[i] / Math.sqrt(1e-2 + ms[i]);
        w[i] -= 0.05 * mom[i];
      });
    },
  ],
  "adam as Caffe2": [
    (p) => optim.adam(p, { lr: 0.05, eps: 1e-2, form: "caffe2" }),
    (w, g, iteration, s) => {
      const m = s.m ??= zeros(w), v = s.v ??= zeros(w);
      const t = iteration + 1;
      const rate = 0.05 * Math.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t);
      w.forEach((_, i) => {
        m[i] = 0.9 * m[i] + 0.1 * g[i];
        v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2;
        w[i] -= rate * m[i] / (Math.sqrt(v[i]) + 1e-2);
      });
    },
  ],
  "ftrl": [
    (p) => optim.ftrl(p, { lr: 0.2, beta: 0.1, l1: 0.4, l2: 0.05 }),
    (w, g, _, s) => {
      const n = s.n ??= zeros(w), z = s.z ??= zeros(w);
      w.forEach((_, i) => {
        const next = n[i] + g[i] ** 2;
        z[i] += g[i] - (Math.sqrt(next) - Math.sqrt(n[i])) / 0.2 * w[i];
        n[i] = next;
        w[i] = Math.abs(z[i]) <= 0.4 ? 0 : (0.4 * Math.sign(z[i]) - z[i]) /
          ((0.1 + Math.sqrt(next)) / 0.2 + 0.05);
      });
    },
  ],
  "lion": [
    (p) => optim.lion(p, { lr: 0.03, weightDecay: 0.1 }),
    (w, g, _, s) => {
      const m = s.m ??= zeros(w);
      w.forEach((_, i) => {
        const c = 0.9 * m[i] + 0.1 * g[i];
        w[i] -= 0.03 * (Math.sign(c) + 0.1 * w[i]);
        m[i] = 0.99 * m[i] + 0.01 * g[i];
      });
    },
  ],
  "lars": [
    (p) =>
      optim.lars(p, { lr: 0.1, trust: 0.5, offset: 0.25, weightDecay: 0.02 }),
    (w, g, _, s) => {
      const v = s.v ??= zeros(w);
      const rate = 0.1 * 0.5 / (norm(g) / norm(w) + 0.02 + 0.25);
      w.forEach((_, i) => {
        v[i] = 0.9 * v[i] + rate * (g[i] + 0.02 * w[i]);
        w[i] -= v[i];
      });
    },
  ],
  "lamb": [
    (p) => optim.lamb(p, { lr: 0.05, weightDecay: 0.02 }),
    (w, g, t, s) => {
      const m = s.m ??= zeros(w), v = s.v ??= zeros(w);
      const r = w.map((x, i) => {
        m[i] = 0.9 * m[i] + 0.1 * g[i];
        v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2;
        return m[i] / (1 - 0.9 ** t) /
            (Math.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-6) + 0.02 * x;
      });
      const trust = norm(w) / norm(r);
      w.forEach((_, i) => w[i] -= 0.05 * trust * r[i]);
    },
  ],
  "wnGrad": [
    (p) => optim.wnGrad(p, { lr: 1, initial: 2 }),
    (w, g, _, s) => {
      const b = s.b ??= [2];
      w.forEach((_, i) => w[i] -= g[i] / (b[0] + 1e-9));
      b[0] += norm(g) ** 2 / (b[0] + 1e-9);
    },
  ],
  "yellowFin": [(p) => optim.yellowFin(p, yellow), plainYellowFin(false)],
  "yellowFin nesterov": [
    (p) => optim.yellowFin(p, { ...yellow, nesterov: true }),
    plainYellowFin(true),
  ],
};

/** Caffe2's operator, step by step, with its names. */
function plainYellowFin(nesterov: boolean): Plain {
  const { beta, window, eps } = { beta: 0.9, window: 5, eps: 1e-6 };
  return (w, g, iter, s) => {
    const moment = s.moment ??= zeros(w), gAvg = s.gAvg ??= zeros(w);
    const tuned = s.tuned ??= [0.1, 0.2];
    const memory = s.memory ??= [0, 0, 0, 0, 0];
    const curvWin = s.curvWin ??= Array(window).fill(0);
    const debias = 1 / (1 - beta ** iter);
    const average = (list: number[], i: number, x: number) => {
      list[i] = beta * list[i] + (1 - beta) * x;
      return list[i] * debias;
    };
    const [lr, mu] = tuned;
    w.forEach((_, i) => {
      const before = moment[i];
      moment[i] = mu * before + lr * g[i];
      w[i] -= nesterov ? (1 + mu) * moment[i] - mu * before : moment[i];
    });
    const gDeb = g.map((x, i) => average(gAvg, i, x));
    const norm2 = Math.max(eps, norm(g) ** 2);
    average(memory, 0, Math.sqrt(norm2));
    const norm2Deb = average(memory, 1, norm2);
    curvWin[(iter - 1) % window] = Math.log(norm2);
    const seen = curvWin.slice(0, Math.min(window, iter));
    const least = Math.max(
      eps,
      Math.exp(average(memory, 2, Math.min(...seen))),
    );
    const most = Math.max(
      eps,
      Math.exp(average(memory, 3, Math.max(...seen))),
    );
    const variance = Math.max(eps, norm2Deb - norm(gDeb) ** 2);
    const distance = average(memory, 4, memory[0] / memory[1]);
    if (iter === 1) return;
    const ratio = Math.sqrt(most / least);
    const limit = (ratio - 1) / (ratio + 1);
    const p = (distance * least) ** 2 / (2 * variance);
    // The root in [0, 1] of p·x = (1 − x)³, by bisection.
    let low = 0, high = 1;
    for (let n = 0; n < 200; n++) {
      const x = (low + high) / 2;
      if (p * x < (1 - x) ** 3) low = x;
      else high = x;
    }
    const nextMu = Math.max(low ** 2, limit ** 2);
    average(tuned, 1, nextMu);
    average(tuned, 0, (1 - Math.sqrt(nextMu)) ** 2 / least);
  };
}

const yellow = { lr: 0.1, momentum: 0.2, beta: 0.9, window: 5 };

for (const [name, [make, plain]] of Object.entries(formulas)) {
  Deno.test(`${name} follows its formula`, () => {
    const expected = runPlain(plain);
    for (const [dtype, bound] of [["f64", 1e-9], ["f32", 1e-4]] as const) {
      run(make, dtype).forEach((w, n) => near(w, expected[n], bound));
    }
    assert(norm(expected[0].map((x, i) => x - expected[19][i])) > 0.01);
  });
}

Deno.test("every method is covered", () => {
  const covered = [torch, caffe2, formulas].flatMap(Object.keys)
    .map((name) => name.split(" ")[0]);
  assertEquals(
    [...optim.methods.keys()].filter((name) => !covered.includes(name)),
    [],
  );
});

Deno.test("the page of optimizers and the README count and name them all", async () => {
  const names = [...optim.methods.keys()];
  const page = await Deno.readTextFile(`${ROOT}/docs/optimizers.md`);
  const rows = page.split("\n").flatMap((line) =>
    line.match(/^\| `(\w+)` +\|/)?.[1] ?? []
  );
  assertEquals(rows.filter((name) => !name.includes("_")), names);
  const readme = await Deno.readTextFile(`${ROOT}/README.md`);
  assertEquals(readme.match(/\[(\d+) optimizers\]/)?.[1], `${names.length}`);
  const train = await Deno.readTextFile(`${ROOT}/docs/commands/train.md`);
  const refused = train.match(/beyond its rule \(([^)]*)\)/)?.[1];
  assertEquals(
    [...refused?.matchAll(/`(\w+)`/g) ?? []].map(([, name]) => name).sort(),
    names.filter((name) => optim.methods.get(name)!.computes).sort(),
  );
});
