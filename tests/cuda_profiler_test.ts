/**
 * The profiler on CUDA: each launch, library call and copy is in the lane of
 * its stream with its own time, and under what asked for it; nothing of what
 * runs changes.
 */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  backward,
  crossEntropy,
  data,
  DeviceLostError,
  getDevice,
  nn,
  optim,
  Profiler,
  rand,
  randint,
  scope,
  type Tensor,
  tensor,
  train,
} from "../mod.ts";
import { captureGraph } from "../core/capture.ts";
import { closeDevice } from "../core/device.ts";
import type { Profile } from "../core/profile.ts";
import { Recorder } from "../cli/recorder.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { CudaError } from "../ffi/errors.ts";
import * as dist from "../dist/mod.ts";
import { cudaForTests, cudaTest } from "./cuda_host/device.ts";
import { holds, type Slice, slicesOf } from "./trace_checks.ts";

const device = await cudaForTests();
const { host } = device;
/** Faults and waits at will are for the stand-ins. */
const standIns = host === undefined && device.absent === undefined
  ? { absent: "on a real GPU the stand-ins are left out" }
  : device;

const cuda = () => getDevice("cuda") as CudaDevice;

/** The slices of a profile on CUDA. */
function slices(profile: Profile): Slice[] {
  return slicesOf(profile.trace(), (lane) => lane.startsWith("cuda"));
}

/** What ran on streams of the device. */
function ran(profile: Profile): string[] {
  return profile.events.filter((e) => e.kind === "device").map((e) => e.name);
}

/** The slice of that name in the lane; there must be one only. */
function only(all: readonly Slice[], lane: string, name: string): Slice {
  const found = all.filter((s) => s.lane === lane && s.name.startsWith(name));
  assertEquals(found.length, 1, `${name} in ${lane}: ${JSON.stringify(all)}`);
  return found[0];
}

/** A slice of the host with that name around the slice. */
function under(all: readonly Slice[], inner: Slice, name: string): void {
  assert(
    all.some((s) => s.name === name && s !== inner && holds(s, inner)),
    `${inner.name} is not under ${name}: ${JSON.stringify(all)}`,
  );
}

/** Random numbers on the device, already computed. */
function ready(shape: number[]): Tensor {
  return rand(shape, { device: "cuda" }).materialize();
}

cudaTest(
  device,
  "profiler: recurrent networks run as without it, and are named under what asks for them",
  () => {
    using lstm = nn.lstm(8, 8, { device: "cuda" });
    scope(() => {
      const x = ready([4, 2, 8]);
      const values = () => scope(() => [lstm.forward(x)].flat()[0]!.toArray());
      const plain = values();
      const profiler = new Profiler([cuda()]);
      assertEquals(values(), plain);
      const all = slices(profiler.stop());
      const call = only(all, "calls of cuda:0", "cudnnRNNForward (lstm)");
      under(all, call, "recurrent forward");
      const group = only(all, "calls of cuda:0", "recurrent forward");
      // The host's clock is one: lanes may be compared.
      under(all, group, "lstm");
      const run = only(all, "cuda:0 compute", "cudnnRNNForward (lstm)");
      assertEquals(run.detail, "recurrent forward");
    });
  },
);

cudaTest(
  device,
  "profiler: launches of many tensors at once are under what asks for them",
  () => {
    using model = nn.sequential(
      nn.linear(4, 8, { device: "cuda" }),
      nn.linear(8, 3, { device: "cuda" }),
    );
    using optimizer = optim.sgd(model, { lr: 0.1 });
    const labels = randint(0, 3, [5], { device: "cuda" });
    scope(() => {
      backward(crossEntropy(model.forward(ready([5, 4])), labels));
      const profiler = new Profiler([cuda()]);
      optimizer.step();
      const all = slices(profiler.stop());
      const calls = all.filter((s) =>
        s.category === "queued" && s.name === "elements_of_many"
      );
      assert(calls.length > 0, JSON.stringify(all));
      for (const call of calls) under(all, call, "update sgd");
    });
    optimizer.zeroGrad();
    labels.dispose();
  },
);

cudaTest(device, "profiler: a graph may be captured and run meanwhile", () => {
  scope(() => {
    const x = rand([32, 32], { device: "cuda" }).materialize();
    scope(() => void x.matmul(x).data());
    const profiler = new Profiler([cuda()]);
    using graph = captureGraph(cuda(), [x], () => {
      scope(() => void x.matmul(x).materialize());
    });
    graph.replay();
    assertEquals(ran(profiler.stop()), ["graph"]);
  });
});

cudaTest(
  device,
  "profiler: calls that queue nothing have no time, and are no suspects",
  () => {
    scope(() => {
      const x = ready([7, 7]);
      cuda().synchronize();
      const profiler = new Profiler([cuda()]);
      x.matmul(x).materialize(); // its algorithm is asked for first
      assertEquals(
        cuda().gpu.faults.suspects(),
        "the suspect is cublasLtMatmul",
      );
      assertEquals(ran(profiler.stop()), ["cublasLtMatmul"]);
    });
  },
);

cudaTest(
  standIns,
  "profiler: an upload beside compute has the copy stream's time",
  () => {
    scope(() => {
      const x = ready([8]);
      scope(() => x.exp().data());
      const profiler = new Profiler([cuda()]);
      host!.hang("cudaMemcpyAsync");
      const y = tensor(new Float32Array(1 << 17), { device: "cuda" });
      x.exp().materialize();
      cuda().synchronize(); // compute is done, the upload is not
      host!.release();
      y.exp().materialize();
      const all = slices(profiler.stop());
      const upload = only(all, "cuda:0 copies", "upload");
      const [before, after, ...more] = all.filter((s) =>
        s.lane === "cuda:0 compute"
      );
      assertEquals(more, []);
      assert(before.end <= upload.end, JSON.stringify(all));
      assert(upload.end <= after.start, JSON.stringify(all));
    });
  },
);

cudaTest(standIns, "profiler: collectives have their own stream's time", () => {
  host!.devices(2);
  try {
    using group = dist.processGroup(["cuda:0", "cuda:1"]);
    scope(() => {
      const [x, ...rest] = ["cuda:0", "cuda:1"].map((name) =>
        rand([64], { device: name }).materialize()
      );
      const profiler = new Profiler();
      host!.hang("ncclAllReduce");
      const work = group.allReduce([x, ...rest]);
      x.exp().materialize();
      cuda().synchronize(); // compute is done, the collective is not
      host!.release();
      work.wait();
      const all = slices(profiler.stop());
      const reduce = only(all, "cuda:0 collectives", "ncclAllReduce");
      const [exp] = all.filter((s) =>
        s.lane === "cuda:0 compute" && s.detail === "exp"
      );
      assert(exp.end <= reduce.end, JSON.stringify(all));
      const wait = only(all, "cuda:0 compute", "wait for collectives");
      assert(wait.end >= reduce.end, JSON.stringify(all));
      only(all, "cuda:1 collectives", "ncclAllReduce");
    });
  } finally {
    closeDevice("cuda:1");
    host!.devices(1);
  }
});

cudaTest(
  standIns,
  "profiler: each group has a lane, and collectives that wait for others are left out",
  () => {
    try {
      using first = dist.processGroup(["cuda:0"]);
      using second = dist.processGroup(["cuda:0"]);
      scope(() => {
        const x = ready([64]);
        const profiler = new Profiler([cuda()]);
        first.allReduce([x]).wait();
        second.broadcast([x]).wait();
        host!.hang("ncclAllReduce");
        const work = first.allReduce([x]);
        const all = slices(profiler.stop());
        only(all, "cuda:0 collectives", "ncclAllReduce");
        only(all, "cuda:0 collectives 2", "ncclBroadcast");
        const { faults } = cuda().gpu;
        assertEquals(faults.suspects(), "the suspect is ncclAllReduce");
        host!.release();
        work.finishSync();
        cuda().synchronize();
        assertEquals(faults.suspects(), "no call was under way");
      });
    } finally {
      host!.release();
    }
  },
);

cudaTest(
  standIns,
  "profiler: slices do not overlap, however long it runs",
  () => {
    const minutes = 60_000;
    scope(() => {
      const x = ready([8]);
      const profiler = new Profiler([cuda()]);
      // Floats of 32 bits tell such times to a thirtieth of a millisecond.
      host!.pass(10 * minutes);
      for (let i = 0; i < 30; i++) scope(() => void x.exp().materialize());
      const compute = slices(profiler.stop());
      const runs = compute.filter((s) => s.lane === "cuda:0 compute");
      assertEquals(runs.length, 30);
      // Each has a time of its own, to nanoseconds.
      assert(new Set(runs.map((s) => s.start)).size === 30);
      assert(runs.some((s) => (s.end - s.start) % 1000 !== 0));
    });
  },
);

/** Calls of the libraries that put work on a stream. */
const queueing =
  /^(cuLaunchKernel|cudaMemcpyAsync|cublasLtMatmul|cudnnBackendExecute|cudnnRNN(Forward|Backward).*)$/;

cudaTest(
  standIns,
  "explain: every launch, library call and copy is listed, with its time",
  () => {
    using lstm = nn.lstm(4, 4, { device: "cuda" });
    using conv = nn.conv2d(2, 3, 3, { device: "cuda" });
    using words = nn.embedding(10, 4, { device: "cuda" });
    scope(() => {
      const x = ready([6, 2, 4]), image = ready([1, 2, 8, 8]);
      const labels = randint(0, 10, [5], { device: "cuda" }).materialize();
      const bodies = {
        lstm: () => [lstm.forward(x)].flat()[0]!.materialize(),
        conv: () => conv.forward(image).relu().sum().materialize(),
        embedding: () => words.forward(labels).materialize(),
        product: () => x.matmul(x.transpose(1, 2)).softmax(2).data(),
        sort: () => image.sort(3)[0].cumSum(3).materialize(),
        upload: () => x.add(tensor([1, 2, 3, 4], { device: "cuda" })).data(),
      };
      for (const [name, body] of Object.entries(bodies)) {
        scope(() => void body()); // makes plans
        host!.clearCalls();
        const recorder = new Recorder(cuda());
        scope(() => void body());
        const runs = recorder.end().flatMap((work) => work.runs);
        const calls = host!.calls().filter((call) => queueing.test(call));
        assertEquals(runs.length, calls.length, `${name}: ${calls}`);
        for (const [i, run] of runs.entries()) {
          assert(run.duration > 0, `${name}: ${run.name}`);
          if (/^c(udnn|ublas)/.test(calls[i])) {
            assertEquals(run.name.split(" ")[0], calls[i], name);
          }
        }
      }
    });
  },
);

cudaTest(standIns, "profiler: a call that was refused is left out", () => {
  scope(() => {
    const x = ready([8]);
    x.exp().materialize();
    const profiler = new Profiler([cuda()]);
    host!.fail({ function: "cuLaunchKernel", nth: 1, status: 1 });
    assertThrows(() => x.exp().materialize());
    x.exp().materialize();
    assertEquals(ran(profiler.stop()), ["elements"]);
  });
});

cudaTest(
  device,
  "tracing: fit on CUDA has a lane for operators, calls, compute and copies",
  async () => {
    const width = 1024; // of enough bytes to be copied beside compute
    const examples = data.arrayDataset(
      { data: new Float32Array(20 * width), shape: [20, width], dtype: "f32" },
      { data: new Int32Array(20), shape: [20], dtype: "i32" },
    );
    using model = nn.linear(width, 2, { device: "cuda" });
    using optimizer = optim.adamW(model, { lr: 0.01 });
    const folder = await Deno.makeTempDir();
    const path = `${folder}/trace.json`;
    const tables: string[] = [];
    const table = (text: string) => void tables.push(text);
    try {
      await train.fit(model, examples, {
        optimizer,
        batchSize: 20,
        epochs: 4,
        callbacks: [train.tracing(path, { after: 2, steps: 1, table })],
      });
      const text = await Deno.readTextFile(path);
      const all = slicesOf(text, (lane) => lane.startsWith("cuda"));
      assertEquals([...new Set(all.map((s) => s.lane))].sort(), [
        "calls of cuda:0",
        "cuda:0 compute",
        "cuda:0 copies",
        "operators",
      ]);
      assertMatch(tables[0], /^elements.* for update adam/m);
    } finally {
      optimizer.zeroGrad();
      await Deno.remove(folder, { recursive: true });
    }
  },
);

cudaTest(
  standIns,
  "profiler: of a device that is lost the host's part is kept, and nothing stays watched",
  () => {
    const watched = () => Object.hasOwn(cuda(), "launch");
    try {
      scope(() => {
        const x = ready([8]);
        x.exp().data();
        const profiler = new Profiler([cuda()]);
        const fault = { function: "cuLaunchKernel", nth: 1, status: 700 };
        host!.fail({ ...fault, later: true });
        assertThrows(() => x.exp().data(), CudaError);
        const { events } = profiler.stop();
        assert(!watched());
        assertEquals(ran(profiler.stop()), []);
        assert(events.some((e) => e.kind === "host" && e.name === "exp"));
        assertThrows(() => new Profiler([cuda()]), DeviceLostError);
        assert(!watched());
      });
      closeDevice("cuda");
      host!.reset();
      scope(() => {
        const x = ready([8]);
        const profiler = new Profiler([cuda()]);
        const fault = { function: "cuLaunchKernel", nth: 1, status: 700 };
        host!.fail({ ...fault, later: true });
        assertThrows(
          () => {
            x.exp().materialize(); // may find it, or else
            profiler.stop();
          },
          CudaError,
          "the suspect is elements",
        );
        assertEquals(ran(profiler.stop()), []);
        assert(!watched());
      });
    } finally {
      closeDevice("cuda");
      host!.reset();
    }
  },
);
