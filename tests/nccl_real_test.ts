/** The real NCCL on a machine that may have no GPU: what it answers all the same. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { CudaError } from "../ffi/errors.ts";
import { LibraryError, tryLibrary } from "../ffi/library.ts";
import * as nccl from "../ffi/nccl.ts";

/** Opens the real library: not the stand-in that tests before this one may have named. */
function findReal(): string | undefined {
  const variable = nccl.library.variable;
  const named = Deno.env.get(variable);
  const wheels = Deno.env.get("DECAF_NVIDIA");
  try {
    if (wheels) Deno.env.set(variable, `${wheels}/nccl/lib/libnccl.so.2`);
    else if (named?.includes("cuda_host")) Deno.env.delete(variable);
    const found = tryLibrary(nccl.library);
    return found instanceof LibraryError ? found.message : undefined;
  } finally {
    if (named === undefined) Deno.env.delete(variable);
    else Deno.env.set(variable, named);
  }
}

const absent = findReal();

function test(name: string, body: () => void): void {
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent.slice(0, 60)}…)`,
    ignore: absent !== undefined,
    fn: body,
  });
}

test("real NCCL: its version is one that Decaf takes", () => {
  const { version, versionText } = nccl.nccl();
  assert(version >= 21000 && version < 30000, `${version}`);
  assert(/^2\.\d+\.\d+$/.test(versionText), versionText);
});

test("real NCCL: unique ids have 128 bytes and differ", () => {
  const [a, b] = [nccl.getUniqueId(), nccl.getUniqueId()];
  assertEquals(a.length, 128);
  assert(a.some((byte) => byte !== 0));
  assert(a.join() !== b.join());
});

test("real NCCL: statuses have words", () => {
  assertEquals(nccl.statusName(6), "ncclRemoteError");
  assertEquals(nccl.statusName(99), "status 99");
  assert(nccl.statusText(4).startsWith("invalid argument"));
});

test("real NCCL: a rank that does not exist is refused in its words, or for want of a GPU", () => {
  const id = nccl.getUniqueId();
  assertThrows(
    () => nccl.initRank({ rank: 5, worldSize: 2, id }),
    CudaError,
    "ncclCommInitRankConfig failed (rank 5 of 2): nccl",
  );
});

test("real NCCL: no communicator is refused", () => {
  assertThrows(() => nccl.asyncError(0n), CudaError, "ncclInvalidArgument (4)");
  assertThrows(() => nccl.describe(0n), CudaError, "ncclCommCount failed");
});

Deno.test("versions of NCCL as people write them", () => {
  assertEquals(nccl.versionText(23007), "2.30.7");
  assertEquals(nccl.versionText(21003), "2.10.3");
  assertEquals(nccl.versionText(2804), "2.8.4");
});
