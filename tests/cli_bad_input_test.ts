/**
 * Each command as a process, on bad input: one sentence that says what would
 * work, the right exit code, no stack, and nothing left half-written.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodePng } from "../data/mod.ts";
import { decaf, inFolder, writeDigits, writeText } from "./cli_helpers.ts";

/** Refused with this exit code and sentence. */
async function refused(
  args: readonly string[],
  code: number,
  sentence: RegExp,
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<void> {
  const said = await decaf(args, options);
  const line = `${args.join(" ")}: ${said.stderr}`;
  assertEquals(said.code, code, line);
  assertMatch(said.stderr, sentence, line);
  const lines = said.stderr.trimEnd().split("\n");
  const [error, ...rest] = lines.slice(
    lines.findIndex((l) => l.startsWith("error: ")),
  );
  assertMatch(error, /^error: .*[.!?]$/, line);
  // A usage error says where help is; nothing else follows.
  assertEquals(rest.length, code === 2 ? 1 : 0, line);
  if (code === 2) assertMatch(rest[0], /^See .* --help$/, line);
  assert(!/^\s+at /m.test(said.stderr), `a stack: ${line}`);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

Deno.test("cli: unknown commands, recipes, models and names are refused with the nearest", async () => {
  await refused(["trian"], 2, /no command "trian"; did you mean train\?/);
  await refused(["train", "mnits"], 2, /no recipe "mnits"; did you mean mnist/);
  await refused(
    ["train", "mnist", "--model", "lenett"],
    2,
    /Cannot set --model to "lenett" on the command line: it must be lenet or mlp; did you mean lenet\?/,
  );
  await refused(["models", "resnet19"], 2, /no model "resnet19"; did you mean/);
  await refused(["ops", "sotfmax"], 2, /no operator "sotfmax"; did you mean s/);
  await refused(["ops", "--family", "xyz"], 2, /no family "xyz"/);
  await refused(["eval", "runs/none"], 2, /There is no run folder runs\/none/);
  await refused(["eval"], 2, /Name a run folder/);
  await refused(["resume", "a", "b"], 2, /one run folder, and not "b"/);
  await refused(["doctor", "now"], 2, /doctor does not take "now"/);
  const nothing = await decaf([]);
  assertEquals(nothing.code, 2);
  assertMatch(nothing.stderr, /COMMAND/);
});

Deno.test("cli: unknown flags are refused with the nearest, or with their owner", async () => {
  const train = (...flags: string[]) => ["train", "mnist", ...flags];
  await refused(
    train("--epoch", "3"),
    2,
    /Unknown setting --epoch on the command line: did you mean --epochs\?/,
  );
  await refused(train("--hidden", "3"), 2, /--hidden .*belongs to --model mlp/);
  await refused(
    train("--momentum", "0.9"),
    2,
    /--momentum .*belongs to --optimizer sgd, momentumSgd/,
  );
  await refused(
    train("--policy-gamma", "0.9"),
    2,
    /belongs to --policy step, exp, inv/,
  );
  await refused(["doctor", "--jsno"], 2, /--jsno .*did you mean --json\?/);
  await refused(["models", "--quick"], 2, /Unknown setting --quick/);
});

Deno.test("cli: a graph where there is none is refused before data are looked for", async () => {
  const train = (...flags: string[]) => [
    ...["train", "mnist", "/no/data", "--graph", ...flags],
  ];
  for (const flags of [[], ["--device", "cpu"]]) {
    await refused(
      train(...flags),
      2,
      /Cannot set --graph on cpu: only CUDA devices have graphs; set --device cuda, or leave --graph out/,
    );
  }
  await refused(
    train("--devices", "cpu,cpu"),
    2,
    /Cannot set both --graph and --devices cpu,cpu: a graph belongs to one device/,
  );
});

Deno.test("cli: values out of range are refused with the range", async () => {
  const train = (...flags: string[]) => ["train", "mnist", ...flags];
  await refused(
    train("--epochs", "0"),
    2,
    /Cannot set --epochs to "0" .*must be a whole number of at least 1 \(epochs\)/,
  );
  await refused(train("--lr", "fast"), 2, /--lr to "fast" .*at least 0/);
  await refused(train("--lr=-1"), 2, /--lr to "-1"/);
  await refused(train("--lr"), 2, /The flag --lr needs a value/);
  await refused(train("--beta1", "1"), 2, /--beta1 .*at least 0 and below 1/);
  await refused(
    train("--policy", "onecycel"),
    2,
    /--policy .*did you mean oneCycle/,
  );
  await refused(train("a", "b"), 2, /does not take the argument "b"/);
  await refused(["explain", "gelu(x"], 2, /it ends too early/);
  await refused(["explain", "add(x, y)", "--shapes", "x:3"], 2, /shape "x:3"/);
  await refused(
    ["explain", "add(x, y)", "--shapes", "x=2x3"],
    1,
    /Cannot add tensors of shapes \[2, 3\] and \[64, 64\]/,
  );
});

Deno.test("cli: configuration files that are missing, damaged or wrong", async () => {
  await inFolder(async (cwd) => {
    const write = (name: string, text: string) =>
      Deno.writeTextFile(`${cwd}/${name}`, text);
    const train = (...args: string[]) => ["train", ...args];
    await refused(
      train("mnist", "--config", "none.yaml"),
      1,
      /Cannot read the configuration none\.yaml: there is no such file/,
      { cwd },
    );
    await write("a.json", `{"epochs": 3`);
    await refused(
      train("mnist", "--config", "a.json"),
      1,
      /a\.json is damaged: it is no JSON/,
      { cwd },
    );
    await write("a.yaml", "epochs: [3\nlr: 2");
    await refused(
      train("mnist", "--config", "a.yaml"),
      1,
      /a\.yaml is damaged: it is no YAML/,
      { cwd },
    );
    await write("b.yaml", "- 1\n- 2\n");
    await refused(
      train("mnist", "--config", "b.yaml"),
      1,
      /b\.yaml is no configuration/,
      { cwd },
    );
    await write("c.yaml", "epoks: 3\n");
    await refused(
      train("mnist", "--config", "c.yaml"),
      2,
      /Unknown setting epoks in c\.yaml: did you mean epochs\?/,
      { cwd },
    );
    await write("d.json", `{"epochs": true}`);
    await refused(
      train("mnist", "--config", "d.json"),
      2,
      /Cannot set epochs to true in d\.json: it must be a whole number/,
      { cwd },
    );
    await write("e.yaml", "recipe: text\n");
    await refused(
      train("mnist", "--config", "e.yaml"),
      2,
      /in e\.yaml is for the recipe text, and the command line names mnist/,
      { cwd },
    );
    assertEquals(await exists(`${cwd}/runs`), false);
  });
});

Deno.test("cli: MNIST files that are missing, truncated or corrupt", async () => {
  await inFolder(async (cwd) => {
    const train = ["train", "mnist", "digits", "--model", "mlp"];
    await refused(
      train,
      1,
      /MNIST needs \w+-images-idx3-ubyte or .*\.gz in digits/,
      { cwd },
    );
    await writeDigits(`${cwd}/digits`);
    const images = `${cwd}/digits/t10k-images-idx3-ubyte`;
    const whole = await Deno.readFile(images);
    await Deno.writeFile(images, whole.subarray(0, 1000));
    await refused(
      train,
      1,
      /t10k-images-idx3-ubyte is truncated: .*1000; copy or download it again\.$/m,
      {
        cwd,
      },
    );
    await Deno.writeTextFile(images, "<html>moved</html>");
    await refused(train, 1, /is not an IDX file: it must start with/, { cwd });
    await Deno.writeFile(images, whole);
    const labels = `${cwd}/digits/t10k-labels-idx1-ubyte`;
    await Deno.copyFile(`${cwd}/digits/train-labels-idx1-ubyte`, labels);
    await refused(train, 1, /has 60 images, but .* has 240 labels/, { cwd });
    await writeDigits(`${cwd}/digits`);
    const wrong = await Deno.readFile(labels);
    wrong[8 + 17] = 200;
    await Deno.writeFile(labels, wrong);
    await refused(
      train,
      1,
      /digits\/t10k-labels-idx1-ubyte has the label 200 at position 17: labels are 0 to 9/,
      { cwd },
    );
    await Deno.writeFile(labels, Uint8Array.of(0x1f, 0x8b, 8, 0, 0));
    await refused(train, 1, /starts like a gzip file but cannot be unpacked/, {
      cwd,
    });
    assertEquals(await exists(`${cwd}/runs`), false);
  });
});

Deno.test("cli: batches larger than the data, and warm-ups longer than the training", async () => {
  await inFolder(async (cwd) => {
    await writeDigits(`${cwd}/digits`);
    const train = (...flags: string[]) => [
      ...["train", "mnist", "digits", "--model", "mlp", ...flags],
    ];
    await refused(
      train("--batch-size", "241"),
      1,
      /batch size of 241 is larger than the data set of 240 examples; choose a batch size of at most 240/,
      { cwd },
    );
    await refused(
      train("--epochs", "1", "--warmup", "10"),
      1,
      /Cannot warm up for 10 of 1 steps: .*--warmup 0/,
      { cwd },
    );
    assertEquals(await exists(`${cwd}/runs`), false);
  });
});

Deno.test("cli: texts that are missing, too short or no text", async () => {
  await inFolder(async (cwd) => {
    const train = (...args: string[]) => ["train", "text", ...args];
    await refused(train(), 2, /Name the text to learn from/, { cwd });
    await refused(
      train("none.txt"),
      1,
      /Cannot read the text none\.txt: there is no such file/,
      { cwd },
    );
    await refused(train("."), 1, /Cannot read the text \.: it is a folder/, {
      cwd,
    });
    await writeText(`${cwd}/short.txt`, 40);
    await refused(
      train("short.txt"),
      1,
      /The part of \S*short\.txt to learn from has 36 characters, and a context of 64 needs at least 65; use a longer text or a context of at most 35/,
      { cwd },
    );
    await Deno.writeFile(`${cwd}/bad.txt`, Uint8Array.of(65, 66, 0xff, 67));
    await refused(train("bad.txt"), 1, /bad\.txt is not UTF-8 text: byte 3/, {
      cwd,
    });
    assertEquals(await exists(`${cwd}/runs`), false);

    await writeText(`${cwd}/text.txt`, 400);
    const trained = await decaf([
      ...train("text.txt", "--epochs", "1", "--batch-size", "2"),
      ...["--context", "8", "--hidden", "4", "--run", "run", "--no-curve"],
      ...["--epoch-windows", "40"],
    ], { cwd });
    assertEquals(trained.code, 0, trained.stderr);
    await refused(
      ["predict", "run", "the Ω"],
      1,
      /The character "Ω" at place 4 is not among the \d+ characters/,
      { cwd },
    );
    await refused(["predict", "run"], 2, /Name what to ask .* run TEXT/, {
      cwd,
    });
    await refused(
      ["predict", "run", "the", "--temperature", "-1"],
      2,
      /--temperature/,
      { cwd },
    );
    await Deno.writeTextFile(`${cwd}/other.txt`, "xyz ".repeat(100));
    await refused(
      ["eval", "run", "--data", "other.txt"],
      1,
      /other\.txt has other characters than the model was made for: "x"/,
      { cwd },
    );
    // Fewer characters than it knows are no other ones.
    await Deno.writeTextFile(`${cwd}/fewer.txt`, "the ".repeat(100));
    const measured = await decaf(["eval", "run", "--data", "fewer.txt"], {
      cwd,
    });
    assertEquals(measured.code, 0, measured.stderr);
  });
});

Deno.test("cli: pictures that are missing, damaged or too few", async () => {
  await inFolder(async (cwd) => {
    const train = ["train", "images", "pictures", "--size", "16"];
    await refused(train, 1, /There is no folder pictures|no such/, { cwd });
    await refused(["train", "images"], 2, /Name the folder of pictures/, {
      cwd,
    });
    await Deno.mkdir(`${cwd}/pictures/a`, { recursive: true });
    await refused(train, 1, /pictures\/a has no pictures/, { cwd });
    const data = new Uint8Array(20 * 20).map((_, i) => i);
    const png = await encodePng({ data, shape: [20, 20], dtype: "u8" });
    for (const name of ["1", "2", "3"]) {
      await Deno.writeFile(`${cwd}/pictures/a/${name}.png`, png);
    }
    await refused(train, 1, /has one class, a, and telling apart takes/, {
      cwd,
    });
    await Deno.mkdir(`${cwd}/pictures/b`);
    await Deno.writeFile(`${cwd}/pictures/b/1.png`, png);
    await Deno.writeFile(`${cwd}/pictures/b/2.png`, png.subarray(0, 60));
    await refused(
      [...train, "--batch-size", "2", "--epochs", "3"],
      1,
      /pictures\/b\/2\.png cannot be decoded as a PNG picture \(60 bytes\)/,
      { cwd },
    );
    await refused([...train, "--test-part", "0.01"], 1, /Cannot set aside/, {
      cwd,
    });
  });
});

/** Trains a small run for the tests below. */
async function smallRun(cwd: string, ...flags: string[]): Promise<void> {
  await writeDigits(`${cwd}/digits`);
  const trained = await decaf([
    ...["train", "mnist", "digits", "--model", "mlp", "--epochs", "1"],
    ...["--hidden", "8", "--run", "run", "--no-curve", ...flags],
  ], { cwd });
  assertEquals(trained.code, 0, trained.stderr);
}

Deno.test("cli: run folders that are damaged, taken or not to be had", async () => {
  await inFolder(async (cwd) => {
    await smallRun(cwd);
    const train = ["train", "mnist", "digits", "--model", "mlp", "--run"];
    await refused([...train, "run"], 1, /run already holds a run; resume it/, {
      cwd,
    });
    await refused(
      [...train, "digits/train-labels-idx1-ubyte/run"],
      1,
      /Cannot/,
      {
        cwd,
      },
    );
    await refused(["resume", "run", "--epochs", "0.5"], 2, /--epochs/, { cwd });
    await refused(["resume", "digits"], 1, /digits is not a run folder/, {
      cwd,
    });
    await refused(
      ["predict", "run", "none.png"],
      1,
      /Cannot read the picture none\.png: there is no such file/,
      { cwd },
    );
    await refused(
      ["predict", "run", "digits/t10k-labels-idx1-ubyte"],
      1,
      /is neither a PNG nor a JPEG picture/,
      { cwd },
    );

    const model = `${cwd}/run/model.safetensors`;
    const bytes = await Deno.readFile(model);
    await Deno.writeFile(model, bytes.subarray(0, bytes.length - 5));
    await refused(
      ["eval", "run"],
      1,
      /model\.safetensors is not a valid safetensors file/,
      { cwd },
    );
    await Deno.remove(model);
    const checkpoint = `${cwd}/run/checkpoint.safetensors`;
    const whole = await Deno.readFile(checkpoint);
    await Deno.writeFile(checkpoint, whole.subarray(0, 900));
    const damaged = /checkpoint\.safetensors is not a valid safetensors file/;
    await refused(["eval", "run"], 1, damaged, { cwd });
    await refused(["resume", "run"], 1, damaged, { cwd });
    await Deno.remove(checkpoint);
    await refused(["eval", "run"], 1, /run holds no weights yet/, { cwd });

    const config = `${cwd}/run/config.json`;
    const good = JSON.parse(await Deno.readTextFile(config));
    const change = async (text: string, sentence: RegExp) => {
      await Deno.writeTextFile(config, text);
      await refused(["resume", "run"], 1, sentence, { cwd });
    };
    await change(`{"decaf": `, /config\.json is damaged/);
    await change("[]", /config\.json is damaged/);
    await change(
      JSON.stringify({ ...good, recipe: "golf" }),
      /its recipe "golf" is none of mnist, text, images/,
    );
    await change(
      JSON.stringify({ ...good, values: undefined }),
      /config\.json is damaged: it needs/,
    );
    await change(
      JSON.stringify({ ...good, values: { ...good.values, epochs: "many" } }),
      /config\.json is damaged: .*epochs/,
    );
    await change(
      JSON.stringify({ ...good, values: { ...good.values, optimizer: "x" } }),
      /config\.json is damaged: .*optimizer/,
    );
  });
});

Deno.test({
  name: "cli: a full disk ends the training with a sentence (needs /dev/full)",
  ignore: !await exists("/dev/full"),
  async fn() {
    await inFolder(async (cwd) => {
      await writeDigits(`${cwd}/digits`);
      await Deno.mkdir(`${cwd}/run`);
      await Deno.symlink("/dev/full", `${cwd}/run/metrics.jsonl`);
      await refused(
        [
          ...["train", "mnist", "digits", "--model", "mlp", "--run", "run"],
          "--no-curve",
        ],
        1,
        /Cannot write run\/metrics\.jsonl: the disk is full/,
        { cwd },
      );
    });
  },
});

Deno.test({
  name:
    "cli: a checkpoint that the disk has no room for leaves the one before (needs a shell)",
  ignore: Deno.build.os === "windows",
  async fn() {
    await inFolder(async (cwd) => {
      await smallRun(cwd);
      const checkpoint = `${cwd}/run/checkpoint.safetensors`;
      const before = await Deno.readFile(checkpoint);
      const { ROOT } = await import("../tools/files.ts");
      // Files of at most 8 blocks: the log fits, the checkpoint does not.
      const command =
        `trap '' XFSZ; ulimit -f 8; exec "$0" run -A --no-check ` +
        `--quiet "$1" resume run --epochs 3`;
      const { code, stderr } = await new Deno.Command("sh", {
        args: ["-c", command, Deno.execPath(), `${ROOT}/cli.ts`],
        cwd,
        env: { NO_COLOR: "1" },
      }).output();
      const said = new TextDecoder().decode(stderr);
      assertEquals(code, 1, said);
      assertMatch(said, /error: Cannot write run\/checkpoint\.safetensors/);
      assertEquals(await Deno.readFile(checkpoint), before);
      const left = [...Deno.readDirSync(`${cwd}/run`)].map((e) => e.name);
      assertEquals(left.filter((name) => name.endsWith(".tmp")), []);
    });
  },
});

Deno.test("cli: a loss that is no number stops with the step and the tensor", async () => {
  await inFolder(async (cwd) => {
    await writeDigits(`${cwd}/digits`);
    await refused(
      [
        ...["train", "mnist", "digits", "--model", "mlp", "--run", "run"],
        ...["--optimizer", "sgd", "--lr", "1e30", "--batch-size", "24"],
        ...["--policy", "fixed", "--no-curve"],
      ],
      1,
      /Cannot go on training.* step \d+.*the first tensor that went bad is /,
      { cwd },
    );
  });
});

Deno.test("cli: DECAF_DEBUG shows the stack", async () => {
  const said = await decaf(["train", "mnits"], { env: { DECAF_DEBUG: "1" } });
  assertEquals(said.code, 2);
  assertMatch(said.stderr, /^\s+at /m);
});
