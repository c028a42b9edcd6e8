/** Each command as a process, on good input. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodePng } from "../data/mod.ts";
import { decodeSafetensors } from "../formats/safetensors.ts";
import { readMetrics } from "../train/run_log.ts";
import {
  decaf,
  decafCommand,
  type Finished,
  inFolder,
  writeDigits,
  writeText,
} from "./cli_helpers.ts";

function assertDone({ code, stderr }: Finished): void {
  assertEquals(code, 0, stderr);
}

const commands = [
  "train",
  "resume",
  "eval",
  "predict",
  "models",
  "ops",
  "explain",
  "launch",
  "doctor",
];

Deno.test("cli: the overview lists every command, and each has help", async () => {
  const overview = await decaf(["--help"]);
  assertDone(overview);
  for (const command of commands) {
    assertMatch(overview.stdout, new RegExp(`^  ${command} `, "m"));
    const help = await decaf([command, "--help"]);
    assertDone(help);
    assert(help.stdout.startsWith(`${command}: `), help.stdout);
  }
});

Deno.test("cli: help of a recipe says defaults, units and ranges of the chosen parts", async () => {
  const { stdout } = await decaf(["train", "mnist", "--help"]);
  assertMatch(
    stdout,
    /--batch-size N +examples per step \[64 examples; whole, ≥\s1\]/,
  );
  assertMatch(stdout, /--model NAME +lenet is [^[]*mlp is\s[^[]*\[lenet;/);
  assertMatch(stdout, /Optimizer adam:\n +--beta1 N/);
  const other = await decaf([
    ...["train", "mnist", "--model", "mlp", "--optimizer", "sgd"],
    ...["--policy", "step", "--help"],
  ]);
  assertMatch(other.stdout, /--hidden N +units of the hidden layer/);
  assertMatch(other.stdout, /--momentum N/);
  assertMatch(other.stdout, /--policy-step-size N/);
  assertMatch(other.stdout, /--lr N .*\[0\.01; ≥\s0\]/);
});

Deno.test("cli: train, eval, predict and resume digits", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/digits`, { size: 16 });
    const run = `${folder}/run`;
    const trained = await decaf([
      ...["train", "mnist", `${folder}/digits`, "--model", "lenet"],
      ...["--epochs", "2", "--batch-size", "24", "--run", run],
    ]);
    assertDone(trained);
    assert(!(trained.stdout + trained.stderr).includes("\x1b"), "plain text");
    assertMatch(trained.stdout, /^Decaf: LeNet on .*digits, [\d,]+ parameters/);
    assertMatch(trained.stdout, /240 digits to learn from, 60 to test on/);
    assertMatch(trained.stderr, /^epoch 1\/2: 100 %, loss [\d.]+, accuracy/m);
    assertMatch(trained.stderr, /^epoch 2\/2: test accuracy [\d.]+ %, loss/m);
    assertMatch(trained.stdout, /█/);
    assertMatch(trained.stdout, /test accuracy .* after [\d.]+ s of training/);
    const files = [...Deno.readDirSync(run)].map((e) => e.name).sort();
    assertEquals(files.filter((name) => !name.startsWith("events.")), [
      "checkpoint.safetensors",
      "config.json",
      "curve.png",
      "curve.svg",
      "metrics.jsonl",
      "model.safetensors",
    ]);
    assertEquals(files.length, 7);
    const lines = await readMetrics(run);
    assertEquals(lines.filter((line) => "test/accuracy" in line).length, 2);

    const measured = await decaf(["eval", run, "--json"]);
    assertDone(measured);
    const { loss, accuracy, examples } = JSON.parse(measured.stdout);
    const last = lines.findLast((line) => "test/loss" in line)!;
    assertEquals([loss, accuracy, examples], [
      last["test/loss"],
      last["test/accuracy"],
      60,
    ]);
    const checkpoint = await decaf([
      "eval",
      `${run}/checkpoint.safetensors`,
      "--json",
    ]);
    assertEquals(JSON.parse(checkpoint.stdout).loss, loss);

    const data = new Uint8Array(40 * 40).fill(255);
    for (let y = 0; y < 40; y++) data.fill(0, y * 40 + 2, y * 40 + 5);
    const picture = `${folder}/bar.png`;
    await Deno.writeFile(
      picture,
      await encodePng({ data, shape: [40, 40], dtype: "u8" }),
    );
    const said = await decaf(["predict", run, picture]);
    assertDone(said);
    assertMatch(said.stdout, /bar\.png: 0 \([\d.]+ %\), \d \(/);

    const longer = await decaf(["resume", run, "--epochs", "3"]);
    assertDone(longer);
    assertMatch(longer.stdout, /^goes on after step \d+$/m);
    assertMatch(longer.stderr, /^epoch 3\/3: test accuracy/m);
    assert(!longer.stderr.includes("epoch 2/3"), longer.stderr);
    const config = JSON.parse(await Deno.readTextFile(`${run}/config.json`));
    assertEquals(config.values.epochs, 3);
    // As if it had been trained on a GPU, with a graph.
    const graph = { ...config, values: { ...config.values, graph: true } };
    await Deno.writeTextFile(`${run}/config.json`, JSON.stringify(graph));
    const again = await decaf(["resume", run, "--device", "cpu"]);
    assertDone(again);
    assertMatch(
      again.stdout,
      /^Steps run without the graph of before: only CUDA devices have graphs$/m,
    );
    assert(!again.stderr.includes("epoch"), again.stderr);
    assertMatch(again.stdout, /test accuracy/);
    await Deno.remove(`${run}/checkpoint.safetensors`);
    const anew = await decaf(["resume", run]);
    assertDone(anew);
    assertMatch(anew.stdout, /^starts anew: it was stopped before/m);
  });
});

Deno.test("cli: train a text, sampling as it goes, and continue a prompt", async () => {
  await inFolder(async (folder) => {
    const text = `${folder}/text.txt`, run = `${folder}/run`;
    await writeText(text, 2500);
    for (const model of ["char_rnn", "gpt"]) {
      const own = model === "gpt"
        ? ["--width", "16", "--layers", "1", "--heads", "2", "--warmup", "2"]
        : ["--hidden", "24", "--embedding", "8"];
      const trained = await decaf([
        ...["train", "text", text, "--model", model, "--run", run + model],
        ...["--context", "16", "--epochs", "2", "--batch-size", "8"],
        ...["--epoch-windows", "140"],
        ...["--sample-every", "12", "--sample-length", "30", "--no-curve"],
        ...own,
      ]);
      assertDone(trained);
      assertMatch(trained.stdout, /2,250 characters to learn from/);
      assertMatch(trained.stderr, /^ {2}│ \S/m);
      assertMatch(trained.stderr, /test loss [\d.]+ per character \(.* bits/);
      const predict = (...flags: string[]) =>
        decaf([
          "predict",
          run + model,
          "the coffee",
          "--length",
          "25",
          ...flags,
        ]);
      const said = await predict();
      assertDone(said);
      assertEquals(said.stdout.length, "the coffee".length + 25 + 1);
      assert(said.stdout.startsWith("the coffee"));
      assertEquals((await predict()).stdout, said.stdout);
      assert((await predict("--seed", "7")).stdout !== said.stdout);
      const measured = await decaf(["eval", run + model]);
      assertDone(measured);
      assertMatch(measured.stdout, /perplexity [\d.]+\) on \d+ characters/);
    }
  });
});

async function checkpointOf(run: string) {
  const bytes = await Deno.readFile(`${run}/checkpoint.safetensors`);
  const { metadata } = decodeSafetensors(bytes);
  return { progress: JSON.parse(metadata.progress) as { step: number } };
}

/** Writes pictures of two colours into one folder per colour. */
async function writePictures(folder: string, each: number): Promise<void> {
  for (const [name, hue] of [["red", 0], ["blue", 2]] as const) {
    await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    for (let i = 0; i < each; i++) {
      const data = Uint8Array.from(
        { length: 20 * 24 * 3 },
        (_, p) => (p % 3 === hue ? 200 : 30) + (p * 7 + i * 13) % 40,
      );
      await Deno.writeFile(
        `${folder}/${name}/${i}.png`,
        await encodePng({ data, shape: [20, 24, 3], dtype: "u8" }),
      );
    }
  }
}

Deno.test("cli: train on a folder of pictures, and tell one", async () => {
  await inFolder(async (folder) => {
    const pictures = `${folder}/pictures`;
    await writePictures(pictures, 15);
    for (const model of ["lenet", "resnet18"]) {
      const run = `${folder}/${model}`;
      const trained = await decaf([
        ...["train", "images", pictures, "--model", model, "--run", run],
        ...["--size", "16", "--epochs", "2", "--batch-size", "8"],
        ...["--lr", "0.003", "--optimizer", "adam", "--no-curve"],
      ]);
      assertDone(trained);
      assertMatch(
        trained.stdout,
        /24 pictures to learn from, 6 to test on, 2 classes: blue, red/,
      );
      const said = await decaf([
        "predict",
        run,
        `${pictures}/red/3.png`,
        `${pictures}/blue/4.png`,
      ]);
      assertDone(said);
      assertMatch(
        said.stdout,
        /red\/3\.png: red \(.*\n.*blue\/4\.png: blue \(/,
      );
      assertDone(await decaf(["eval", run, "--data", pictures]));
    }
  });
});

Deno.test("cli: settings come from JSON and YAML, flags before them", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/digits`);
    await Deno.writeTextFile(
      `${folder}/a.yaml`,
      `recipe: mnist\nmodel: mlp\nepochs: 2\nbatch-size: 30\nhidden: 8\n` +
        `data: ${folder}/digits\ncurve: false\noptimizer: sgd\nmomentum: 0.5\n`,
    );
    const trained = await decaf([
      ...["train", "--config", `${folder}/a.yaml`, "--epochs", "1"],
      ...["--run", `${folder}/a`],
    ]);
    assertDone(trained);
    const { values } = JSON.parse(
      await Deno.readTextFile(`${folder}/a/config.json`),
    );
    assertEquals(
      [values.model, values.epochs, values.batchSize, values.momentum],
      ["mlp", 1, 30, 0.5],
    );
    // The config of a run makes another one like it.
    const again = await decaf([
      ...["train", "mnist", "--config", `${folder}/a/config.json`],
      ...["--run", `${folder}/b`],
    ]);
    assertDone(again);
    assertEquals(
      await Deno.readFile(`${folder}/a/model.safetensors`),
      await Deno.readFile(`${folder}/b/model.safetensors`),
    );
  });
});

Deno.test("cli: the number of threads changes no bit", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/digits`, { size: 28, train: 128 });
    const weights: Uint8Array[] = [];
    for (const threads of ["1", "2", "3"]) {
      const run = `${folder}/${threads}`;
      assertDone(
        await decaf([
          ...["train", "mnist", `${folder}/digits`, "--threads", threads],
          ...["--run", run, "--no-curve"],
        ]),
      );
      weights.push(await Deno.readFile(`${run}/model.safetensors`));
    }
    assertEquals(weights[1], weights[0]);
    assertEquals(weights[2], weights[0]);
  });
});

Deno.test("cli: without --run, a run folder is made below runs/", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/digits`);
    const trained = await decaf([
      ...["train", "mnist", "digits", "--model", "mlp", "--epochs", "1"],
      "--no-curve",
    ], { cwd: folder });
    assertDone(trained);
    const [{ name }] = [...Deno.readDirSync(`${folder}/runs`)];
    assertMatch(name, /^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_mlp$/);
    assertMatch(trained.stdout, new RegExp(`resume runs/${name}`));
  });
});

Deno.test({
  name: "cli: Ctrl-C saves, exits with 130, and resume goes on",
  ignore: Deno.build.os === "windows",
  async fn() {
    await inFolder(async (folder) => {
      await writeDigits(`${folder}/digits`);
      const run = `${folder}/run`;
      const child = decafCommand([
        ...["train", "mnist", `${folder}/digits`, "--model", "mlp"],
        ...["--epochs", "100000", "--batch-size", "240", "--run", run],
        "--no-curve",
      ]).spawn();
      const said = child.output();
      const started = async () =>
        (await readMetrics(run).catch(() => [])).length > 3;
      while (!await started()) await new Promise((r) => setTimeout(r, 20));
      child.kill("SIGINT");
      const { code, stdout } = await said;
      const text = new TextDecoder().decode(stdout);
      assertEquals(code, 130, text);
      assertMatch(text, /Stopped after step [\d,]+; the checkpoint is saved/);
      assertMatch(text, new RegExp(`resume ${run}$`, "m"));
      assertDone(await decaf(["eval", run]));
      // An epoch is one step here; so that the rest ends soon, one more.
      const { progress } = await checkpointOf(run);
      const path = `${run}/config.json`;
      const config = JSON.parse(await Deno.readTextFile(path));
      config.values.epochs = progress.step + 1;
      await Deno.writeTextFile(path, JSON.stringify(config));
      const resumed = await decaf(["resume", run]);
      assertDone(resumed);
      const next = `${progress.step + 1}`;
      assertMatch(
        resumed.stderr,
        new RegExp(`^epoch ${next}/${next}: test`, "m"),
      );
      assertEquals((await checkpointOf(run)).progress.step, progress.step + 1);
    });
  },
});

Deno.test("cli: models, ops, explain and doctor, for people and as JSON", async () => {
  const models = await decaf(["models"]);
  assertMatch(models.stdout, /^lenet .*431,080 parameters/m);
  const list = JSON.parse((await decaf(["models", "--json"])).stdout);
  assertEquals(
    list.find((m: { name: string }) => m.name === "resnet18").parameters,
    11_689_512,
  );
  const lenet = await decaf(["models", "lenet"]);
  assertMatch(lenet.stdout, /conv2\.weight +f32 \[50, 20, 5, 5\]/);

  const ops = await decaf(["ops"]);
  assertMatch(ops.stdout, /^activation\n(?:.*\n)*? {2}.*\bgelu\b/m);
  const softmax = await decaf(["ops", "softmax"]);
  assertMatch(softmax.stdout, /PyTorch +F\.softmax/);
  const [gelu] = JSON.parse((await decaf(["ops", "gelu", "--json"])).stdout);
  assertEquals([gelu.name, gelu.differentiable], ["gelu", true]);

  const explained = await decaf([
    ...["explain", "gelu(add(mul(x, w), b))", "--shapes", "x=4x8,w=8,b=8"],
  ]);
  assertMatch(explained.stdout, /→ f32\[4, 8\]\n\n1\. kernel over/);
  assert(!explained.stdout.includes("\n2. "), explained.stdout);
  assertMatch(explained.stdout, /erf/);
  const product = await decaf(["explain", "matmul(x, w)"]);
  assertMatch(product.stdout, /matrix product f32 \[64, 64\]·\[64, 64\]/);

  const doctor = await decaf(["doctor"]);
  assertDone(doctor);
  assertMatch(doctor.stdout, /All is well\./);
  const report = JSON.parse((await decaf(["doctor", "--json"])).stdout);
  assertEquals([report.ok, report.device.works], [true, true]);
  assertEquals(report.deno, Deno.version.deno);
});
