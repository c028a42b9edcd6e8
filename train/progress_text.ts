/**
 * The words of a progress line, fitted to the width of the terminal.
 *
 * @module
 */

/** What a progress line says. */
export interface ProgressState {
  /** What is going on, such as `epoch 1/3`. */
  label: string;
  /** How much is done. */
  done: number;
  /** How much there is in all. */
  total: number;
  /** The loss, if there is one. */
  loss?: number;
  /** The accuracy from 0 to 1, if there is one. */
  accuracy?: number;
  /** What is counted in the rate, such as `images`. */
  unit: string;
  /** Units per second. */
  rate: number;
  /** Seconds left. */
  left: number;
}

const FULL = "━", EMPTY = "─";

/**
 * One line of at most `width` characters: the label, a bar, percent, loss,
 * accuracy, rate and time left. What does not fit goes, the rate first.
 */
export function barLine(state: ProgressState, width: number): {
  /** The text before the bar. */
  head: string;
  /** The done part of the bar. */
  full: string;
  /** The rest of the bar. */
  empty: string;
  /** The text after the bar. */
  tail: string;
} {
  const percent = `${Math.floor(100 * part(state))}%`.padStart(4);
  const loss = state.loss === undefined ? "" : `loss ${short(state.loss)}`;
  const accuracy = state.accuracy === undefined
    ? ""
    : `acc ${(100 * state.accuracy).toFixed(1)}%`;
  const rate = `${count(state.rate)} ${state.unit}/s`;
  const left = `${duration(state.left)} left`;
  // From all there is to say down to what must be said.
  const choices = [
    [state.label, loss, accuracy, rate, left],
    [state.label, loss, accuracy, left],
    ["", loss, accuracy, left],
    ["", loss, left],
    ["", loss],
    [""],
  ];
  for (const [label, ...parts] of choices) {
    const head = label === "" ? "" : `${label} `;
    const tail = [percent, ...parts.filter((text) => text !== "")].join("  ");
    const room = width - head.length - tail.length;
    if (room < 6 && parts.length > 0) continue;
    const length = Math.min(Math.max(room - 1, 0), 30);
    const filled = Math.floor(length * part(state));
    return {
      head,
      full: FULL.repeat(filled),
      empty: EMPTY.repeat(length - filled),
      tail: ` ${tail}`.slice(0, Math.max(width - head.length - length, 0)),
    };
  }
  return { head: "", full: "", empty: "", tail: percent.slice(0, width) };
}

/** The same as a sentence for log files, whatever its length. */
export function plainLine(state: ProgressState): string {
  const parts = [`${Math.floor(100 * part(state))} %`];
  if (state.loss !== undefined) parts.push(`loss ${short(state.loss)}`);
  if (state.accuracy !== undefined) {
    parts.push(`accuracy ${(100 * state.accuracy).toFixed(1)} %`);
  }
  parts.push(`${count(state.rate)} ${state.unit}/s`);
  if (state.done < state.total) parts.push(`${duration(state.left)} left`);
  return `${state.label}: ${parts.join(", ")}`;
}

/** Seconds as `0:07`, `12:34` or `1:02:03`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "-:--";
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}

/** A number with separated thousands, and decimals only where it is small. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits = value < 10 ? 1 : 0;
  const [whole, rest] = value.toFixed(digits).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest === undefined ? grouped : `${grouped}.${rest}`;
}

/** Four digits, also of very large and small numbers. */
function short(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return value.toFixed(size < 10 ? 4 : size < 100 ? 3 : size < 1000 ? 2 : 1);
}

function part({ done, total }: ProgressState): number {
  return total > 0 ? Math.min(Math.max(done / total, 0), 1) : 0;
}
