/**
 * What the compiler said about a kernel, with the lines it speaks of.
 *
 * @module
 */

/** A kernel could not be compiled. */
export class CompilationError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "CompilationError";
}

/** Errors that a message shows. */
const shown = 3;

/** The log's errors, each followed by the source line it is about, with its number. */
export function withSource(log: string, source: string): string {
  const lines = source.split("\n");
  const errors = log.split("\n").flatMap((line) => {
    const found =
      /^[^(:]*[(:](\d+)\)?(?::\d+)?: (?:\w+ )?error(?: #\S+)?: (.*)$/
        .exec(line);
    if (found === null) return [];
    const number = Number(found[1]);
    const text = lines[number - 1]?.trim() ?? "";
    return [`${found[2]}\n  line ${number}: ${text}`];
  });
  if (errors.length === 0) return log;
  const more = errors.length - shown;
  return errors.slice(0, shown).join("\n") +
    (more > 0 ? `\n  and ${more} more` : "");
}
