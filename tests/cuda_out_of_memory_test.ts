/** What is said, and done, when a GPU has no memory left. */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { cudart } from "../ffi/cudart.ts";
import {
  captureGraph,
  closeDevice,
  empty,
  getDevice,
  memory,
  OutOfMemoryError,
  scope,
} from "../mod.ts";
import { type CudaHost, cudaHost } from "./cuda_host/mod.ts";

const stand = await cudaHost();
const MiB = 1 << 20;

/** Registers a test with a GPU of 100 MiB. */
function test(name: string, body: (host: CudaHost, gpu: CudaDevice) => void) {
  const { absent } = stand;
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent})`,
    ignore: absent !== undefined,
    fn() {
      if (stand.absent !== undefined) return;
      stand.reset();
      stand.limitMemory(100 * MiB);
      try {
        scope(() => body(stand, getDevice("cuda") as CudaDevice));
        assertEquals(memory().devices["cuda:0"].liveBytes, 0);
      } finally {
        closeDevice("cuda:0");
      }
      assertEquals(stand.leaks(), []);
      assertEquals(stand.violations(), []);
      stand.reset();
    },
  });
}

const MiBs = (n: number) => empty([n, MiB], { dtype: "u8", device: "cuda" });

/** What is said when there is no room for a tensor of so many MiB. */
function refused(n: number): string {
  return assertThrows(() => MiBs(n), OutOfMemoryError).message;
}

test("out of memory: what others hold is neither free nor in pieces", () => {
  const out = new BigUint64Array(1);
  MiBs(10);
  assertEquals(cudart().cudaMalloc(out, BigInt(50 * MiB)), 0);
  assertMatch(
    refused(60),
    /: 10\.0 MiB of 100\.0 MiB are live in 1 blocks, 40\.0 MiB are free, 50\.0 MiB are held by other programs, the driver and libraries: 10\.0 MiB in 1 × /,
  );
  assertEquals(cudart().cudaFree(out[0]), 0);
  MiBs(60);
});

test(
  "out of memory: captured graphs are named for what they hold",
  (_, device) => {
    using graph = captureGraph(device, [], () => {
      scope(() => void MiBs(30).add(1).materialize());
    });
    assertEquals(graph.size, 1);
    const { liveBytes, reservedBytes } = device.stats();
    assertEquals([liveBytes, reservedBytes / MiB], [0, 60]);
    assertMatch(
      refused(50),
      /: 0 bytes of 100\.0 MiB are live in 0 blocks, 40\.0 MiB are free, 60\.0 MiB are held by captured graphs; dispose/,
    );
  },
);

test(
  "out of memory: a graph that is captured says what is kept from it",
  (_, device) => {
    MiBs(30);
    const message = assertThrows(
      () => captureGraph(device, [], () => void MiBs(80)),
      OutOfMemoryError,
    ).message;
    assertMatch(
      message,
      /are live in 1 blocks, 70\.0 MiB are free, 30\.0 MiB are kept for work outside of the graph: /,
    );
  },
);

test("out of memory: pieces are spoken of where enough is free", (host) => {
  MiBs(10);
  // As where no run of free pages is long enough: it is refused, and once more after all was given back.
  host.fail({ function: "cudaMallocAsync", nth: 1, status: 2 });
  host.fail({ function: "cudaMallocAsync", nth: 2, status: 2 });
  assertMatch(
    refused(60),
    /are live in 1 blocks, and the 90\.0 MiB that are free lie in pieces that are too small: 10\.0 MiB in 1 × /,
  );
  assertEquals(host.faultsLeft(), 0);
});

test(
  "out of memory: scratch memory is given back for a tensor",
  (_, { gpu }) => {
    gpu.workspace(50 * MiB);
    MiBs(80);
  },
);

test(
  "out of memory: a request for scratch memory says all that one for a tensor says",
  (_, { gpu }) => {
    MiBs(40);
    const error = assertThrows(
      () => gpu.workspace(80 * MiB),
      OutOfMemoryError,
    );
    assertMatch(
      error.message,
      /^Cannot allocate 80\.0 MiB on cuda:0 for scratch memory: 40\.0 MiB of 100\.0 MiB are live in 1 blocks, 60\.0 MiB are free: 40\.0 MiB in 1 × \(u8 \[40, 1048576\], empty\); dispose of/,
    );
    assertEquals(error.room, {
      freeBytes: 60 * MiB,
      others: {
        "are held by other programs, the driver and libraries": 0,
        "are held by captured graphs": 0,
      },
    });
    gpu.workspace(60 * MiB);
  },
);
