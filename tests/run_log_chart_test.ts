import { assert, assertEquals, assertRejects } from "@std/assert";
import { decodeImage } from "../data/image_file.ts";
import { renderChartSvg, runChart, saveChart } from "../train/chart.ts";
import { svgToPng } from "../train/chart_png.ts";
import type { MetricsLine } from "../train/run_log.ts";

/** A run of 200 steps whose loss falls, tested four times. */
const LINES: MetricsLine[] = Array.from({ length: 200 }, (_, i) => {
  const step = i + 1;
  const loss = 2.3 * Math.exp(-step / 50) + 0.05 * (i % 3);
  const line = { step, time: 0, "train/loss": loss, lr: 0.1, grad: NaN };
  return step % 50 === 0
    ? { ...line, "test/loss": loss, "test/accuracy": 1 - loss / 3 }
    : line;
});

Deno.test("chart: a run's numbers become panels and curves", () => {
  const chart = runChart(LINES, "title", "subtitle");
  assertEquals(
    chart.panels.map(({ yLabel, series }) => [
      yLabel,
      series.map(({ name, points }) => [name, points.length]),
    ]),
    [
      ["loss (nats)", [["train", 200], ["test", 4]]],
      ["accuracy (%)", [["test", 4]]],
    ],
  );
  assertEquals(chart.panels[1].series[0].points[0], [
    50,
    1 - LINES[49]["test/loss"] / 3,
  ]);
  const plain = runChart([{ step: 1, time: 0, loss: 2, accuracy: NaN }], "t");
  assertEquals(plain.panels.map(({ series }) => series), [
    [{ name: "train", points: [[1, 2]] }],
  ]);
});

/** The texts of an SVG picture, in order. */
function texts(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) =>
    text
  );
}

Deno.test("chart: the picture names its title, curves, axes and units", async () => {
  const svg = await renderChartSvg(runChart(LINES, "LeNet <1>", "98 %"));
  assert(svg.startsWith("<svg"), svg.slice(0, 20));
  const found = texts(svg);
  for (
    const text of [
      "LeNet &lt;1&gt;",
      "98 %",
      "train",
      "test",
      "step (batches)",
      "loss (nats)",
      "accuracy (%)",
      "150",
    ]
  ) {
    assert(found.includes(text), `${text} is not among ${found.join(" | ")}`);
  }
  // The end of the test curve, as a label: 1 − loss / 3 at step 200.
  const accuracy = 100 * (1 - LINES[199]["test/loss"] / 3);
  assert(found.includes(`${Number(accuracy.toFixed(1))} %`), found.join(" | "));
});

Deno.test("chart: one point and equal points are drawn, none is refused", async () => {
  const one = runChart([{ step: 1, time: 0, loss: 2 }], "one");
  assert((await renderChartSvg(one)).includes("<path"));
  const flat = runChart(LINES.map((line) => ({ ...line, loss: 1 })), "flat");
  assert((await renderChartSvg(flat)).includes("<path"));
  for (const lines of [[], [{ step: 1, time: 0, loss: NaN }]]) {
    await assertRejects(
      () => renderChartSvg(runChart(lines, "none")),
      RangeError,
      'The chart "none" has no points to draw',
    );
  }
});

Deno.test("chart: the PNG has its letters and lines, on white", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const paths = await saveChart(`${folder}/curve`, runChart(LINES, "LeNet"));
    assertEquals(paths, [`${folder}/curve.svg`, `${folder}/curve.png`]);
    const image = await decodeImage(await Deno.readFile(paths[1]));
    const [height, width] = image.shape;
    assertEquals([height, width], [880, 2 * 1168]);
    const at = (
      y: number,
      x: number,
    ) => [...image.data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)];
    assertEquals(at(0, 0), [255, 255, 255]);
    assertEquals(at(height - 1, width - 1), [255, 255, 255]);
    const darkIn = (
      top: number,
      left: number,
      bottom: number,
      right: number,
    ) => {
      let dark = 0;
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) if (at(y, x)[0] < 100) dark++;
      }
      return dark;
    };
    // The title's letters, and the blue curve inside the first panel.
    assert(darkIn(30, 40, 80, 300) > 300, "no title");
    assert(darkIn(190, 170, 740, 1000) > 1000, "no curve");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("chart: text that is no SVG is refused", async () => {
  await assertRejects(() => svgToPng("<sv"), SyntaxError, "not an SVG picture");
});

Deno.test("chart: a program that draws one ends by itself", async () => {
  const module = new URL("../train/chart.ts", import.meta.url).href;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    path,
    `import { renderChartSvg, runChart } from ${JSON.stringify(module)};
    await renderChartSvg(runChart([{ step: 1, time: 0, loss: 1 }], "x"));`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--no-prompt", path],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const timer = setTimeout(() => child.kill(), 30_000);
  const { code } = await child.status;
  clearTimeout(timer);
  await Deno.remove(path);
  assertEquals(code, 0);
});
