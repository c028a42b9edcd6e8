/** Runs the command line as a user would, and makes small data for it. */

import { encodeIdx } from "../data/mod.ts";
import { ROOT } from "../tools/files.ts";

/** What a finished process said. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command line that is not started yet, in plain text. */
export function decafCommand(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", `${ROOT}/cli.ts`, ...args],
    cwd: options.cwd,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs the command line to its end. */
export async function decaf(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Finished> {
  const { code, stdout, stderr } = await decafCommand(args, options).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Calls `body` with a temporary folder. */
export async function inFolder(
  body: (folder: string) => void | Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Pictures of bars: class c has its bright column or row at c. */
function bars(count: number, size: number, classes: number) {
  const images = new Uint8Array(count * size * size);
  const labels = new Uint8Array(count);
  let noise = count;
  for (let i = 0; i < count; i++) {
    const label = i % classes;
    labels[i] = label;
    for (let p = 0; p < size * size; p++) {
      noise = (noise * 1103515245 + 12345) & 0x7fffffff;
      const on = label % 2 === 0
        ? p % size === label + 1
        : Math.floor(p / size) === label + 1;
      images[i * size * size + p] = (on ? 180 : 0) + ((noise >> 16) & 63);
    }
  }
  return { images, labels };
}

/** Writes a small data set in MNIST's format. */
export async function writeDigits(
  folder: string,
  options: { train?: number; test?: number; size?: number } = {},
): Promise<void> {
  const { train = 240, test = 60, size = 12 } = options;
  await Deno.mkdir(folder, { recursive: true });
  for (const [part, count] of [["train", train], ["t10k", test]] as const) {
    const { images, labels } = bars(count, size, 4);
    await Deno.writeFile(
      `${folder}/${part}-images-idx3-ubyte`,
      encodeIdx({ data: images, shape: [count, size, size], dtype: "u8" }),
    );
    await Deno.writeFile(
      `${folder}/${part}-labels-idx1-ubyte`,
      encodeIdx({ data: labels, shape: [count], dtype: "u8" }),
    );
  }
}

/** Writes a text of so many characters that has something to learn. */
export async function writeText(path: string, length: number): Promise<void> {
  const words = ["the", "coffee", "is", "hot", "and", "has", "no", "caffeine"];
  let text = "";
  for (let i = 0; text.length < length; i++) {
    const word = words[(i * 5 + Math.floor(i / 9)) % words.length];
    text += i % 7 === 6 ? `${word}.\n` : `${word} `;
  }
  await Deno.writeTextFile(path, text.slice(0, length));
}
