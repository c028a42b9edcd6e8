/**
 * What the arguments of transforms may be, checked when a transform is made
 * and not at the first picture.
 *
 * @module
 */
import {
  type AttributeRule,
  count,
  oneOf,
  positiveInteger,
  probability,
  rule,
  showValue,
} from "../core/attributes.ts";
import { IndexError } from "../core/errors.ts";

/** So many of what `one` accepts. */
function tuple(
  length: number,
  one: AttributeRule,
): (x: unknown) => boolean {
  return (x) => Array.isArray(x) && x.length === length && x.every(one.accepts);
}

const finite = rule("a finite number", Number.isFinite);
const factor = rule(
  "a number of at least 0",
  (x) => finite.accepts(x) && (x as number) >= 0,
);
const positive = rule(
  "a number above 0",
  (x) => finite.accepts(x) && (x as number) > 0,
);
const interval = rule(
  "two numbers above 0, the smaller first",
  (x) => tuple(2, positive)(x) && (x as number[])[0] <= (x as number[])[1],
);

/** The arguments that there are rules for. */
export type ArgumentName =
  | "size"
  | "padding"
  | "padMode"
  | "rotateMode"
  | "fill"
  | "degrees"
  | "p"
  | "scale"
  | "ratio"
  | "brightness"
  | "contrast"
  | "saturation"
  | "hue"
  | "mean"
  | "std";

/** What the arguments and options of transforms may be, by name. */
const rules = {
  size: rule(
    "a whole number of pixels ≥ 1, or [height, width] of them",
    (x) => positiveInteger.accepts(x) || tuple(2, positiveInteger)(x),
  ),
  padding: rule(
    "a whole number of pixels ≥ 0, or [left, top, right, bottom] of them",
    (x) => count.accepts(x) || tuple(4, count)(x),
  ),
  padMode: oneOf("constant", "edge", "reflect"),
  rotateMode: oneOf("nearest", "bilinear"),
  fill: finite,
  degrees: finite,
  p: probability,
  scale: interval,
  ratio: interval,
  brightness: factor,
  contrast: factor,
  saturation: factor,
  hue: rule(
    "a number from 0 to 0.5",
    (x) => factor.accepts(x) && (x as number) <= 0.5,
  ),
  mean: rule(
    "a list of numbers, one per channel",
    (x) => Array.isArray(x) && x.every(finite.accepts),
  ),
  std: rule(
    "a list of numbers above 0, one per channel",
    (x) => Array.isArray(x) && x.every(positive.accepts),
  ),
} satisfies Record<ArgumentName, AttributeRule>;

/**
 * Refuses arguments that a transform cannot work with.
 *
 * @throws {IndexError} naming the transform, the argument, and what it must be.
 */
export function checkArguments(
  transform: string,
  given: { readonly [Name in ArgumentName]?: unknown },
): void {
  for (const [name, value] of Object.entries(given)) {
    const rule = rules[name as ArgumentName];
    if (value === undefined || rule.accepts(value)) continue;
    const shown = name.endsWith("Mode") ? "mode" : name;
    throw new IndexError(
      `Cannot make the transform ${transform} with ${shown} ${
        showValue(value)
      }: it must be ${rule.says}`,
    );
  }
}
