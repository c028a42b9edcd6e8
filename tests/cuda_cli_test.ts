/** The command line on CUDA: training, resuming and asking on other devices, the doctor. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { decaf, type Finished, inFolder, writeDigits } from "./cli_helpers.ts";
import { examineCuda } from "../cli/doctor_cuda.ts";
import { cudaWords } from "../cli/doctor_words.ts";
import { closeDevice } from "../mod.ts";
import { cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

/** Registers a test; on a real GPU too, unless it is about the stand-ins. */
function test(
  name: string,
  fn: () => Promise<void>,
  standIns = false,
): void {
  const real = Deno.env.get("DECAF_TEST_CUDA") === "real";
  const why = real && !standIns ? undefined : host.absent;
  Deno.test({
    name: why === undefined ? name : `${name} (${why})`,
    ignore: why !== undefined,
    fn,
  });
}

/** No library is named or found. */
const nothing = {
  DECAF_LIBCUDA: "",
  DECAF_LIBCUDART: "",
  DECAF_LIBNVRTC: "",
  DECAF_LIBCUBLASLT: "",
  DECAF_LIBCUDNN: "",
  DECAF_LIBNCCL: "",
  CUDA_HOME: "",
  CUDA_PATH: "",
  VIRTUAL_ENV: "",
  CONDA_PREFIX: "",
  PATH: "",
  LD_LIBRARY_PATH: "",
};

function assertDone({ code, stderr }: Finished): void {
  assertEquals(code, 0, stderr);
}

/** Losses of a run, by step. */
async function losses(folder: string): Promise<number[]> {
  const text = await Deno.readTextFile(`${folder}/metrics.jsonl`);
  return text.trim().split("\n").map((line) => JSON.parse(line))
    .filter((line) => "train/loss" in line || "loss" in line)
    .map((line) => line["train/loss"] ?? line.loss);
}

test("cli: a training on cuda learns what it learns on the CPU, and goes on on either", () =>
  inFolder(async (folder) => {
    await writeDigits(`${folder}/data`, { train: 48, test: 16 });
    const train = (run: string, ...more: string[]) =>
      decaf([
        ...[
          "train",
          "mnist",
          "data",
          "--model",
          "mlp",
          "--batch-size",
          "16",
          "--epochs",
          "1",
        ],
        ...["--log-every", "1", "--no-curve", "--run", run, ...more],
      ], { cwd: folder });
    assertDone(await train("cpu"));
    assertDone(await train("gpu", "--device", "cuda"));
    const [wanted, got] = [
      await losses(`${folder}/cpu`),
      await losses(`${folder}/gpu`),
    ];
    assertEquals(got.length, wanted.length);
    assert(got.length > 0);
    got.forEach((loss, i) =>
      assert(Math.abs(loss - wanted[i]) < 1e-3, `${got} is not ${wanted}`)
    );
    // A checkpoint belongs to no device.
    const resume = (run: string, epochs: number, device: string) =>
      decaf(
        ["resume", run, "--epochs", `${epochs}`, "--device", device],
        { cwd: folder },
      );
    assertDone(await resume("gpu", 2, "cpu"));
    assertDone(await resume("gpu", 3, "auto"));
    assertDone(await resume("cpu", 2, "cuda:0"));
    const measured: string[] = [];
    for (const device of ["cpu", "cuda"]) {
      const said = await decaf(
        ["eval", "gpu", "--device", device, "--json"],
        { cwd: folder },
      );
      assertDone(said);
      measured.push(JSON.parse(said.stdout).loss.toFixed(3));
    }
    assertEquals(measured[0], measured[1]);
  }));

test("cli: devices that there are not", async () => {
  const no = await decaf(["explain", "relu(x)", "--device", "cuda:3"]);
  assertEquals(no.code, 1);
  assertMatch(
    no.stderr,
    /Cannot use device "cuda:3": there is 1 GPU, cuda:0/,
  );
  const both = await decaf(
    ["train", "mnist", "--device", "cuda", "--devices", "0,1"],
  );
  assertEquals(both.code, 2, both.stderr);
  assertMatch(both.stderr, /--device cuda and --devices 0,1: give one of them/);
}, true);

test(
  "cli: auto is the CPU where kernels or products have no library, and says why",
  async () => {
    for (const library of ["DECAF_LIBNVRTC", "DECAF_LIBCUBLASLT"]) {
      const said = await decaf(["explain", "softmax(x)", "--device", "auto"], {
        env: { [library]: "/no/such.so" },
      });
      assertDone(said);
      assertMatch(said.stdout, /Computing on cpu: Cannot open .*no\/such\.so/);
    }
  },
  true,
);

test(
  "cli: explain on cuda names library calls and launches, with times",
  async () => {
    const said = await decaf(["explain", "lstm", "--device", "cuda"]);
    assertDone(said);
    assertMatch(said.stdout, /^lstm → f32\[3, 2, 3\], f32/);
    assertMatch(said.stdout, /^ {3}cudnnRNNForward \(lstm\): \d+\.\d µs$/m);
    assertMatch(said.stdout, /^ {3}elements: \d+\.\d µs$/m);
    assertMatch(said.stdout, /^\d runs on cuda:0: \d+\.\d µs$/m);
  },
);

test(
  "cli: doctor finds the libraries and the GPU, and the GPU computes",
  async () => {
    const said = await decaf(["doctor", "--device", "cuda", "--json"]);
    assertDone(said);
    const { ok, device, cuda } = JSON.parse(said.stdout);
    assertEquals([ok, device.name, device.works], [true, "cuda:0", true]);
    assert(cuda.works, said.stdout);
    assertMatch(cuda.driver, /^\d+\.\d+$/);
    const [gpu] = cuda.gpus;
    const nccl = cuda.libraries.at(-1).path !== undefined;
    assertEquals(gpu.test.results, {
      product: "right",
      convolution: "right",
      "all-reduce": nccl
        ? "right"
        : "not tested: a library that several GPUs need is missing",
    });
    assertMatch(gpu.architecture, /^\d+\.\d$/);
    assertMatch(gpu.pci, /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0$/i);
    const names = cuda.libraries.map((library: { name: string }) =>
      library.name
    );
    assertEquals(names, [
      "cuda",
      "cudart",
      "nvrtc",
      "cublasLt",
      "cudnn",
      "nccl",
    ]);
    for (const { name, path, version, tried } of cuda.libraries) {
      if (name === "nccl" && !nccl) continue;
      assert(path?.startsWith("/"), `${name} at ${path}`);
      assertMatch(version, /^\d+\.\d+/);
      assertEquals(tried.length, 1);
    }
    const words = await decaf(["doctor"]);
    assertDone(words);
    assertMatch(words.stdout, /cuda:0 .*compute capability/);
    assertMatch(words.stdout, /self test: product right, convolution\s+right/);
  },
  true,
);

test("doctor: several GPUs and the links among them", async () => {
  if (host.absent !== undefined) return;
  host.devices(2);
  try {
    const report = await examineCuda();
    assertEquals(report.gpus.map(({ device }) => device), ["cuda:0", "cuda:1"]);
    assertEquals(
      report.links.map(({ from, to }) => `${from} ${to}`),
      ["cuda:0 cuda:1", "cuda:1 cuda:0"],
    );
    const words = cudaWords(report);
    assertMatch(words, /cuda:0 → cuda:1/);
    assertMatch(words, /cuda:1 .*compute capability 9\.0/);
    assertMatch(words, /state +works/);
    assertMatch(words, /all of them +all-reduce right/);
    const failing = cudaWords({ ...report, works: false });
    assertMatch(failing, /state +does not work: a self test/);
    // What a link is called.
    const link = { from: "a", to: "b", rank: 0 };
    const said = cudaWords({
      ...report,
      links: [
        { ...link, direct: false, atomics: false },
        { ...link, direct: true, atomics: false },
        { ...link, direct: true, atomics: true },
      ],
    });
    assertMatch(said, /through the host.*direct \(PCI\).*\(NVLink\)/s);
    host.fail({ function: "ncclAllReduce", nth: 3, status: 3 });
    const broken = await examineCuda();
    assertEquals(broken.works, false);
    assertMatch(
      broken.exchange!,
      /allReduce .* among 2 ranks: ncclAllReduce failed/,
    );
  } finally {
    closeDevice("cuda:0");
    closeDevice("cuda:1");
    host.devices(1);
  }
  assertEquals(host.leaks(), []);
}, true);

test("cli: a graph in f16 is refused before data are looked for", async () => {
  const { code, stderr } = await decaf([
    ...["train", "mnist", "/no/data", "--device", "cuda", "--graph"],
    ...["--precision", "f16"],
  ]);
  assertEquals(code, 2);
  assertMatch(stderr, /Cannot set --graph with --precision f16: .* bf16/);
});

test("cli: a graph by an optimizer that has none is refused before there is a run folder", () =>
  inFolder(async (folder) => {
    await writeDigits(`${folder}/data`, { train: 48, test: 16 });
    const { code, stderr } = await decaf([
      ...["train", "mnist", `${folder}/data`, "--run", `${folder}/run`],
      ...["--device", "cuda", "--graph", "--optimizer", "lamb"],
      ...["--model", "mlp", "--batch-size", "16"],
    ]);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, /Cannot set --graph with --optimizer lamb: .* adamW/);
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name), ["data"]);
  }));

Deno.test("cli: doctor with nothing installed tells every path and what to install", async () => {
  const said = await decaf(["doctor"], { env: nothing });
  assertDone(said);
  assertMatch(said.stdout, /cudart +not found/);
  assertMatch(
    said.stdout,
    /libcudart\.so\.13 \(the loader's own path\): no such/,
  );
  assertMatch(said.stdout, /pip install nvidia-cuda-runtime/);
  assertMatch(said.stdout, /named by DECAF_LIBCUDA, DECAF_LIBCUDART/);
  assertMatch(said.stdout, /All is well\./);
  const json = await decaf(["doctor", "--device", "cuda", "--json"], {
    env: nothing,
  });
  assertEquals(json.code, 1);
  const { ok, device, cuda } = JSON.parse(json.stdout);
  assertEquals([ok, device.works, cuda.works], [false, false, false]);
  assertMatch(device.problem, /Cannot open the CUDA runtime/);
  for (const { path, tried, install } of cuda.libraries) {
    assertEquals(path, undefined);
    assert(tried.length > 5 && install.length > 0);
  }
});
