/**
 * Copies of image planes with a border of zeros, in which every access of a
 * sliding window is in range and reads consecutive elements.
 *
 * With a horizontal step of s, padded column x lies in phase x mod s at
 * position ⌊x / s⌋: columns that neighbouring windows read with the same tap
 * are neighbours.
 *
 * @module
 */

import { ModuleBuilder } from "../../kernel/wasm/assembler.ts";
import { advance, loadParameters, loopWhileBelow, repeat } from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import {
  cachedKernel,
  type CpuKernel,
  createKernel,
  runKernel,
  threads,
} from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";
import { Watch, type WildFlag } from "./wild.ts";

/** Words of a padding kernel's parameter block; extents in elements. */
const padParameters = [
  /** First plane. */
  "source",
  /** Rows of a source plane. */
  "height",
  /** Columns of a source plane. */
  "width",
  /** First padded plane. */
  "target",
  /** Rows of a padded plane. */
  "rows",
  /** Columns of a phase. */
  "pitch",
  /** Row of the target that source row 0 goes to; may be negative. */
  "top",
  /** Column of the target that source column 0 goes to; may be negative. */
  "left",
  /** Scratch rows, one per thread. */
  "scratch",
  /** Bytes of a scratch row: all phases of a padded row, and 64. */
  "scratchBytes",
  /** Where to tell of wild numbers, if they are looked for. */
  "flag",
] as const;

/** A kernel that pads f32 planes and splits columns into `phases`; its range counts planes. */
function padKernel(phases: number, watched: boolean): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, padParameters);
    const t = f.local("i32"), plane = f.local("i32"), row = f.local("i32");
    const planeBytes = f.local("i32"), phaseBytes = f.local("i32");
    const from = f.local("i32"), to = f.local("i32"), count = f.local("i32");
    const x0 = f.local("i32"), x1 = f.local("i32"), y1 = f.local("i32");
    const sourceRow = f.local("i32"), line = f.local("i32");
    const i = f.local("i32");
    const watch = watched ? new Watch(f) : undefined;

    f.get(p.scratch).global(thread).get(p.scratchBytes).op("i32.mul");
    f.op("i32.add").set(line);
    f.get(p.rows).get(p.pitch).op("i32.mul").i32(4).op("i32.mul");
    f.set(phaseBytes);
    f.get(phaseBytes).i32(phases).op("i32.mul").set(planeBytes);
    // Source columns x0 ≤ x < x1 and rows up to y1 fall into the target.
    f.i32(0).i32(0).get(p.left).op("i32.sub").get(p.left).i32(0);
    f.op("i32.ge_s").select().set(x0);
    f.get(p.pitch).i32(phases).op("i32.mul").get(p.left).op("i32.sub").set(x1);
    f.get(x1).get(p.width).get(x1).get(p.width).op("i32.lt_s").select().set(x1);
    f.get(p.rows).get(p.top).op("i32.sub").set(y1);
    f.get(y1).get(p.height).get(y1).get(p.height).op("i32.lt_s").select();
    f.set(y1);
    if (phases > 1) {
      f.get(line).i32(0).get(p.scratchBytes).op("memory.fill");
    }
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(p.target).get(t).get(planeBytes).op("i32.mul").op("i32.add");
      f.set(plane);
      f.get(plane).i32(0).get(planeBytes).op("memory.fill");
      f.i32(0).i32(0).get(p.top).op("i32.sub").get(p.top).i32(0);
      f.op("i32.ge_s").select().set(row);
      loopWhileBelow(f, row, () => f.get(y1), 1, () => {
        f.get(t).get(p.height).op("i32.mul").get(row).op("i32.add");
        f.get(p.width).op("i32.mul").get(x0).op("i32.add");
        f.i32(4).op("i32.mul").get(p.source).op("i32.add").set(from);
        f.get(row).get(p.top).op("i32.add").get(p.pitch).op("i32.mul");
        f.i32(4).op("i32.mul").get(plane).op("i32.add").set(sourceRow);
        f.get(phases > 1 ? line : sourceRow);
        f.get(x0).get(p.left).op("i32.add").i32(4).op("i32.mul");
        f.op("i32.add").set(to);
        f.get(x1).get(x0).op("i32.sub").set(count);
        repeat(f, count, () => {
          f.get(to).get(from).load("v128.load").store("v128.store");
          watch?.see(() => f.get(from).load("v128.load"));
          advance(f, from, () => f.i32(16));
          advance(f, to, () => f.i32(16));
        }, 4);
        repeat(f, count, () => {
          f.get(to).get(from).load("i32.load").store("i32.store");
          watch?.see(() => f.get(from).load("v128.load32_zero"));
          advance(f, from, () => f.i32(4));
          advance(f, to, () => f.i32(4));
        });
        if (phases > 1) splitPhases();
      });
    });
    watch?.tell(() => f.get(p.flag));

    /** Deals the padded row at `line` out to the phases' rows. */
    function splitPhases(): void {
      f.get(line).set(from).get(sourceRow).set(to).get(p.pitch).set(count);
      if (phases === 2 || phases === 4) {
        const v = Array.from({ length: phases }, () => f.local("v128"));
        repeat(f, count, () => {
          v.forEach((local, k) =>
            f.get(from).load("v128.load", 16 * k).set(local)
          );
          const dealt = phases === 2 ? dealTwo(v) : dealFour(v);
          f.get(to).set(i);
          for (const push of dealt) {
            f.get(i);
            push();
            f.store("v128.store");
            advance(f, i, () => f.get(phaseBytes));
          }
          advance(f, from, () => f.i32(16 * phases));
          advance(f, to, () => f.i32(16));
        }, 4);
      }
      repeat(f, count, () => {
        f.get(to).set(i);
        for (let phase = 0; phase < phases; phase++) {
          f.get(i).get(from).load("i32.load", 4 * phase).store("i32.store");
          advance(f, i, () => f.get(phaseBytes));
        }
        advance(f, from, () => f.i32(4 * phases));
        advance(f, to, () => f.i32(4));
      });
    }

    function dealTwo([a, b]: number[]): (() => void)[] {
      return [
        () => f.get(a).get(b).shuffle(lanes(0, 2, 4, 6)),
        () => f.get(a).get(b).shuffle(lanes(1, 3, 5, 7)),
      ];
    }

    function dealFour([a, b, c, d]: number[]): (() => void)[] {
      const [l0, h0, l1, h1] = [
        [a, b, lanes(0, 4, 1, 5)],
        [a, b, lanes(2, 6, 3, 7)],
        [c, d, lanes(0, 4, 1, 5)],
        [c, d, lanes(2, 6, 3, 7)],
      ].map(([x, y, pattern]) => {
        const local = f.local("v128");
        f.get(x as number).get(y as number).shuffle(pattern as number[]);
        f.set(local);
        return local;
      });
      return [
        () => f.get(l0).get(l1).shuffle(lanes(0, 1, 4, 5)),
        () => f.get(l0).get(l1).shuffle(lanes(2, 3, 6, 7)),
        () => f.get(h0).get(h1).shuffle(lanes(0, 1, 4, 5)),
        () => f.get(h0).get(h1).shuffle(lanes(2, 3, 6, 7)),
      ];
    }
  });
  const name = watched ? "pad, watched, by" : "pad by";
  return createKernel(`${name} ${phases}`, m.toBytes());
}

/** How to pad planes. */
export interface Padding {
  /** First plane. */
  readonly source: number;
  /** Planes. */
  readonly planes: number;
  /** Rows of a source plane. */
  readonly height: number;
  /** Columns of a source plane. */
  readonly width: number;
  /** Rows of a padded plane. */
  readonly rows: number;
  /** Columns of a phase. */
  readonly pitch: number;
  /** Row of the target that source row 0 goes to; may be negative. */
  readonly top: number;
  /** Column of the target that source column 0 goes to; may be negative. */
  readonly left: number;
  /** Phases that columns are dealt to. */
  readonly phases: number;
  /** Raised where a source plane has wild numbers; not looked for when omitted. */
  readonly flag?: WildFlag;
}

/** Copied elements worth a hand-over to another thread. */
const worthCopying = 2 ** 14;
const block = new ParameterBlock(padParameters.length);
const scratchLines = new Scratch();

/** Pads planes into a scratch block, in parallel, and returns its address; 64 bytes after them may be read. */
export function padPlanes(padding: Padding, into: Scratch): number {
  const { planes, rows, pitch, phases, flag } = padding;
  const watched = flag !== undefined;
  const elements = rows * pitch * phases;
  const target = into.at(planes * elements * 4 + 64);
  const lineBytes = pitch * phases * 4 + 64;
  runKernel(
    cachedKernel(
      `pad ${phases} ${watched}`,
      () => padKernel(phases, watched),
    ),
    block.fill(
      padding.source,
      padding.height,
      padding.width,
      target,
      rows,
      pitch,
      padding.top,
      padding.left,
      phases > 1 ? scratchLines.at(threads() * lineBytes) : 0,
      lineBytes,
      flag === undefined ? 0 : flag.lower(),
    ),
    planes,
    Math.ceil(worthCopying / elements),
  );
  return target;
}

/** Words of the interleaving kernel's parameter block; steps in bytes. */
export const interleaveParameters = [
  /** First dense plane. */
  "source",
  /** Rows of a dense plane. */
  "rows",
  /** Columns of a dense plane. */
  "columns",
  /** Where the first plane's first element goes. */
  "target",
  /** From plane to plane of the target. */
  "planeStep",
  /** From row to row. */
  "rowStep",
  /** From column to column. */
  "columnStep",
] as const;

/** A kernel that spreads dense f32 planes over every few rows and columns of larger ones; its range counts planes. */
export function interleaveKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, interleaveParameters);
    const t = f.local("i32"), row = f.local("i32"), count = f.local("i32");
    const from = f.local("i32"), line = f.local("i32"), to = f.local("i32");
    f.get(1).set(t);
    loopWhileBelow(f, t, () => f.get(2), 1, () => {
      f.get(t).get(p.rows).op("i32.mul").get(p.columns).op("i32.mul");
      f.i32(4).op("i32.mul").get(p.source).op("i32.add").set(from);
      f.get(t).get(p.planeStep).op("i32.mul").get(p.target).op("i32.add");
      f.set(line).get(p.rows).set(row);
      repeat(f, row, () => {
        f.get(line).set(to).get(p.columns).set(count);
        repeat(f, count, () => {
          f.get(to).get(from).load("i32.load").store("i32.store");
          advance(f, from, () => f.i32(4));
          advance(f, to, () => f.get(p.columnStep));
        });
        advance(f, line, () => f.get(p.rowStep));
      });
    });
  });
  return createKernel("interleave", m.toBytes());
}

/** The bytes of a shuffle of 32-bit lanes: 0–3 of the first vector, 4–7 of the second. */
export function lanes(...order: readonly number[]): number[] {
  return order.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte));
}
