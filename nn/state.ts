/**
 * State dicts: names of properties, and loading with every problem named.
 *
 * @module
 */

import { nearest, ShapeError, shapeText } from "../core/errors.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { overwrite } from "./convert.ts";

/** Tensors by name. */
export type StateDict = Record<string, Tensor>;

/** Options of loading a state dict. */
export interface LoadOptions {
  /** Whether missing and unexpected names are refused; true when omitted. */
  strict?: boolean;
}

/** What did not fit when `strict` is off. */
export interface LoadReport {
  /** Names of the module that the state dict lacks. */
  readonly missing: readonly string[];
  /** Names of the state dict that the module lacks. */
  readonly unexpected: readonly string[];
}

/** `selfAttn` as PyTorch writes it: `self_attn`. */
export function snakeCase(name: string): string {
  return name.replace(
    /(?<=[a-z0-9])[A-Z]/g,
    (letter) => `_${letter.toLowerCase()}`,
  );
}

const shown = 5;

function list(
  names: readonly string[],
  what: string,
  others: readonly string[],
): string[] {
  const lines = names.slice(0, shown).map((name) => {
    const near = nearest(name, others);
    return `${what} "${name}"${
      near === undefined ? "" : ` (nearest: "${near}")`
    }`;
  });
  const rest = names.length - lines.length;
  return rest > 0 ? [...lines, `${rest} more ${what}`] : lines;
}

/** Overwrites the tensors of `own` with those of `state`, after checking all of them. */
export function loadStateDict(
  who: string,
  own: StateDict,
  state: StateDict,
  options: LoadOptions,
): LoadReport {
  const { strict = true } = options;
  const missing = Object.keys(own).filter((name) =>
    !Object.hasOwn(state, name)
  );
  const unexpected = Object.keys(state).filter((name) =>
    !Object.hasOwn(own, name)
  );
  if (strict && missing.length + unexpected.length > 0) {
    throw new TypeError(
      `Cannot load a state dict into ${who}: ${
        [
          ...list(missing, "missing", unexpected),
          ...list(unexpected, "unexpected", missing),
        ].join(", ")
      }; pass { strict: false } to load what fits`,
    );
  }
  const names = Object.keys(own).filter((name) => Object.hasOwn(state, name));
  const wrong = names.filter((name) =>
    !sameShape(own[name].shape, state[name].shape)
  );
  if (wrong.length > 0) {
    const lines = wrong.slice(0, shown).map((name) =>
      `"${name}" has shape ${shapeText(state[name].shape)} and must have ${
        shapeText(own[name].shape)
      }`
    );
    if (wrong.length > shown) lines.push(`${wrong.length - shown} more`);
    throw new ShapeError(
      `Cannot load a state dict into ${who}: ${lines.join(", ")}`,
    );
  }
  for (const name of names) overwrite(own[name], state[name]);
  return { missing, unexpected };
}
