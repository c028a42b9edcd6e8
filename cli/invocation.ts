/**
 * How this program was started, for telling the user what to type next.
 *
 * @module
 */

/** The start of a command line that runs this program again. */
export function invocation(): string {
  return `${deno()} run -A ${script()}`;
}

/** Who has Deno only through npx cannot type `deno`. */
function deno(): string {
  return /[\\/]_npx[\\/]/.test(Deno.execPath())
    ? `npx -y deno@${Deno.version.deno}`
    : "deno";
}

/** The script as it is seen from the working directory. */
function script(): string {
  if (!Deno.mainModule.startsWith("file:")) return Deno.mainModule;
  const path = decodeURIComponent(new URL(Deno.mainModule).pathname);
  const here = `${Deno.cwd()}/`;
  return path.startsWith(here) ? path.slice(here.length) : path;
}
