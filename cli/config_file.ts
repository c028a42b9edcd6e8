/**
 * Configuration files: settings as JSON or YAML.
 *
 * @module
 */

import type { Given } from "../train/settings.ts";

/** In a variable, so that Deno fetches the parser on first use only. */
const YAML = "npm:deno-std@1.4.0/yaml/parse.js";

/** What a configuration file says. */
export interface ConfigFile extends Given {
  /** The recipe that it is for, if it says so. */
  readonly recipe: string | undefined;
}

/**
 * Reads a configuration file: a flat object of settings, with the recipe's
 * name under `recipe` if it likes. The config.json of a run folder is one too.
 *
 * @throws {Error} naming the file when it cannot be read or parsed.
 */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  const content = await parse(path, await readText(path));
  if (
    typeof content !== "object" || content === null || Array.isArray(content)
  ) {
    throw new SyntaxError(
      `${path} is no configuration: it must hold settings by name, as in "epochs: 3"`,
    );
  }
  const { recipe, ...rest } = content as Record<string, unknown>;
  return {
    where: `in ${path}`,
    write: (name) => name,
    values: isRun(rest) ? withoutRun(rest.values) : rest,
    recipe: typeof recipe === "string" ? recipe : undefined,
  };
}

interface RunContent {
  readonly values: Readonly<Record<string, unknown>>;
}

function isRun(content: object): content is RunContent {
  return "decaf" in content && "values" in content &&
    typeof content.values === "object";
}

/** Another run goes into another folder. */
function withoutRun({ run: _, ...values }: RunContent["values"]) {
  return values;
}

async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new Error(
      `Cannot read the configuration ${path}: ${
        error instanceof Deno.errors.NotFound
          ? "there is no such file"
          : (error as Error).message
      }`,
      { cause: error },
    );
  }
}

async function parse(path: string, text: string): Promise<unknown> {
  const yaml = /\.ya?ml$/i.test(path);
  try {
    if (!yaml) return JSON.parse(text);
    const module: { parse(text: string): unknown } = await import(YAML);
    return module.parse(text);
  } catch (error) {
    throw new SyntaxError(
      `${path} is damaged: it is no ${yaml ? "YAML" : "JSON"} (${
        (error as Error).message.split("\n")[0].replace(/:$/, "")
      }); correct it there`,
      { cause: error },
    );
  }
}
