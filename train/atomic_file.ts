/**
 * Files that are written whole or not at all: to a temporary file in the same
 * folder, forced to the disk, then renamed over the old one. Whoever opens the
 * file, even after a crash in the middle, finds the old or the new content.
 *
 * @module
 */

/** What a file is made of: text, bytes, or pieces of bytes written in turn. */
export type FileContent = string | Uint8Array | readonly Uint8Array[];

let counter = 0;

/**
 * Writes a file whole or not at all.
 *
 * @throws {Error} with a sentence that names the file and what would work:
 *   for a full disk, a missing or unwritable folder, a missing permission.
 *   Neither the file nor a temporary one is left changed then.
 * @example
 * ```ts
 * import { writeFileAtomic } from "./atomic_file.ts";
 * const folder = await Deno.makeTempDir();
 * await writeFileAtomic(`${folder}/a.txt`, "whole");
 * if (await Deno.readTextFile(`${folder}/a.txt`) !== "whole") throw new Error();
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function writeFileAtomic(
  path: string,
  content: FileContent,
): Promise<void> {
  const pieces = toPieces(content);
  const temporary = temporaryName(path);
  try {
    {
      using file = await Deno.open(temporary, { write: true, createNew: true });
      for (const piece of pieces) {
        let written = 0;
        while (written < piece.length) {
          written += await file.write(piece.subarray(written));
        }
      }
      await file.sync();
    }
    await Deno.rename(temporary, path);
  } catch (error) {
    removeIfThere(temporary);
    throw writeError(error, path, pieces);
  }
  syncFolder(path);
}

/** {@linkcode writeFileAtomic}, for places that cannot wait. */
export function writeFileAtomicSync(path: string, content: FileContent): void {
  const pieces = toPieces(content);
  const temporary = temporaryName(path);
  try {
    {
      using file = Deno.openSync(temporary, { write: true, createNew: true });
      for (const piece of pieces) {
        let written = 0;
        while (written < piece.length) {
          written += file.writeSync(piece.subarray(written));
        }
      }
      file.syncSync();
    }
    Deno.renameSync(temporary, path);
  } catch (error) {
    removeIfThere(temporary);
    throw writeError(error, path, pieces);
  }
  syncFolder(path);
}

/**
 * Removes temporary files that a killed process left beside `path`. Call it
 * when no other process writes there.
 *
 * @returns The names of the removed files.
 */
export async function removeLeftovers(path: string): Promise<string[]> {
  const { folder, name } = splitPath(path);
  const removed: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const middle = entry.name.slice(name.length + 2, -4);
    if (
      entry.isFile && entry.name === `.${name}.${middle}.tmp` &&
      /^\d+-\d+$/.test(middle)
    ) {
      await Deno.remove(`${folder}/${entry.name}`);
      removed.push(entry.name);
    }
  }
  return removed.sort();
}

/**
 * Turns what the system said when a file could not be written into a sentence.
 *
 * @param path The file that was to be written.
 * @param bytes How many bytes it was to have.
 */
export function describeWriteError(
  error: unknown,
  path: string,
  bytes: number,
): Error {
  const { code } = error as { code?: string };
  const { folder } = splitPath(path);
  const start = `Cannot write ${path}`;
  const say = (sentence: string) => {
    const wrapped = new Error(sentence, { cause: error });
    return Object.assign(wrapped, { code });
  };
  if (error instanceof Deno.errors.NotCapable) {
    return say(
      `${start}: Deno was not given the permission; run it again with --allow-write=${folder}`,
    );
  }
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return say(
        `${start}: the disk is full, and the file needs ${bytes} bytes; free that much or choose a folder on another disk. What was there before is unchanged`,
      );
    case "EFBIG":
      return say(
        `${start}: its ${bytes} bytes are more than this system allows in one file; choose a folder on another disk`,
      );
    case "ENOENT":
      return say(
        `${start}: the folder ${folder} does not exist, or takes no new files; create it, or choose another one`,
      );
    case "ENOTDIR":
      return say(
        `${start}: a part of ${folder} is a file and not a folder; choose another one`,
      );
    case "EISDIR":
    case "ENOTEMPTY":
      return say(
        `${start}: there is a folder of that name; choose another one`,
      );
    case "EACCES":
    case "EPERM":
      return say(
        `${start}: this user may not write in the folder ${folder}; choose another one or change its owner or mode`,
      );
    case "EROFS":
      return say(
        `${start}: the folder ${folder} is on a read-only file system; choose another one`,
      );
    case "ENAMETOOLONG":
      return say(
        `${start}: the name is too long for the file system; choose a shorter one`,
      );
    default:
      return say(`${start} (${bytes} bytes): ${(error as Error).message}`);
  }
}

function toPieces(content: FileContent): readonly Uint8Array[] {
  if (typeof content === "string") return [new TextEncoder().encode(content)];
  return content instanceof Uint8Array ? [content] : content;
}

/** The folder that a path lies in, and its name there. */
export function splitPath(path: string): { folder: string; name: string } {
  const at = Math.max(
    path.lastIndexOf("/"),
    Deno.build.os === "windows" ? path.lastIndexOf("\\") : -1,
  );
  const folder = at < 0 ? "." : path.slice(0, at) || "/";
  return { folder, name: path.slice(at + 1) };
}

function temporaryName(path: string): string {
  const { folder, name } = splitPath(path);
  return `${folder}/.${name}.${Deno.pid}-${counter++}.tmp`;
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It was never made, or the disk is gone: the first error is the one to tell.
  }
}

/** Makes the rename itself survive a power cut, where folders can be synced. */
function syncFolder(path: string): void {
  try {
    using folder = Deno.openSync(splitPath(path).folder);
    folder.syncSync();
  } catch {
    // Windows and a missing read permission: the file itself is complete.
  }
}

function writeError(
  error: unknown,
  path: string,
  pieces: readonly Uint8Array[],
): Error {
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return describeWriteError(error, path, bytes);
}
