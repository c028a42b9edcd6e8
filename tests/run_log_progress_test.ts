import { assert, assertEquals } from "@std/assert";
import { asciiImage, asciiImageRow } from "../train/ascii_image.ts";
import { Progress, type ProgressOptions } from "../train/progress.ts";
import { barLine, count, duration } from "../train/progress_text.ts";

const ESCAPE = "\x1b";

/** Runs 60,000 images in 30 steps of one second each; gives what was written. */
function run(options: ProgressOptions): string[] {
  const written: string[] = [];
  let clock = 0;
  const progress = new Progress(60000, {
    label: "epoch 1/3",
    write: (text) => written.push(text),
    now: () => clock,
    color: false,
    ...options,
  });
  for (let step = 1; step <= 30; step++) {
    clock += 1000;
    progress.update(step * 2000, { loss: 2.3 / step, accuracy: step / 31 });
  }
  progress.finish();
  return written;
}

Deno.test("progress: a terminal's line is redrawn in place", () => {
  const written = run({ terminal: true, width: () => 100 });
  assertEquals(written.length, 32);
  assertEquals(
    written[14],
    "\repoch 1/3 ━━━━━━━━━━━━━━━───────────────  50%  loss 0.1533  acc 48.4%  2,000 images/s  0:15 left",
  );
  assertEquals(written.at(-1), "\n");
  for (const text of written.slice(0, -1)) {
    assert(text.startsWith("\r") && !text.includes("\n"), text);
    assert(!text.includes(ESCAPE), text);
    assert(text.length <= 100, text);
  }
});

Deno.test("progress: at any width the line fits and says the percent", () => {
  for (let width = 6; width <= 120; width++) {
    for (const text of run({ terminal: true, width: () => width })) {
      assert(text.length - 1 < width, `${width}: ${text}`);
      if (text !== "\n") assert(text.includes("%"), text);
    }
  }
  const narrow = run({ terminal: true, width: () => 40 });
  assert(narrow[14].includes("loss 0.1533"), narrow[14]);
  assert(narrow[14].includes("0:15 left"), narrow[14]);
  assert(narrow[14].includes("━"), narrow[14]);
});

Deno.test("progress: a terminal that was told no size has 80 characters a line", () => {
  const { consoleSize } = Deno;
  Deno.consoleSize = () => ({ columns: 0, rows: 0 });
  try {
    const expected = run({ terminal: true, width: () => 80 });
    assertEquals(run({ terminal: true }), expected);
  } finally {
    Deno.consoleSize = consoleSize;
  }
});

Deno.test("progress: a shorter line covers the one before", () => {
  const written: string[] = [];
  let clock = 0;
  const progress = new Progress(10, {
    terminal: true,
    color: false,
    width: () => 80,
    write: (text) => written.push(text),
    now: () => clock,
  });
  progress.update(1, { loss: 123456789, accuracy: 1 });
  clock += 1000;
  progress.update(2, {});
  assertEquals(written[0].trimEnd().length, written[1].length);
  progress.print("saved");
  assertEquals(written[2].trim(), "");
  assertEquals(written[3], "saved\n");
  assert(written[4].startsWith("\r━"), written[4]);
});

Deno.test("progress: ten bars a second are enough", () => {
  let clock = 0, bars = 0;
  const progress = new Progress(1000, {
    terminal: true,
    width: () => 80,
    write: () => bars++,
    now: () => clock,
  });
  for (let done = 1; done <= 1000; done++) {
    clock += 1;
    progress.update(done);
  }
  assertEquals(bars, 10);
});

Deno.test("progress: colours stand around the bar only", () => {
  const plain = run({ terminal: true, width: () => 90 });
  const coloured = run({ terminal: true, width: () => 90, color: true });
  const codes = new RegExp(`${ESCAPE}\\[\\d+m`, "g");
  assert(coloured[5].includes("\x1b[36m━"), coloured[5]);
  assertEquals(coloured.map((text) => text.replaceAll(codes, "")), plain);
  // Nothing but colours: the cursor is not hidden.
  assert(
    coloured.every((text) => !text.replaceAll(codes, "").includes(ESCAPE)),
  );
});

Deno.test("progress: a file gets a line every few seconds, and the end", () => {
  assertEquals(run({ terminal: false, interval: 10 }), [
    "epoch 1/3: 33 %, loss 0.2300, accuracy 32.3 %, 2,000 images/s, 0:20 left\n",
    "epoch 1/3: 66 %, loss 0.1150, accuracy 64.5 %, 2,000 images/s, 0:10 left\n",
    "epoch 1/3: 100 %, loss 0.0767, accuracy 96.8 %, 2,000 images/s\n",
  ]);
});

Deno.test("progress: durations, counts and odd losses", () => {
  assertEquals(
    [0, 7, 59.2, 754, 3723, Infinity, NaN, -1].map(duration),
    ["0:00", "0:07", "1:00", "12:34", "1:02:03", "-:--", "-:--", "0:00"],
  );
  assertEquals(
    [0, 3.14159, 99.6, 1234.5, 1234567, NaN].map(count),
    ["0.0", "3.1", "100", "1,235", "1,234,567", "-"],
  );
  const line = (loss: number) =>
    barLine({
      ...{ label: "", done: 0, total: 0, unit: "x", rate: NaN, left: NaN },
      loss,
    }, 200).tail;
  for (
    const [loss, text] of [
      [NaN, "loss NaN"],
      [Infinity, "loss Infinity"],
      [0, "loss 0.0000"],
      [0.00012, "loss 1.20e-4"],
      [31.25, "loss 31.250"],
      [4567.8, "loss 4567.8"],
      [1e7, "loss 1.00e+7"],
    ] as const
  ) {
    assert(line(loss).includes(`${text}  `), line(loss));
  }
});

Deno.test("progress: NO_COLOR is heard, without any permission", async () => {
  const module = new URL("../train/progress.ts", import.meta.url).href;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    path,
    `import { Progress } from ${JSON.stringify(module)};
    const progress = new Progress(2, { terminal: true, label: "x" });
    progress.update(1);
    progress.finish();`,
  );
  try {
    for (const noColor of [true, false]) {
      const env = Deno.env.toObject();
      delete env.NO_COLOR;
      if (noColor) env.NO_COLOR = "1";
      const { stderr, success } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "--no-config", "--no-prompt", path],
        clearEnv: true,
        env,
        stderr: "piped",
        stdout: "null",
      }).output();
      const text = new TextDecoder().decode(stderr);
      assert(success, text);
      assertEquals(text.includes(ESCAPE), !noColor);
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("ascii: shades, odd heights, floats and clamping", () => {
  const pixels = new Float32Array([0, 0.5, 1, 2, 0, 0.5, 1, -1, 1, 1, 1, 1]);
  const text = asciiImage({ pixels, width: 4, height: 3 }, { white: 1 });
  assertEquals(text, " ▒█▒\n▒▒▒▒");
});

Deno.test("ascii: colours give both halves of a character", () => {
  const pixels = new Uint8Array([0, 255, 128, 64]);
  assertEquals(
    asciiImage({ pixels, width: 2, height: 2 }, { color: true }),
    "\x1b[38;2;0;0;0;48;2;128;128;128m▀\x1b[38;2;255;255;255;48;2;64;64;64m▀\x1b[0m",
  );
});

Deno.test("ascii: pictures side by side, as many as fit, with captions", () => {
  const one = { pixels: [255, 255, 255, 255], width: 2, height: 2 };
  const images = ["a", "two", "c"].map((caption) => ({ ...one, caption }));
  assertEquals(
    asciiImageRow(images, { columns: 7 }),
    "██  ██\n a  two\n██\n c",
  );
  assertEquals(asciiImageRow(images), "██  ██  ██\n a  two  c");
  assertEquals(asciiImageRow([]), "");
});
