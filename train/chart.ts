/**
 * Curves of a training as a picture: SVG drawn by the npm package `echarts`,
 * PNG made of it by {@linkcode svgToPng}. Both are fetched on first use.
 *
 * @module
 */
import { writeFileAtomic } from "./atomic_file.ts";
import { svgToPng } from "./chart_png.ts";
import type { MetricsLine } from "./run_log.ts";

/** The bundled file: it asks for no permission, as the package's parts do. */
const ECHARTS = "npm:echarts@6.1.0/dist/echarts.esm.min.mjs";

/** One curve. */
export interface ChartSeries {
  /** What the legend calls it; equal names have equal colours in all panels. */
  name: string;
  /** The points, x and y, in the order of x. */
  points: readonly (readonly [x: number, y: number])[];
}

/** One pair of axes. */
export interface ChartPanel {
  /** What the y axis shows, with its unit, such as `loss (nats)`. */
  yLabel: string;
  /** Whether y goes from 0 to 1 and is shown as percent. */
  percent?: boolean;
  /** The curves. */
  series: readonly ChartSeries[];
}

/** A picture: panels side by side over the same x. */
export interface Chart {
  /** The heading. */
  title: string;
  /** A smaller line below it. */
  subtitle?: string;
  /** What the x axes show, with its unit. */
  xLabel: string;
  /** The panels, left to right. */
  panels: readonly ChartPanel[];
}

/** The part of echarts that is used here. */
interface ECharts {
  init(dom: null, theme: null, options: {
    renderer: "svg";
    ssr: true;
    width: number;
    height: number;
  }): {
    setOption(option: Record<string, unknown>): void;
    renderToSVGString(): string;
    dispose(): void;
  };
}

const FONT = "Inter, Helvetica, Arial, sans-serif";
const INK = "#202124", QUIET = "#5f6368", LINES = "#e8eaed";
const COLOURS = ["#1a66d6", "#e8710a", "#188038", "#a142f4", "#d93025"];

/** Pixels of a panel, and around the panels. */
const PANEL = 440, HEIGHT = 440, LEFT = 78, RIGHT = 66, TOP = 92, BOTTOM = 66;

/** With more points than this, a curve is drawn faintly below its mean. */
const SMOOTHED = 60;

/**
 * Draws a chart as SVG text.
 *
 * @throws {RangeError} when there is no panel or no point to draw.
 */
export async function renderChartSvg(chart: Chart): Promise<string> {
  const { panels } = chart;
  const points = panels.flatMap(({ series }) =>
    series.flatMap(({ points }) => points)
  );
  if (!points.some(([, y]) => Number.isFinite(y))) {
    throw new RangeError(
      `The chart "${chart.title}" has no points to draw; log a number first`,
    );
  }
  const echarts: ECharts = await import(ECHARTS);
  const drawing = echarts.init(null, null, {
    renderer: "svg",
    ssr: true,
    width: panels.length * (LEFT + PANEL + RIGHT),
    height: HEIGHT,
  });
  try {
    drawing.setOption(optionOf(chart));
    return drawing.renderToSVGString();
  } finally {
    // Its timer would keep the program from ending.
    drawing.dispose();
  }
}

/**
 * Draws a chart into `<path>.svg` and `<path>.png`.
 *
 * @returns The two paths.
 */
export async function saveChart(
  path: string,
  chart: Chart,
): Promise<[svg: string, png: string]> {
  const svg = await renderChartSvg(chart);
  await writeFileAtomic(`${path}.svg`, svg);
  await writeFileAtomic(`${path}.png`, await svgToPng(svg));
  return [`${path}.svg`, `${path}.png`];
}

/**
 * The chart of a run's metrics: loss and accuracy by step. A number named
 * `train/loss` becomes the curve `train` of the panel for the loss; a plain
 * `loss` counts as `train`.
 */
export function runChart(
  lines: readonly MetricsLine[],
  title: string,
  subtitle?: string,
): Chart {
  const shown = [
    { name: "loss", yLabel: "loss (nats)", percent: false },
    { name: "accuracy", yLabel: "accuracy (%)", percent: true },
  ];
  const panels = shown.map(({ name, yLabel, percent }) => {
    const series = new Map<string, [number, number][]>();
    for (const line of lines) {
      for (const [key, value] of Object.entries(line)) {
        const [first, second] = key.includes("/")
          ? key.split("/")
          : ["train", key];
        if (second !== name || !Number.isFinite(value)) continue;
        const points = series.get(first) ?? [];
        points.push([line.step, value]);
        series.set(first, points);
      }
    }
    return {
      yLabel,
      percent,
      series: [...series].map(([name, points]) => ({ name, points })),
    };
  });
  return {
    title,
    subtitle,
    xLabel: "step (batches)",
    panels: panels.filter(({ series }) => series.length > 0),
  };
}

function optionOf(chart: Chart): Record<string, unknown> {
  const { title, subtitle, panels } = chart;
  const names = [
    ...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name))),
  ];
  const colourOf = (name: string) =>
    COLOURS[names.indexOf(name) % COLOURS.length];
  return {
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: FONT, color: INK },
    title: {
      text: title,
      subtext: subtitle ?? "",
      left: LEFT - 54,
      top: 16,
      itemGap: 6,
      textStyle: {
        fontFamily: FONT,
        fontSize: 19,
        fontWeight: 600,
        color: INK,
      },
      subtextStyle: { fontFamily: FONT, fontSize: 13, color: QUIET },
    },
    legend: {
      data: names.map((name) => ({
        name,
        itemStyle: { color: colourOf(name) },
        lineStyle: { color: colourOf(name), width: 3, opacity: 1 },
      })),
      right: RIGHT - 20,
      top: 20,
      icon: "roundRect",
      itemWidth: 18,
      itemHeight: 4,
      itemGap: 18,
      textStyle: { fontFamily: FONT, fontSize: 13, color: INK },
    },
    grid: panels.map((_, i) => ({
      left: LEFT + i * (LEFT + PANEL + RIGHT),
      width: PANEL,
      top: TOP,
      bottom: BOTTOM,
    })),
    xAxis: panels.map((_, i) => xAxis(chart, i)),
    yAxis: panels.map((panel, i) => yAxis(panel, i)),
    series: panels.flatMap(({ series, percent = false }, panel) =>
      series.flatMap((curve) =>
        curves(curve, { panel, percent, colour: colourOf(curve.name) })
      )
    ),
  };
}

const AXIS_NAME = { fontFamily: FONT, fontSize: 13, color: QUIET };
const AXIS_LABEL = { fontFamily: FONT, fontSize: 12, color: QUIET };

function xAxis(chart: Chart, gridIndex: number): Record<string, unknown> {
  const steps = chart.panels[gridIndex].series.flatMap(({ points }) =>
    points.map(([x]) => x)
  );
  return {
    gridIndex,
    type: "value",
    name: chart.xLabel,
    nameLocation: "middle",
    nameGap: 36,
    nameTextStyle: AXIS_NAME,
    min: steps.reduce((least, x) => Math.min(least, x), 0),
    max: steps.reduce((most, x) => Math.max(most, x), 1),
    axisLabel: {
      ...AXIS_LABEL,
      hideOverlap: true,
      // The end of the axis may lie close to the tick before it.
      showMaxLabel: false,
      formatter: (value: number) => value.toLocaleString("en-US"),
    },
    axisLine: { show: true, lineStyle: { color: "#9aa0a6" } },
    axisTick: { show: true, length: 4, lineStyle: { color: "#9aa0a6" } },
    splitLine: { show: false },
  };
}

function yAxis(panel: ChartPanel, gridIndex: number): Record<string, unknown> {
  return {
    gridIndex,
    type: "value",
    scale: true,
    name: panel.yLabel,
    nameLocation: "middle",
    nameRotate: 90,
    nameGap: 50,
    nameTextStyle: AXIS_NAME,
    axisLabel: {
      ...AXIS_LABEL,
      formatter: (value: number) => panel.percent ? percents(value) : value,
    },
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { show: true, lineStyle: { color: LINES } },
  };
}

/** A curve; if it has many points, its running mean with the points behind. */
function curves(
  { name, points }: ChartSeries,
  { panel, percent, colour }: {
    panel: number;
    percent: boolean;
    colour: string;
  },
): Record<string, unknown>[] {
  const finite = points.filter(([, y]) => Number.isFinite(y));
  const many = finite.length > SMOOTHED;
  const common = {
    type: "line",
    xAxisIndex: panel,
    yAxisIndex: panel,
    clip: true,
    sampling: "lttb",
  };
  const line = {
    ...common,
    name,
    data: many ? runningMean(finite, Math.ceil(finite.length / 60)) : finite,
    color: colour,
    showSymbol: finite.length <= 25,
    symbol: "circle",
    symbolSize: 7,
    lineStyle: { color: colour, width: 2.2, cap: "round", join: "round" },
    endLabel: {
      show: true,
      distance: 8,
      fontFamily: FONT,
      fontSize: 12,
      fontWeight: 600,
      color: colour,
      formatter: ({ value: [, y] }: { value: [number, number] }) =>
        percent ? `${percents(y)} %` : Number(y.toPrecision(3)),
    },
    labelLayout: { moveOverlap: "shiftY" },
    z: 3,
  };
  if (!many) return [line];
  const faint = {
    ...common,
    name: `${name}, each`,
    data: finite,
    color: colour,
    silent: true,
    showSymbol: false,
    lineStyle: { color: colour, width: 1, opacity: 0.22 },
    z: 2,
  };
  return [faint, line];
}

function percents(part: number): string {
  return String(Number((100 * part).toFixed(1)));
}

/**
 * The mean over the points from `reach` before to `reach` after, which follows
 * a steep start: near it, as few points before as after are taken.
 */
function runningMean(
  points: readonly (readonly [number, number])[],
  reach: number,
): [number, number][] {
  const sums = [0];
  for (const [, y] of points) sums.push(sums[sums.length - 1] + y);
  return points.map(([x], i) => {
    const before = Math.min(i, reach);
    const end = Math.min(points.length, i + before + 1);
    return [x, (sums[end] - sums[i - before]) / (end - i + before)];
  });
}
