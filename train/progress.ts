/**
 * Progress of a training: a bar that is redrawn in a terminal, and plain lines
 * now and then where the output is a file or a pipe.
 *
 * @module
 */
import { checkOptions, type OptionNames } from "../core/options.ts";
import { barLine, plainLine, type ProgressState } from "./progress_text.ts";

/** Where progress is written, and how. What is left out is found out. */
export interface ProgressOptions {
  /** What is going on, such as `epoch 1/3`. */
  label?: string;
  /** What is counted, in the plural; `images` by default. */
  unit?: string;
  /** Whether the output is a terminal. */
  terminal?: boolean;
  /** Whether to use colours; not with NO_COLOR. */
  color?: boolean;
  /** Characters per line; asked of the terminal by default. */
  width?: () => number;
  /** Writes text; to the standard error output by default. */
  write?: (text: string) => void;
  /** The clock, in milliseconds. */
  now?: () => number;
  /** Seconds between plain lines, 5 by default; a terminal has ten bars a second. */
  interval?: number;
  /** How much was done before, by a run that is now resumed; 0 by default. */
  done?: number;
}

/** The options of {@linkcode Progress}. */
export const progressNames: OptionNames<ProgressOptions> = {
  label: true,
  unit: true,
  terminal: true,
  color: true,
  width: true,
  write: true,
  now: true,
  interval: true,
  done: true,
};

/** The numbers shown with the progress. */
export interface ProgressMetrics {
  /** The loss. */
  loss?: number;
  /** The accuracy, from 0 to 1. */
  accuracy?: number;
}

/** Time constant of the rate shown, in seconds: it follows the last ones. */
const RATE_MEMORY = 3;

/**
 * Shows how far a training has come. The cursor is never hidden, so a killed
 * program leaves the terminal as it was.
 *
 * @example
 * ```ts
 * import { Progress } from "./progress.ts";
 * const lines: string[] = [];
 * const progress = new Progress(100, {
 *   label: "epoch 1/1",
 *   terminal: false,
 *   write: (text) => lines.push(text),
 *   now: () => 0,
 * });
 * progress.update(100, { loss: 0.5, accuracy: 0.9 });
 * progress.finish();
 * if (!lines[0].startsWith("epoch 1/1: 100 %, loss 0.5000")) throw new Error();
 * ```
 */
export class Progress implements Disposable {
  #total: number;
  #options: Required<Omit<ProgressOptions, "label" | "done">>;
  #label: string;
  #done: number;
  /** What was done before the start. */
  #before: number;
  #metrics: ProgressMetrics = {};
  #started: number;
  #sampled: number;
  #sampledDone: number;
  #rate = 0;
  #shownAt = -Infinity;
  #shownDone = -1;
  #drawn = "";
  #finished = false;

  /** Starts at nothing of `total` done. Nothing is written yet. */
  constructor(total: number, options: ProgressOptions = {}) {
    checkOptions("show progress", options, progressNames);
    this.#total = total;
    this.#label = options.label ?? "";
    this.#before = this.#sampledDone = this.#done = options.done ?? 0;
    const terminal = options.terminal ?? Deno.stderr.isTerminal();
    this.#options = {
      unit: options.unit ?? "images",
      terminal,
      color: options.color ?? (terminal && !Deno.noColor),
      width: options.width ?? terminalWidth,
      write: options.write ?? writeToStderr,
      now: options.now ?? (() => performance.now()),
      interval: options.interval ?? 5,
    };
    this.#started = this.#options.now();
    this.#sampled = this.#started;
    // The first plain line comes after one interval, not at once.
    if (!terminal) this.#shownAt = this.#started;
  }

  /** Whether anything was done since the start. */
  get started(): boolean {
    return this.#done > this.#before;
  }

  /** Says that `done` of the total is done, and what the numbers are. */
  update(done: number, metrics: ProgressMetrics = {}): void {
    if (this.#finished) return;
    const now = this.#options.now();
    this.#done = done;
    this.#metrics = metrics;
    this.#measure(now);
    const wait = this.#options.terminal ? 0.1 : this.#options.interval;
    if (now - this.#shownAt >= wait * 1000) this.#show(now);
  }

  /** Writes a line of its own above the bar. */
  print(text: string): void {
    this.#erase();
    this.#options.write(`${text}\n`);
    if (this.#options.terminal && !this.#finished) {
      this.#show(this.#options.now());
    }
  }

  /** Shows the last state and goes to the next line. */
  finish(): void {
    if (this.#finished) return;
    const now = this.#options.now();
    const shown = this.#shownAt === now && this.#done === this.#shownDone;
    this.#finished = true;
    if (this.#options.terminal || !shown) this.#show(now);
    if (this.#options.terminal) this.#options.write("\n");
    this.#drawn = "";
  }

  /** Takes the bar away and shows nothing any more. */
  clear(): void {
    this.#erase();
    this.#finished = true;
  }

  /** Finishes. */
  [Symbol.dispose](): void {
    this.finish();
  }

  /** The rate over the last seconds; over all of it at the end. */
  #measure(now: number): void {
    const seconds = (now - this.#sampled) / 1000;
    if (seconds < 0.2) return;
    const latest = (this.#done - this.#sampledDone) / seconds;
    const weight = 1 - Math.exp(-seconds / RATE_MEMORY);
    this.#rate += (this.#rate === 0 ? 1 : weight) * (latest - this.#rate);
    this.#sampled = now;
    this.#sampledDone = this.#done;
  }

  #state(now: number): ProgressState {
    const elapsed = (now - this.#started) / 1000;
    const mean = elapsed > 0 ? (this.#done - this.#before) / elapsed : NaN;
    const rate = this.#finished || this.#rate === 0 ? mean : this.#rate;
    return {
      label: this.#label,
      done: this.#done,
      total: this.#total,
      ...this.#metrics,
      unit: this.#options.unit,
      rate,
      left: (this.#total - this.#done) / rate,
    };
  }

  #show(now: number): void {
    const { terminal, color, write, width } = this.#options;
    this.#shownAt = now;
    this.#shownDone = this.#done;
    if (!terminal) {
      write(`${plainLine(this.#state(now))}\n`);
      return;
    }
    // One column stays free, where some terminals would wrap the line.
    const { head, full, empty, tail } = barLine(this.#state(now), width() - 1);
    const text = head + full + empty + tail;
    const bar = color
      ? `\x1b[36m${full}\x1b[90m${empty}\x1b[39m`
      : full + empty;
    const rest = " ".repeat(Math.max(0, this.#drawn.length - text.length));
    write(`\r${head}${bar}${tail}${rest}`);
    this.#drawn = text;
  }

  #erase(): void {
    if (this.#drawn === "") return;
    this.#options.write(`\r${" ".repeat(this.#drawn.length)}\r`);
    this.#drawn = "";
  }
}

function terminalWidth(): number {
  try {
    // A terminal that was told no size says 0.
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}

function writeToStderr(text: string): void {
  const bytes = new TextEncoder().encode(text);
  let written = 0;
  while (written < bytes.length) {
    written += Deno.stderr.writeSync(bytes.subarray(written));
  }
}
