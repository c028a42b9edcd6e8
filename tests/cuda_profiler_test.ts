/** The profiler on CUDA: it changes nothing of what runs. */

import { assert, assertEquals } from "@std/assert";
import { getDevice, nn, Profiler, rand, scope } from "../mod.ts";
import { captureGraph } from "../core/capture.ts";
import { cudaForTests, cudaTest } from "./cuda_host/device.ts";

const device = await cudaForTests();

cudaTest(device, "profiler: recurrent networks run as without it", () => {
  using lstm = nn.lstm(8, 8, { device: "cuda" });
  scope(() => {
    const x = rand([4, 2, 8], { device: "cuda" });
    const values = () => scope(() => [lstm.forward(x)].flat()[0]!.toArray());
    const plain = values();
    const profiler = new Profiler([getDevice("cuda")]);
    assertEquals(values(), plain);
    const { events } = profiler.stop();
    assert(
      events.some((e) => e.kind === "device" && e.name === "cudnn lstm"),
      events.map((e) => e.name).join(),
    );
  });
});

cudaTest(device, "profiler: a graph may be captured and run meanwhile", () => {
  scope(() => {
    const x = rand([32, 32], { device: "cuda" }).materialize();
    scope(() => void x.matmul(x).data());
    const cuda = getDevice("cuda");
    const profiler = new Profiler([cuda]);
    using graph = captureGraph(cuda, [x], () => {
      scope(() => void x.matmul(x).materialize());
    });
    graph.replay();
    const names = profiler.stop().events.filter((e) => e.kind === "device")
      .map((e) => e.name);
    assert(names.includes("graph"), names.join());
  });
});
