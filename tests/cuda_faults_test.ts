/** Which failures end a device's life, and whom to suspect. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { DeviceLostError } from "../core/errors.ts";
import { Faults, isSticky } from "../devices/cuda/faults.ts";
import { CudaError } from "../ffi/errors.ts";

const call = {
  library: "cudart",
  function: "cudaStreamSynchronize",
  status: 700,
  statusName: "cudaErrorIllegalAddress",
  text: "an illegal memory access was encountered",
};

Deno.test("an error of a call names everything that is known", () => {
  assertEquals(
    new CudaError({ ...call, arguments: "64 bytes" }, "cuda:1", "stop").message,
    "cudaStreamSynchronize failed on cuda:1 (64 bytes): cudaErrorIllegalAddress (700), an illegal memory access was encountered; stop",
  );
  assertEquals(
    new CudaError({ ...call, text: undefined }).message,
    "cudaStreamSynchronize failed: cudaErrorIllegalAddress (700)",
  );
});

Deno.test("statuses that end a device, and those that do not", () => {
  for (const status of [214, 700, 702, 716, 719]) assert(isSticky(status));
  for (const status of [0, 1, 2, 35, 600, 801]) assert(!isSticky(status));
});

Deno.test("suspects are the calls since the device was last known to be well", () => {
  const faults = new Faults("cuda:0");
  assertEquals(faults.suspects(), "no call was under way");
  faults.note("add");
  assertEquals(faults.suspects(), "the suspect is add");
  faults.good();
  assertEquals(faults.suspects(), "no call was under way");
  faults.note("mul");
  faults.note("sum");
  faults.note("mul");
  assertEquals(
    faults.suspects(),
    "the suspects are the last 3 calls, newest first: mul, sum",
  );
  faults.note("conv");
  faults.refused(); // it never happened
  assertEquals(
    faults.suspects(),
    "the suspects are the last 3 calls, newest first: mul, sum",
  );
  for (let i = 0; i < 199; i++) faults.note(`kernel${i + 1}`);
  assertEquals(
    faults.suspects(),
    "the suspects are the last 203 calls, newest first: kernel199, kernel198, kernel197, kernel196, kernel195, …",
  );
});

Deno.test("a call beside compute is a suspect until compute waits for it, and the host for that", () => {
  const faults = new Faults("cuda:0");
  faults.note("ncclAllReduce");
  const aside = faults.aside("ncclAllReduce");
  assertEquals(faults.suspects(), "the suspect is ncclAllReduce");
  faults.note("add");
  faults.good(); // compute was waited for, and not the call
  assertEquals(faults.suspects(), "the suspect is ncclAllReduce");
  faults.note("mul");
  assertEquals(
    faults.suspects(),
    "the suspects are the last 2 calls, newest first: mul, ncclAllReduce",
  );
  aside.joined = true;
  faults.good();
  assertEquals(faults.suspects(), "no call was under way");
});

Deno.test("a lost device says why, by its first fault", () => {
  const faults = new Faults("cuda:0");
  faults.requireAlive();
  faults.note("gather");
  assertEquals(faults.lost, false);
  faults.lose(call);
  faults.lose({ ...call, function: "cudaFree" });
  assertEquals(faults.lost, true);
  const error = assertThrows(() => faults.requireAlive(), DeviceLostError);
  assertEquals(
    error.message,
    "Cannot use cuda:0: it was lost when cudaStreamSynchronize reported cudaErrorIllegalAddress (700); the suspect is gather; start the program again",
  );
});
