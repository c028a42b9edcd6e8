/** What is said to install: for the machine at hand, and the CUDA that is there. */

import { assert, assertEquals } from "@std/assert";
import { library as blas } from "../ffi/cublaslt.ts";
import { library as driver } from "../ffi/cuda.ts";
import { library as runtime } from "../ffi/cudart.ts";
import { cudnnLibrary } from "../ffi/cudnn.ts";
import { library as nccl } from "../ffi/nccl.ts";
import { library as nvrtc } from "../ffi/nvrtc.ts";
import { machine } from "../ffi/machine.ts";
import type { Surroundings } from "../ffi/search.ts";

/** A machine that tells no more than its system and these files. */
function system(
  os: string,
  files: Record<string, string> = {},
): Surroundings {
  return { ...machine, os, text: (file) => files[file] };
}

/** A Linux of a distribution. */
function linux(release: string, kernel = "Linux version 6.1"): Surroundings {
  return system("linux", {
    "/etc/os-release": release,
    "/proc/version": kernel,
  });
}

const debian = linux('NAME="Debian"\nID=debian\nVERSION_ID="12"\n');
const ubuntu = linux("ID=ubuntu\nID_LIKE=debian\n");
const rocky = linux('ID="rocky"\nID_LIKE="rhel centos fedora"\n');
const wsl = linux("ID=ubuntu", "Linux version 5.15 (microsoft-standard-WSL2)");

Deno.test("to install: libraries for the CUDA that is there", () => {
  const pip = (spec: typeof blas | typeof cudnnLibrary, cuda: number) =>
    spec.install(debian, cuda)[0];
  const specs = [
    runtime,
    nvrtc,
    blas,
    cudnnLibrary,
    nccl,
  ] as unknown as (typeof blas)[];
  assertEquals(specs.map((spec) => pip(spec, 13)), [
    "pip install nvidia-cuda-runtime",
    "pip install nvidia-cuda-nvrtc",
    "pip install nvidia-cublas",
    "pip install nvidia-cudnn-cu13",
    "pip install nvidia-nccl-cu13",
  ]);
  assertEquals(specs.map((spec) => pip(spec, 12)), [
    "pip install nvidia-cuda-runtime-cu12",
    "pip install nvidia-cuda-nvrtc-cu12",
    "pip install nvidia-cublas-cu12",
    "pip install nvidia-cudnn-cu12",
    "pip install nvidia-nccl-cu12",
  ]);
  assertEquals(cudnnLibrary.install(debian, 12), [
    "pip install nvidia-cudnn-cu12",
    "apt install libcudnn9-cuda-12 from NVIDIA's repository",
    "conda install -c nvidia cudnn",
  ]);
  // A driver newer than all packages takes the newest of them.
  assertEquals(blas.install(debian, 14), blas.install(debian, 13));
  for (const other of [rocky, system("windows")]) {
    const words = blas.install(other, 12);
    assertEquals(words.length, 2);
    assert(!words.join().includes("apt"), `${words}`);
  }
});

Deno.test("to install: the driver of the system at hand", () => {
  const first = (of: Surroundings) => driver.install(of, 13)[0];
  assertEquals(first(ubuntu), "ubuntu-drivers install");
  assertEquals(
    first(debian),
    "apt install nvidia-driver from Debian's section non-free",
  );
  assert(first(rocky).startsWith("dnf install nvidia-open "));
  assert(first(system("linux")).startsWith("the package nvidia-open "));
  assertEquals(
    first(wsl),
    "NVIDIA's driver for Windows, and none inside WSL: https://www.nvidia.com/drivers",
  );
  for (const  of of[ubuntu, debian, rocky, wsl, system("windows")]) {
    assert(driver.install(of, 13).at(-1)!.includes("nvidia.com/drivers"));
  }
});
