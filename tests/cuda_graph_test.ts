/**
 * Captured graphs on CUDA: a replayed step is the step, with the numbers of its
 * turn; what a graph would silently get wrong is refused.
 */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import {
  autocast,
  backward,
  captureGraph,
  crossEntropy,
  dropout,
  fromHost,
  getDevice,
  GraphError,
  IndexError,
  manualSeed,
  nn,
  optim,
  Profiler,
  rand,
  scope,
  type Tensor,
  tensor,
} from "../mod.ts";
import { cudaForTests, cudaTest, onCuda } from "./cuda_host/device.ts";

const device = await cudaForTests();

cudaTest(
  device,
  "graph: a check that fails as the graph is freed leaves nothing behind",
  () =>
    onCuda(() => {
      const x = rand([4, 5]).materialize();
      const labels = tensor([7, 0, 0, 0], { dtype: "i32" });
      let y: Tensor | undefined;
      const cuda = getDevice("cuda");
      const graph = captureGraph(cuda, [x], () => {
        scope((): Tensor => y = crossEntropy(x, labels).materialize());
      });
      graph.replay();
      device.host?.clearCalls();
      assertThrows(() => graph[Symbol.dispose](), IndexError, "label 7");
      if (device.host !== undefined) {
        assert(device.host.calls().includes("cudaGraphDestroy"));
      }
      for (const t of [x, labels, y!]) t.dispose();
    }),
);

cudaTest(
  device,
  "graph: large blocks that a step is done with stay until the graph is freed",
  () =>
    onCuda(() => {
      const cuda = getDevice("cuda");
      const x = tensor([1, 2, 3, 4]).materialize();
      const y = tensor([0, 0, 0, 0]).materialize();
      const [from, to] = [x, y].map(({ value }) => value.storage);
      device.host?.clearCalls();
      {
        using graph = captureGraph(cuda, [x, y], () => {
          // More than would be kept outside of a graph.
          for (const mebibytes of [200, 220, 240, 260]) {
            const between = cuda.allocate(mebibytes << 20);
            cuda.copy!(between, 0, from, 0, from.bytes);
            cuda.copy!(to, 0, between, 0, from.bytes);
            between.release();
          }
        });
        graph.replay();
        assertEquals(y.toArray(), [1, 2, 3, 4]);
        const freed = device.host?.calls().includes("cudaFree");
        assertEquals(freed ?? false, false);
      }
      if (device.host !== undefined) {
        const calls = device.host.calls().filter((c) => c === "cudaFree");
        assertEquals(calls.length, 4);
      }
      for (const t of [x, y]) t.dispose();
    }),
);

cudaTest(
  device,
  "graph: a capture converts parameters for autocast itself, whatever was converted before and comes after",
  () =>
    onCuda(() => {
      manualSeed(1);
      using model = nn.linear(4, 3);
      using optimizer = optim.sgd(model, { lr: 0.5 });
      const x = rand([2, 4]).materialize();
      scope(() => backward(model.forward(x).sum()));
      scope((): Tensor[] =>
        autocast("bf16", () => {
          const before = model.forward(x).to("f32").data();
          let y: Tensor | undefined;
          const device = getDevice("cuda");
          using graph = captureGraph(device, model.parameters(), () => {
            y = model.forward(x).to("f32").materialize();
          });
          assertEquals(model.forward(x).to("f32").data(), before);
          optimizer.step();
          graph.replay();
          const after = model.forward(x).to("f32").data();
          assertNotEquals(after, before);
          assertEquals(y!.data(), after);
          return [];
        })
      );
      optimizer.zeroGrad();
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: a replay is one call, however many kernels it has",
  () =>
    onCuda(() => {
      const x = rand([4, 5]).materialize();
      let y: Tensor | undefined;
      using graph = captureGraph(getDevice("cuda"), [x], () => {
        scope((): Tensor =>
          y = x.softmax(-1).matmul(x.transpose()).exp().materialize()
        );
      });
      assert(graph.size >= 3, `${graph.size} nodes`);
      graph.replay();
      const expected = scope(() =>
        x.softmax(-1).matmul(x.transpose()).exp().data()
      );
      assertEquals(y!.data(), expected);
      device.host?.clearCalls();
      graph.replay();
      if (device.host !== undefined) {
        assertEquals(
          device.host.calls().filter((call) =>
            call.startsWith("cudaGraphLaunch")
          )
            .length,
          1,
        );
        assertEquals(
          device.host.calls().filter((call) =>
            call.startsWith("cuLaunchKernel")
          ),
          [],
        );
      }
      y!.dispose();
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: random numbers move on from run to run, also when they are drawn again",
  () =>
    onCuda(() => {
      const x = fromHost(new Float32Array(64).fill(1), "f32", [64], {
        requiresGrad: true,
      });
      const step = () => {
        const y = dropout(x, 0.5);
        backward(y.sum());
        return y;
      };
      manualSeed(11);
      const plain = [1, 2, 3].map(() =>
        scope(() => {
          const y = step();
          const seen = [[...y.data() as Float32Array], [
            ...x.grad!.data() as Float32Array,
          ]];
          x.grad!.dispose();
          x.grad = undefined;
          return seen;
        })
      );
      // The same choices forward and backward, new ones each time.
      for (const [y, g] of plain) assertEquals(y, g);
      assert(`${plain[0][0]}` !== `${plain[1][0]}`);
      manualSeed(11);
      let y: Tensor | undefined;
      {
        using graph = captureGraph(getDevice("cuda"), [x], () => {
          scope((): Tensor => y = step().materialize());
        });
        const replayed = [1, 2, 3].map(() => {
          graph.replay();
          return [[...y!.data() as Float32Array], [
            ...x.grad!.data() as Float32Array,
          ]];
        });
        assertEquals(replayed, plain);
      }
      y!.dispose();
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: reads, writes and waits of the host are refused, and the device goes on",
  () =>
    onCuda(() => {
      const cuda = getDevice("cuda");
      const x = rand([3]).materialize();
      const capture = (body: () => void) =>
        captureGraph(cuda, [x], () => scope(body));
      assertThrows(
        () => capture(() => void x.add(1).data()),
        GraphError,
        "Cannot read results on the host while a graph is captured on cuda:0",
      );
      assertThrows(
        () => capture(() => void fromHost(Float32Array.of(1), "f32", [1])),
        GraphError,
        "Cannot write from the host",
      );
      assertThrows(
        () => capture(() => cuda.synchronize()),
        GraphError,
        "Cannot wait for the device",
      );
      assertEquals(scope(() => x.sub(x).toArray()), [0, 0, 0]);
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: optimizers that compute with numbers of the step, and devices without graphs, are refused",
  () =>
    onCuda(() => {
      const w = rand([4], { requiresGrad: true });
      using optimizer = optim.lamb([w]);
      const step = () =>
        scope(() => {
          optimizer.zeroGrad();
          backward(w.mul(w).sum());
          optimizer.step();
        });
      step();
      assertThrows(
        () => captureGraph(getDevice("cuda"), [w], step),
        GraphError,
        "Cannot capture a step of optimizer lamb",
      );
      assertThrows(
        () => captureGraph(getDevice("cpu"), [], () => {}),
        TypeError,
        "Cannot capture a graph on cpu: only CUDA devices have graphs",
      );
      w.dispose();
    }),
);

cudaTest(
  device,
  "graph: a replay is refused when what it reads has moved",
  () =>
    onCuda(() => {
      const cuda = getDevice("cuda");
      const model = nn.linear(2, 2);
      const x = rand([3, 2]).materialize();
      let y: Tensor | undefined;
      using graph = captureGraph(cuda, model.parameters(), () => {
        scope((): Tensor => y = model.forward(x).materialize());
      });
      graph.replay();
      const state = Object.fromEntries(
        Object.entries(model.stateDict()).map(([name, t]) => [name, t.mul(2)]),
      );
      model.loadStateDict(state);
      assertThrows(
        () => graph.replay(),
        GraphError,
        "has moved to other memory",
      );
      for (const t of Object.values(state)) t.dispose();
      y!.dispose();
      x.dispose();
      model[Symbol.dispose]();
    }),
);

cudaTest(
  device,
  "graph: a parameter that something else refers to cannot be updated in one",
  () =>
    onCuda(() => {
      const w = rand([4], { requiresGrad: true });
      using optimizer = optim.sgd([w], { lr: 0.1 });
      const step = () =>
        scope(() => {
          optimizer.zeroGrad();
          backward(w.mul(w).sum());
          optimizer.step();
        });
      step();
      const view = scope(() => w.detach().narrow(0, 0, 2));
      assertThrows(
        () => captureGraph(getDevice("cuda"), [w], step),
        GraphError,
        "something else refers to its bytes",
      );
      view.dispose();
      w.dispose();
    }),
);

cudaTest(
  device,
  "graph: labels out of range are told at the next read, after each run",
  () =>
    onCuda(() => {
      const scores = rand([2, 3]).materialize();
      const labels = fromHost(Int32Array.of(0, 1), "i32", [2]);
      let loss: Tensor | undefined;
      {
        using graph = captureGraph(getDevice("cuda"), [scores, labels], () => {
          scope((): Tensor =>
            loss = crossEntropy(scores, labels).materialize()
          );
        });
        graph.replay();
        const before = loss!.item();
        const plain = scope(() => crossEntropy(scores, labels).item());
        assertAlmostEquals(before, plain, 1e-6);
        const { storage } = labels.value;
        getDevice("cuda").write(
          storage,
          0,
          new Uint8Array(Int32Array.of(0, 7).buffer),
        );
        graph.replay();
        assertThrows(() => loss!.item(), IndexError, "label 7 among 3 classes");
        loss!.item();
      }
      loss!.dispose();
      scores.dispose();
      labels.dispose();
    }),
);

cudaTest(
  device,
  "timeline: kernels and products have device times, in order",
  () =>
    onCuda(() => {
      const x = rand([32, 32]).materialize();
      scope(() => void x.matmul(x).exp().data());
      const profiler = new Profiler([getDevice("cuda")]);
      scope(() => void x.matmul(x).exp().data());
      const { events } = profiler.stop();
      const own = events.filter((e) => e.kind === "device");
      assert(own.length >= 2, `${own.map((e) => e.name)}`);
      for (const [i, event] of own.entries()) {
        assert(event.duration >= 0);
        if (i > 0) assert(event.start >= own[i - 1].start);
      }
      // Nothing is watched any more.
      const after = profiler.stop().events.length;
      scope(() => void x.exp().data());
      assertEquals(profiler.stop().events.length, after);
      x.dispose();
    }),
);
