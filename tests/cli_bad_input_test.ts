/**
 * Each command as a process, on bad words and values: one sentence that says
 * what would work, the right exit code, and no stack.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { decaf, inFolder, writeDigits } from "./cli_helpers.ts";
import { exists, refused } from "./cli_refusals.ts";

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
  await refused(
    train("--device", "gpu"),
    2,
    /Cannot use device "gpu": .*there is cpu, cuda, cuda:1, auto/,
  );
  await refused(train("--devices", "0,gpu"), 2, /Cannot use device "gpu"/);
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
