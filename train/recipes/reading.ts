/**
 * What is said when data cannot be read.
 *
 * @module
 */

/** The error of a file or folder that could not be read, as a sentence. */
export function readFailure(
  what: string,
  path: string,
  error: unknown,
): unknown {
  const why = error instanceof Deno.errors.NotFound
    ? "there is no such file"
    : error instanceof Deno.errors.PermissionDenied
    ? "this user may not read it"
    : error instanceof Deno.errors.IsADirectory ||
        (error as { code?: string }).code === "EISDIR"
    ? "it is a folder"
    : undefined;
  if (why === undefined) return error;
  return new Error(`Cannot read ${what} ${path}: ${why}`, { cause: error });
}
