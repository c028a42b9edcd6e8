/**
 * Reads text files strictly.
 *
 * @module
 */

/**
 * Reads a UTF-8 text file; a byte-order mark at its start is dropped.
 *
 * @throws {SyntaxError} naming the file and the first byte that is not UTF-8.
 */
export async function readUtf8(path: string | URL): Promise<string> {
  const bytes = await Deno.readFile(path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new SyntaxError(
      `${path} is not UTF-8 text: byte ${
        firstBadByte(bytes)
      } of ${bytes.length} cannot be decoded; save the file as UTF-8`,
      { cause: error },
    );
  }
}

/** The place, counted from 1, of the first byte that does not belong. */
function firstBadByte(bytes: Uint8Array): number {
  // A decoder that may wait for more bytes accepts any prefix that is valid.
  let valid = 0, invalid = bytes.length;
  while (valid < invalid) {
    const middle = Math.ceil((valid + invalid) / 2);
    try {
      const decoder = new TextDecoder("utf-8", { fatal: true });
      decoder.decode(bytes.subarray(0, middle), { stream: true });
      valid = middle;
    } catch {
      invalid = middle - 1;
    }
  }
  return Math.min(valid + 1, bytes.length);
}
