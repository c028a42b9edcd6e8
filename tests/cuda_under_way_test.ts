/**
 * Steps of `fit` that are asked for while the device is still at those before:
 * when the host waits, what it hears when, and that nothing happens behind a
 * step that went wrong.
 */

import { assert, assertEquals } from "@std/assert";
import { readLater } from "../core/read_later.ts";
import { CudaError } from "../ffi/errors.ts";
import {
  closeDevice,
  data,
  defaultGenerator,
  DeviceLostError,
  fromHost,
  getDevice,
  manualSeed,
  nn,
  optim,
  scope,
  setDefaultDevice,
  type Tensor,
  train,
} from "../mod.ts";
import { cudaForTests, cudaTest, onCuda } from "./cuda_host/device.ts";
import { net } from "./cuda_fit_net.ts";

const device = await cudaForTests();

/** Ten batches of eight; something may be wrong with one of them. */
function batches(bad?: "label" | "input", batch = 4) {
  const inputs = Float32Array.from({ length: 480 }, (_, i) => Math.sin(i));
  const targets = Int32Array.from({ length: 80 }, (_, i) => i % 3);
  if (bad === "label") targets[8 * batch + 1] = 7;
  if (bad === "input") inputs[6 * (8 * batch + 1)] = NaN;
  return data.arrayDataset(
    { data: inputs, shape: [80, 6], dtype: "f32" },
    { data: targets, shape: [80], dtype: "i32" },
  );
}

/** Functions that wait for work of the device. */
const waiting = /Synchronize|^cudaMemcpy$|^cudaStreamQuery$|^cudaFree/;
/** Functions that make what stays until the device is closed. */
const making =
  /^cudaEventCreate|^cudaHostAlloc|^cudaMallocHost|^cudaStreamCreate/;

for (const graph of [false, true]) {
  const how = graph ? "captured" : "plain";

  cudaTest(
    device,
    `fit: between the launches of a ${how} step and the next, the host waits for the step before the last and for nothing else`,
    () =>
      onCuda(async () => {
        const { host } = device;
        if (host === undefined) return;
        using model = net();
        using optimizer = optim.adamW(model, { lr: 0.1 });
        const asked: number[] = [], told: number[] = [];
        const waits: string[][] = [];
        let hanging = false;
        await train.fit(model, batches(), {
          ...{ optimizer, graph, epochs: 2, batchSize: 8 },
          metrics: [train.accuracy()],
          callbacks: [{
            step({ step }) {
              asked.push(step);
              const calls = host.calls();
              waits.push(calls.filter((name) => waiting.test(name)));
              host.clearCalls();
              // With the first steps, state is made, plans are chosen, and one is captured.
              if (step >= 5 && step % 10 > 3) {
                assertEquals(waits.at(-1), ["cudaEventSynchronize"]);
                // Neither events nor page-locked memory become more.
                const made = calls.filter((name) => making.test(name));
                assertEquals(made, []);
              }
              // Two whole steps are asked for while nothing of them can run.
              if (step === 16) {
                host.hang(graph ? "cudaGraphLaunch" : "cuLaunchKernel");
                hanging = true;
              }
              if (step === 18) {
                host.release();
                hanging = false;
              }
              assertEquals(told.at(-1), told.length || undefined);
            },
            measured(report) {
              told.push(report.step);
              if (hanging) assert(report.step < 17);
              // Two steps are left under way, and none at the end of an epoch.
              const behind = asked.length - report.step;
              assert(asked.length % 10 === 0 || behind === 2, `${behind}`);
              assert(Number.isFinite(report.batch.loss));
            },
          }],
        }).finally(() => host.release());
        optimizer.zeroGrad();
        assertEquals(told, Array.from({ length: 20 }, (_, i) => i + 1));
        assertEquals(asked, told);
      }),
  );

  for (const bad of ["label", "input"] as const) {
    cudaTest(
      device,
      `fit: steps that are under way behind a ${how} step with a bad ${bad} change nothing`,
      () =>
        onCuda(async () => {
          const run = async (bad: "label" | "input" | undefined) => {
            using model = net();
            using optimizer = optim.adamW(model, { lr: 0.1 });
            using average = optim.ema(model, { decay: 0.9, warmup: true });
            let asked = 0, told = 0;
            const ends = new AbortController();
            const error = await train.fit(model, batches(bad), {
              ...{ optimizer, average, graph, batchSize: 8, shuffle: false },
              signal: ends.signal,
              metrics: [train.accuracy()],
              callbacks: [{
                step() {
                  if (++asked === 4 && bad === undefined) ends.abort();
                },
                measured: () => void told++,
              }],
            }).then(() => "none", (error) => `${error}`);
            const numbers = (tensors: Record<string, Tensor>) =>
              Object.values(tensors).flatMap((t) => [...t.data()].map(Number));
            const saved = optimizer.stateDict();
            const state = {
              weights: numbers(model.stateDict()),
              moments: numbers(saved.tensors),
              averages: numbers(average.stateDict().tensors),
              counts: saved.numbers,
              iteration: saved.iteration,
              updates: average.updates,
              random: defaultGenerator().state(),
            };
            optimizer.zeroGrad();
            return { error, asked, told, state };
          };
          const good = await run(undefined);
          assertEquals([good.error, good.told], ["none", 4]);
          const stopped = await run(bad);
          assertEquals(stopped.state, good.state);
          assertEquals([stopped.asked, stopped.told], [7, 4]);
          const says = bad === "label" ? "label 7 among 3" : "NaN at step 5;";
          assert(stopped.error.includes(says), stopped.error);
        }),
    );
  }
}

cudaTest(
  device,
  "fit: numbers that are asked for right after a step are those that are told later, and those of the CPU",
  () =>
    onCuda(async () => {
      const run = async (name: string, when: "step" | "measured") => {
        setDefaultDevice(name);
        using model = net();
        using optimizer = optim.sgd(model, { lr: 0.1 });
        const seen: number[] = [];
        const result = await train.fit(model, batches(), {
          ...{ optimizer, batchSize: 8, device: name },
          metrics: [train.accuracy(), train.perplexity()],
          callbacks: [{
            [when](r: train.StepReport) {
              const { loss, accuracy, perplexity } = r.batch;
              const mean = r.metrics();
              seen.push(loss, accuracy, perplexity, mean.loss, mean.accuracy);
            },
          }],
        });
        optimizer.zeroGrad();
        return { seen, result: result.train };
      };
      const asked = await run("cuda", "step");
      assertEquals(asked.seen.length, 50);
      assertEquals(await run("cuda", "measured"), asked);
      const { seen } = await run("cpu", "step");
      seen.forEach((x, i) => assert(Math.abs(x - asked.seen[i]) < 1e-4));
    }),
);

cudaTest(
  device,
  "fit: metrics that are told of a step are of no later one, also where another callback has asked for that",
  () =>
    onCuda(async () => {
      const run = async (name: string) => {
        setDefaultDevice(name);
        using model = net();
        using optimizer = optim.sgd(model, { lr: 0.1 });
        const told: number[] = [];
        await train.fit(model, batches(), {
          ...{ optimizer, batchSize: 8, device: name },
          callbacks: [{
            step: (r) => void (r.step % 3 === 0 && r.batch),
            measured: (r) => void told.push(r.metrics().loss),
          }],
        });
        optimizer.zeroGrad();
        return told;
      };
      const told = await run("cuda");
      (await run("cpu")).forEach((x, i) =>
        assert(Math.abs(x - told[i]) < 1e-4, `step ${i + 1}: ${told[i]}, ${x}`)
      );
    }),
);

cudaTest(
  device,
  "fit: the failure of a callback or of the data is told after the steps that were under way",
  () =>
    onCuda(async () => {
      for (const where of ["callback", "data", "bad step before"] as const) {
        using model = net();
        using optimizer = optim.sgd(model, { lr: 0.1 });
        const good = batches(where === "bad step before" ? "input" : undefined);
        const told: number[] = [];
        let asked = 0;
        const error = await train.fit(model, {
          length: good.length,
          batch(indices, random) {
            if (where !== "callback" && asked === 6) throw new Error("no data");
            return good.batch(indices, random);
          },
        }, {
          ...{ optimizer, batchSize: 8, shuffle: false },
          callbacks: [{
            step() {
              if (++asked === 6 && where === "callback") throw new Error("no");
            },
            measured: ({ step }) => void told.push(step),
          }],
        }).then(() => "none", (error) => `${error}`);
        optimizer.zeroGrad();
        const bad = where === "bad step before";
        assertEquals(told, [1, 2, 3, 4, ...bad ? [] : [5, 6]]);
        const says = { callback: "no", data: "no data" };
        if (bad) assert(error.includes("NaN at step 5;"), error);
        else assertEquals(error, `Error: ${says[where]}`);
      }
    }),
);

cudaTest(
  device,
  "fit: outputs too large to be copied beside the next step are measured before it",
  () =>
    onCuda(async () => {
      manualSeed(1);
      using model = nn.linear(1, 1 << 18);
      using optimizer = optim.sgd(model, { lr: 0.1 });
      let asked = 0;
      const pairs = data.arrayDataset(
        { data: new Float32Array(15).fill(1), shape: [15, 1], dtype: "f32" },
        { data: new Int32Array(15), shape: [15], dtype: "i32" },
      );
      const result = await train.fit(model, pairs, {
        ...{ optimizer, batchSize: 5, loss: (y) => y.slice([[0, 1]]).mean() },
        metrics: [train.accuracy()],
        callbacks: [{
          step: () => void asked++,
          measured: ({ step }) => assertEquals(step, asked),
        }],
      });
      optimizer.zeroGrad();
      assertEquals([asked, result.train.accuracy], [3, 0]);
    }),
);

cudaTest(
  device,
  "evaluate: the device is waited for once, at the end, and a bad label is told",
  () =>
    onCuda(async () => {
      const { host } = device;
      using model = net();
      const metrics = [train.accuracy(), train.confusionMatrix(3)];
      const run = (bad?: "label") =>
        train.evaluate(model, batches(bad), { batchSize: 8, metrics });
      const first = await run();
      host?.clearCalls();
      assertEquals(await run(), first);
      const calls = host?.calls() ?? [];
      const waits = calls.filter((name) => name === "cudaStreamSynchronize");
      if (host !== undefined) {
        assertEquals(waits.length, 1);
        assertEquals(calls.at(-1), "cudaStreamSynchronize");
      }
      const error = await run("label").then(() => "none", (e) => `${e}`);
      assert(error.includes("label 7 among 3"), error);
      model.to("cpu");
      const cpu = await run();
      for (const [name, value] of Object.entries(cpu)) {
        assert(Math.abs(value - first[name]) < 1e-5, `${name}: ${value}`);
      }
    }),
);

/** A training in which a call fails after its sixth step was asked for; what was told, and the error. */
async function failing(graph: boolean, fail: () => void) {
  using model = net();
  using optimizer = optim.adamW(model, { lr: 0.1 });
  let asked = 0;
  const told: number[] = [];
  const error = await train.fit(model, batches(), {
    ...{ optimizer, graph, batchSize: 8 },
    metrics: [train.accuracy()],
    callbacks: [{
      step() {
        if (++asked === 6) fail();
      },
      measured: ({ step }) => void told.push(step),
    }],
  }).then(() => undefined, (error) => error);
  if (!(error instanceof DeviceLostError)) optimizer.zeroGrad();
  return { told, error };
}

for (const graph of [false, true]) {
  cudaTest(
    device,
    `fit: a call that is refused with ${
      graph ? "captured" : "plain"
    } steps under way is told after them, and nothing is left`,
    () =>
      onCuda(async () => {
        const { host } = device;
        if (host === undefined) return;
        host.quiet(true);
        const functions = [
          ...["cudaMemcpyAsync", "cudaEventRecord", "cudaEventSynchronize"],
          graph ? "cudaGraphLaunch" : "cuLaunchKernel",
        ];
        for (const name of functions) {
          for (const nth of [1, 2]) {
            const { told, error } = await failing(
              graph,
              () => host.fail({ function: name, nth, status: 1 }),
            );
            const what = `${name}, call ${nth}: ${error}`;
            assert(error instanceof CudaError, what);
            assert(error.message.includes(name), what);
            // All that were asked for before it, unless one of them could not be waited for.
            const last = name === "cudaEventSynchronize" ? 3 : 6;
            assert(told.length >= last && told.length < 10, `${what}: ${told}`);
            assertEquals(told, told.map((_, i) => i + 1));
            assertEquals(host.faultsLeft(), 0);
          }
        }
        host.quiet(false);
        const { told, error } = await failing(graph, () => {});
        assertEquals([told.length, error], [10, undefined]);
        closeDevice("cuda");
        assertEquals(host.leaks(), []);
      }),
  );
}

cudaTest(
  device,
  "fit: a device that is lost with steps under way says so at once",
  () =>
    onCuda(async () => {
      const { host } = device;
      if (host === undefined) return;
      host.quiet(true);
      const { told, error } = await failing(false, () =>
        host.fail({
          function: "cuLaunchKernel",
          nth: 3,
          status: 700,
          later: true,
        }));
      assert(error instanceof CudaError, `${error}`);
      assert(/suspects? (is|are)/.test(error.message), error.message);
      assert(told.length < 10);
      closeDevice("cuda");
      host.reset();
      host.quiet(false);
      host.clearViolations();
      const again = await failing(false, () => {});
      assertEquals([again.told.length, again.error], [10, undefined]);
    }),
);

cudaTest(
  device,
  "reads that are waited for later tell what the memory held when they were queued",
  () => {
    const values = [[1, 2, 3], [4, 5, 6], [7, 8, 9]];
    const reads = values.map((row) =>
      scope(() => {
        const options = { device: "cuda" };
        const x = fromHost(Float32Array.from(row), "f32", [3], options);
        const y = x.mul(2);
        return readLater([y, x.slice([[1, 3]]), x.slice([[0, 0]])]);
      })
    );
    // What comes next uses their memory again.
    scope(() => {
      const options = { device: "cuda" };
      fromHost(new Float32Array(3), "f32", [3], options).add(9).materialize();
    });
    reads[1][Symbol.dispose]();
    for (const i of [2, 0]) {
      const [y, x, none] = reads[i].wait();
      const numbers = (bytes: Uint8Array<ArrayBuffer>) => [
        ...new Float32Array(bytes.buffer),
      ];
      assertEquals(numbers(y), values[i].map((v) => 2 * v));
      assertEquals(numbers(x), values[i].slice(1));
      assertEquals(none.length, 0);
    }
    let error = "none";
    try {
      reads[0].wait();
    } catch (e) {
      error = `${e}`;
    }
    assertEquals(error, "TypeError: Cannot wait twice for one read");
    assertEquals(getDevice("cpu").readLater, undefined);
  },
);
