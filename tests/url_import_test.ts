/**
 * A script that imports mod.ts from a web server trains a net with the
 * permission to import from there and no other: no deno.json beside it, nothing
 * in the cache.
 */

import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../tools/files.ts";

/** Serves the checkout's TypeScript and notes what was asked for. */
function serveCheckout(asked: Set<string>): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const path = decodeURIComponent(new URL(request.url).pathname);
      asked.add(path);
      if (!path.endsWith(".ts") || path.includes("..")) {
        return new Response("not found", { status: 404 });
      }
      try {
        const text = await Deno.readTextFile(ROOT + path);
        const headers = { "content-type": "application/typescript" };
        return new Response(text, { headers });
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        return new Response("not found", { status: 404 });
      }
    },
  );
}

/** Two workers start; a net learns which points of a grid lie inside a circle; prints some losses. */
function script(host: string): string {
  return `
import { control } from "http://${host}/devices/cpu/worker.ts";
import { heap } from "http://${host}/devices/cpu/memory.ts";
import { setThreads, startWorkers } from "http://${host}/devices/cpu/pool.ts";
import { crossEntropy, manualSeed, nn, optim, scope, tensor } from "http://${host}/mod.ts";

// Both workers arrive: they fall asleep when there is nothing to do.
setThreads(3);
startWorkers();
const patience = performance.now() + 20_000;
while (Atomics.load(heap.i32, control.sleepers) < 2) {
  if (performance.now() > patience) throw new Error("the workers did not start");
  await new Promise((resolve) => setTimeout(resolve, 5));
}

manualSeed(1);
const points: number[][] = [];
const labels: number[] = [];
for (let x = -1; x <= 1; x += 0.1) {
  for (let y = -1; y <= 1; y += 0.1) {
    points.push([x, y]);
    labels.push(x * x + y * y < 0.5 ? 1 : 0);
  }
}
const input = tensor(points);
const target = tensor(labels, { dtype: "i64" });

const model = nn.sequential(nn.linear(2, 32), nn.tanh(), nn.linear(32, 2));
const optimizer = optim.sgd(model, { lr: 0.5, momentum: 0.9 });
for (let step = 0; step <= 100; step++) {
  scope(() => {
    const loss = crossEntropy(model.forward(input), target);
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
    if (step % 50 === 0) console.log(loss.item());
  });
}
`;
}

Deno.test("a script trains with mod.ts from a URL and no permission", async () => {
  const asked = new Set<string>();
  await using server = serveCheckout(asked);
  const host = `127.0.0.1:${server.addr.port}`;
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/script`);
    await Deno.writeTextFile(`${folder}/script/train.ts`, script(host));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", `--allow-import=${host}`, "train.ts"],
      cwd: `${folder}/script`,
      clearEnv: true,
      env: { DENO_DIR: `${folder}/cache`, HOME: folder, NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const output = new TextDecoder().decode(stdout);
    const complaint = new TextDecoder().decode(stderr);
    assertEquals(code, 0, complaint);
    const losses = output.trim().split("\n").map(Number);
    assert(losses.length > 1 && losses.every(Number.isFinite), output);
    assert(losses.at(-1)! < losses[0] / 2, `the loss did not fall: ${output}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  assert(asked.has("/mod.ts"));
  const workshop = [...asked].filter((path) =>
    /^\/(tests|bench|tools|cli)\b/.test(path)
  );
  assertEquals(workshop, []);
});
