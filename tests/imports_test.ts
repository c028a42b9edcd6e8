/**
 * Imports point downward only. The table below is the order of the rooms; the
 * tests walk every import of the library and fail on an arrow that points up or
 * sideways, on a cycle, and on anything under mod.ts that a script importing it
 * from a URL could not resolve.
 */

import { assert, assertEquals } from "@std/assert";
import { filesBelow, libraryModules, ROOT, WORKSHOP } from "../tools/files.ts";

/**
 * The rooms from the ground up. A module may import from its own room and from
 * lower layers; rooms of one layer do not know each other. The longest matching
 * path decides, so a file can lie lower than the rest of its folder.
 */
const LAYERS: readonly (readonly string[])[] = [
  ["core/dtype.ts", "core/errors.ts", "core/shape.ts"],
  ["kernel"],
  ["core"],
  ["ffi"],
  ["devices", "ops"],
  ["nn"],
  ["optim", "formats"],
  ["data", "models"],
  ["train", "dist"],
  ["train/recipes"],
  ["cli"],
  ["mod.ts", "cli.ts"],
];

/** Arrows that point down and are wrong all the same. */
const FORBIDDEN: readonly (readonly [from: string, to: string])[] = [
  ["ops", "ffi"],
];

/** Rooms of one layer that may use each other after all. */
const TOGETHER: readonly (readonly string[])[] = [
  ["core/dtype.ts", "core/errors.ts", "core/shape.ts"],
];

type Kind = "code" | "type" | "dynamic";

interface Arrow {
  from: string;
  to: string;
  /** As it is written in the source. */
  specifier: string;
  kind: Kind;
}

function roomOf(path: string): { room: string; layer: number } | undefined {
  let best: { room: string; layer: number } | undefined;
  LAYERS.forEach((rooms, layer) => {
    for (const room of rooms) {
      const inside = path === room || path.startsWith(room + "/");
      if (inside && room.length > (best?.room.length ?? 0)) {
        best = { room, layer };
      }
    }
  });
  return best;
}

/** What is wrong with an arrow between two modules of the library, if anything. */
function fault(from: string, to: string): string | undefined {
  const a = roomOf(from);
  const b = roomOf(to);
  if (WORKSHOP.has(to.split("/")[0])) return "the library imports its workshop";
  if (!a || !b) return "no layer in the table";
  if (a.room === b.room) return undefined;
  if (FORBIDDEN.some(([x, y]) => x === a.room && y === b.room)) {
    return `${a.room} must not know ${b.room}`;
  }
  if (a.layer < b.layer) return `${a.room} lies below ${b.room}`;
  if (a.layer > b.layer) return undefined;
  return TOGETHER.some((group) =>
      group.includes(a.room) && group.includes(b.room)
    )
    ? undefined
    : `${a.room} and ${b.room} lie side by side`;
}

/** A cycle among the arrows, as a path that ends where it begins. */
function findCycle(arrows: Arrow[]): string[] | undefined {
  const next = Map.groupBy(arrows, (arrow) => arrow.from);
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (at: string): string[] | undefined => {
    const seen = path.indexOf(at);
    if (seen >= 0) return [...path.slice(seen), at];
    if (done.has(at)) return undefined;
    path.push(at);
    for (const { to } of next.get(at) ?? []) {
      const cycle = visit(to);
      if (cycle) return cycle;
    }
    path.pop();
    done.add(at);
    return undefined;
  };
  for (const from of next.keys()) {
    const cycle = visit(from);
    if (cycle) return cycle;
  }
  return undefined;
}

/** A path inside the checkout for its file URL; other specifiers as they are. */
function pathOf(specifier: string): string {
  const base = new URL("..", import.meta.url).href;
  return specifier.startsWith(base)
    ? decodeURIComponent(specifier.slice(base.length))
    : specifier;
}

interface Info {
  modules: {
    specifier: string;
    dependencies?: {
      specifier: string;
      code?: { specifier?: string };
      type?: { specifier?: string };
      isDynamic?: boolean;
    }[];
  }[];
}

/** All imports of the given modules, as Deno itself resolves them. */
async function importsOf(paths: string[]): Promise<Arrow[]> {
  const entry = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    const urls = paths.map((path) => new URL(`../${path}`, import.meta.url));
    await Deno.writeTextFile(
      entry,
      urls.map((url) => `import ${JSON.stringify(url.href)};\n`).join(""),
    );
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", `${ROOT}/deno.json`, entry],
      cwd: ROOT,
    }).output();
    const info: Info = JSON.parse(new TextDecoder().decode(stdout));
    return info.modules.flatMap((module) => {
      const from = pathOf(module.specifier);
      if (!paths.includes(from)) return [];
      return (module.dependencies ?? []).map((dependency): Arrow => ({
        from,
        to: pathOf(
          dependency.code?.specifier ?? dependency.type?.specifier ??
            dependency.specifier,
        ),
        specifier: dependency.specifier,
        kind: dependency.isDynamic
          ? "dynamic"
          : dependency.code
          ? "code"
          : "type",
      }));
    });
  } finally {
    await Deno.remove(entry);
  }
}

/** Modules named by `new URL("./x.ts", import.meta.url)`, as workers are. */
function workersOf(paths: string[]): Arrow[] {
  const pattern = /new URL\(\s*"([^"]+\.ts)",\s*import\.meta\.url/g;
  return paths.flatMap((from) =>
    [...Deno.readTextFileSync(`${ROOT}/${from}`).matchAll(pattern)].map(
      ([, specifier]): Arrow => ({
        from,
        to: new URL(specifier, `file:///${from}`).pathname.slice(1),
        specifier,
        kind: "dynamic",
      }),
    )
  );
}

const modules = libraryModules();
const arrows = [...await importsOf(modules), ...workersOf(modules)];

function show({ from, specifier }: Arrow): string {
  return `${from} imports "${specifier}"`;
}

function isLocal(arrow: Arrow): boolean {
  return modules.includes(arrow.to) ||
    filesBelow(".", [".ts"]).includes(arrow.to);
}

Deno.test("every module of the library lies in a layer", () => {
  assertEquals(modules.filter((path) => roomOf(path) === undefined), []);
});

Deno.test("no import points up or sideways", () => {
  const wrong = arrows.filter(isLocal).flatMap((arrow) => {
    const why = fault(arrow.from, arrow.to);
    return why ? [`${show(arrow)}: ${why}`] : [];
  });
  assertEquals(wrong, []);
});

Deno.test("no cycle among the imports", () => {
  const cycle = findCycle(
    arrows.filter((arrow) => isLocal(arrow) && arrow.kind === "code"),
  );
  assertEquals(cycle, undefined, `a cycle: ${cycle?.join(" → ")}`);
});

Deno.test("mod.ts can be imported from a URL", () => {
  assert(modules.includes("mod.ts"), "there is no mod.ts");
  const reached = new Set(["mod.ts"]);
  for (const module of reached) {
    for (const { from, to } of arrows) {
      if (from === module) reached.add(to);
    }
  }
  const wrong = arrows.filter((arrow) =>
    reached.has(arrow.from) && !/^\.\.?\//.test(arrow.specifier) &&
    // A package or a Node built-in may be loaded when it is needed, not before.
    !(arrow.kind === "dynamic" && /^(npm|node):/.test(arrow.specifier))
  );
  assertEquals(wrong.map(show), []);
});

Deno.test("the rules find what they forbid", () => {
  assert(fault("kernel/expr.ts", "core/tensor.ts")?.includes("below"));
  assert(fault("ops/math.ts", "ffi/cublas.ts")?.includes("must not"));
  assert(fault("ops/math.ts", "devices/cpu/mod.ts")?.includes("side by side"));
  assert(fault("optim/sgd.ts", "formats/npy.ts")?.includes("side by side"));
  assert(fault("nn/linear.ts", "tools/files.ts")?.includes("workshop"));
  assert(fault("attic/x.ts", "core/tensor.ts")?.includes("no layer"));
  assertEquals(fault("kernel/expr.ts", "core/dtype.ts"), undefined);
  assertEquals(fault("core/device.ts", "kernel/program.ts"), undefined);
  assertEquals(fault("nn/linear.ts", "ops/mod.ts"), undefined);

  const arrow = (from: string, to: string): Arrow => (
    { from, to, specifier: to, kind: "code" }
  );
  const tree = [arrow("a", "b"), arrow("a", "c"), arrow("b", "c")];
  assertEquals(findCycle(tree), undefined);
  assertEquals(findCycle([...tree, arrow("c", "a")]), ["a", "b", "c", "a"]);
});
