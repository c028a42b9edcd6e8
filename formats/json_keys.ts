/**
 * Finds keys that a JSON object repeats; `JSON.parse` silently keeps the last.
 *
 * @module
 */

/** A string, or a character that opens, closes or separates. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;

/**
 * The first key that some object in `json` has twice, or `undefined`.
 *
 * @param json Text that `JSON.parse` accepts.
 * @example
 * ```ts
 * import { duplicateKey } from "./json_keys.ts";
 * if (duplicateKey('{"a": 1, "b": {"a": 2}}') !== undefined) throw new Error();
 * if (duplicateKey('{"a": 1, "\\u0061": 2}') !== "a") throw new Error();
 * ```
 */
export function duplicateKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  let text = "";
  for (const [token] of json.matchAll(TOKEN)) {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const key: string = JSON.parse(text);
      const keys = open[open.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    } else text = token;
  }
  return undefined;
}
