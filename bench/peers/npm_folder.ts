/** Where Deno keeps an npm package's files: some packages load them by path. */

/** The folder of an npm package that was imported before, with no slash at its end. */
export async function npmFolder(
  name: string,
  version: string,
): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
  }).output();
  const cache: string = JSON.parse(new TextDecoder().decode(stdout)).npmCache;
  for await (const registry of Deno.readDir(cache)) {
    const folder = `${cache}/${registry.name}/${name}/${version}`;
    try {
      if ((await Deno.stat(folder)).isDirectory) return folder;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new Error(`There is no ${name} ${version} in ${cache}`);
}
