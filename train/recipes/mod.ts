/**
 * The recipes by name.
 *
 * @module
 */

import { imagesRecipe } from "./images.ts";
import { mnistRecipe } from "./mnist.ts";
import type { Recipe } from "./recipe.ts";
import { textRecipe } from "./text.ts";

/** Every recipe by name. */
export const recipes: ReadonlyMap<string, Recipe> = new Map(
  [mnistRecipe, textRecipe, imagesRecipe].map((r) => [r.name, r]),
);
