/**
 * Each command as a process, on files that are missing, damaged or not to be
 * written: one sentence that says what would work, the right exit code, no
 * stack, and nothing left half-written.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { encodePng } from "../data/mod.ts";
import { decaf, inFolder, writeDigits, writeText } from "./cli_helpers.ts";
import { exists, refused, smallRun } from "./cli_refusals.ts";

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
    await refused(
      [...train, "other", "--trace", "none/t.json"],
      2,
      /Cannot set --trace to "none\/t\.json": there is no folder none; create it/,
      { cwd },
    );
    assertEquals(await exists(`${cwd}/other`), false);
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
