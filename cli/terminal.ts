/**
 * The terminal: its width, and colours where they are wanted.
 *
 * @module
 */

/** Whether the standard output is a terminal that wants colours. */
function wantsColor(): boolean {
  return Deno.stdout.isTerminal() && !Deno.noColor;
}

/** Whether the terminal says that it has all colours, as pictures need them. */
export function hasAllColors(): boolean {
  const variable = "COLORTERM";
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return wantsColor() && state === "granted" &&
    ["truecolor", "24bit"].includes(Deno.env.get(variable) ?? "");
}

/** Characters per line; 80 where nothing is known. */
export function columns(): number {
  try {
    // A terminal that was told no size says 0.
    return Math.max(Deno.consoleSize().columns || 80, 40);
  } catch {
    return 80;
  }
}

function styled(code: number, text: string): string {
  return wantsColor() ? `\x1b[${code}m${text}\x1b[0m` : text;
}

/** Stronger text. */
export function bold(text: string): string {
  return styled(1, text);
}

/** Fainter text. */
export function dim(text: string): string {
  return styled(2, text);
}

/** A table of two columns: names, and what they mean, wrapped to the terminal. */
export function definitions(
  rows: readonly (readonly [name: string, meaning: string])[],
  indent = 2,
): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const left = " ".repeat(indent);
  return rows.map(([name, meaning]) => {
    const lines = wrap(meaning, Math.max(columns() - indent - width, 20));
    const rest = lines.slice(1).map((line) => left + " ".repeat(width) + line);
    return [`${left}${bold(name.padEnd(width))}${lines[0] ?? ""}`, ...rest]
      .join("\n");
  }).join("\n");
}

/** Breaks text between words into lines of at most `width` characters. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) {
      lines.push(word);
    } else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
