/** Several CUDA devices: copies between them keep the order of both, and one that is lost leaves the others alone. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { CudaError } from "../ffi/errors.ts";
import { DeviceLostError, scope } from "../mod.ts";
import { cuda, ramp, tensorOf, test } from "./cuda_machine.ts";

test("tensors move between GPUs without the host", (host) => {
  scope(() => {
    const x = tensorOf(ramp(1000), "cuda:0");
    const doubled = x.mul(2);
    cuda(1);
    host.clearCalls();
    const moved = doubled.to("cuda:1");
    assertEquals(moved.device.name, "cuda:1");
    const calls = host.calls();
    assert(calls.includes("cudaMemcpyPeerAsync"), `${calls}`);
    assert(!calls.includes("cudaMemcpyAsync"), `${calls}`);
    assertEquals(moved.add(1).data(), ramp(1000).map((v) => 2 * v + 1));
    assertEquals(moved.to("cuda:0").data(), ramp(1000).map((v) => 2 * v));
    assertEquals(moved.to("cpu").data(), ramp(1000).map((v) => 2 * v));
  });
}, 2);

test("copies between GPUs keep the order of both", (host) => {
  scope(() => {
    const n = 1000;
    const x = tensorOf(ramp(n), "cuda:0");
    x.add(1).materialize();
    tensorOf(ramp(n), "cuda:1").add(1).materialize();
    x.to("cuda:1").dispose();
    // The source is late: the copy must wait for it.
    host.delay(cuda(0).gpu.stream, 30);
    const late = x.add(5).materialize().to("cuda:1");
    assertEquals(late.data(), ramp(n).map((v) => v + 5));
    host.delay(cuda(0).gpu.stream, 0);
    // The target is late: the source may not be overwritten before.
    host.delay(cuda(1).gpu.stream, 30);
    const y = x.add(6).materialize();
    const copy = y.to("cuda:1");
    y.dispose();
    const over = x.add(7).materialize();
    host.delay(cuda(1).gpu.stream, 0);
    assertEquals(copy.data(), ramp(n).map((v) => v + 6));
    assertEquals(over.data(), ramp(n).map((v) => v + 7));
  });
}, 2);

test(
  "an upload into memory that a peer still reads waits for the peer",
  (host) => {
    scope(() => {
      const n = 1 << 16;
      const y = tensorOf(ramp(n), "cuda:0").add(6).materialize();
      tensorOf(ramp(1), "cuda:1").to("cuda:0");
      // Nothing is under way when the copy is queued.
      cuda(0).synchronize();
      host.delay(cuda(1).gpu.stream, 30);
      const copy = y.to("cuda:1");
      y.dispose();
      const fresh = Array.from(
        { length: 4 },
        () => tensorOf(ramp(n), "cuda:0"),
      );
      host.delay(cuda(1).gpu.stream, 0);
      const got = copy.data();
      assert(
        ramp(n).every((v, i) => got[i] === v + 6),
      );
      assertEquals(fresh.length, 4);
    });
  },
  2,
);

test("tensors on different devices in one operator", () => {
  scope(() => {
    const a = tensorOf(ramp(4), "cuda:0");
    const b = tensorOf(ramp(4), "cuda:1");
    const c = tensorOf(ramp(4), "cpu");
    assertThrows(() => a.add(b), Error, 'bring them to one device with .to("');
    assertThrows(() => a.add(c), Error, "cuda:0 and cpu");
  });
}, 2);

test("GPUs that know each other already are introduced once", (host) => {
  scope(() => {
    const x = tensorOf(ramp(10), "cuda:0");
    cuda(1);
    const already = 704;
    host.fail({
      function: "cudaDeviceEnablePeerAccess",
      nth: 1,
      status: already,
    });
    assertEquals(x.to("cuda:1").data(), ramp(10));
    host.clearCalls();
    assertEquals(x.to("cuda:1").data(), ramp(10));
    assert(!host.calls().includes("cudaDeviceCanAccessPeer"));
  });
}, 2);

test(
  "a device that is lost leaves the others alone",
  (host) => {
    const a = tensorOf(ramp(10), "cuda:0");
    const b = tensorOf(ramp(10), "cuda:1");
    host.fail({ function: "cuLaunchKernel", nth: 1, status: 700, later: true });
    scope(() => void a.add(1).materialize());
    assertThrows(() => a.data(), CudaError);
    assertThrows(() => a.data(), DeviceLostError);
    scope(() => assertEquals(b.add(1).data(), ramp(10, 1)));
    a.dispose();
    b.dispose();
  },
  2,
  true,
);
