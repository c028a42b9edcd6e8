/** One process for each rank: seats, meetings, launching, joining. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import "../mod.ts";
import type { Collectives, JoinSpec } from "../core/collectives.ts";
import { type Device, getDevice, registerDevice } from "../core/device.ts";
import { LocalCommunicator } from "../dist/local.ts";
import * as dist from "../dist/mod.ts";
import { type Meeting, rendezvous } from "../dist/rendezvous.ts";
import { seat } from "../dist/seat.ts";
import { decaf, inFolder } from "./cli_helpers.ts";

function seatOf(variables: Record<string, string>) {
  return seat((name) => variables[name]);
}

Deno.test("seats are read as torchrun writes them", () => {
  assertEquals(seatOf({}).worldSize, 1);
  assertEquals(
    seatOf({
      RANK: "5",
      WORLD_SIZE: "8",
      LOCAL_RANK: "1",
      MASTER_ADDR: "10.0.0.7",
      MASTER_PORT: "29500",
    }),
    {
      rank: 5,
      worldSize: 8,
      localRank: 1,
      address: "10.0.0.7",
      port: 29500,
    },
  );
  const wrong: [Record<string, string>, string][] = [
    [{ RANK: "0" }, "WORLD_SIZE is not set, and RANK is"],
    [{ WORLD_SIZE: "2" }, "RANK is not set"],
    [{ RANK: "2", WORLD_SIZE: "2" }, "RANK is 2, and WORLD_SIZE is 2"],
    [{ RANK: "one", WORLD_SIZE: "2" }, `RANK is "one"`],
    [{ RANK: "0", WORLD_SIZE: "2" }, "MASTER_PORT is not set"],
    [
      { RANK: "0", WORLD_SIZE: "2", MASTER_PORT: "99999" },
      "MASTER_PORT is 99999",
    ],
  ];
  for (const [variables, text] of wrong) {
    assertThrows(() => seatOf(variables), TypeError, text);
  }
});

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function meeting(rank: number, worldSize: number, port: number): Meeting {
  return { rank, worldSize, address: "127.0.0.1", port, timeout: 3000 };
}

Deno.test("all ranks get what rank 0 has, whoever comes first", async () => {
  for (const worldSize of [1, 2, 5]) {
    const port = freePort();
    const id = crypto.getRandomValues(new Uint8Array(128));
    const ranks = Array.from({ length: worldSize }, (_, i) => i).reverse();
    const got = await Promise.all(
      ranks.map((rank) =>
        rendezvous(meeting(rank, worldSize, port), () => {
          assertEquals(rank, 0, "only rank 0 is asked");
          return id;
        })
      ),
    );
    for (const each of got) assertEquals(each.join(), id.join());
  }
});

Deno.test("strangers at the port do not disturb a meeting", async () => {
  const port = freePort();
  const id = Uint8Array.of(1, 2, 3);
  const host = rendezvous(meeting(0, 2, port), () => id);
  await new Promise((done) => setTimeout(done, 20));
  const silent = await Deno.connect({ port });
  const rude = await Deno.connect({ port });
  await rude.write(new TextEncoder().encode("GET / HTTP/1.1\n"));
  const guest = await rendezvous(meeting(1, 2, port), () => id);
  assertEquals([...guest], [1, 2, 3]);
  await host;
  silent.close();
  rude.close();
});

Deno.test("ranks that do not come, or do not fit, are named", async () => {
  const port = freePort();
  const none = () => Uint8Array.of(0);
  const short = { timeout: 150 };
  await assertRejects(
    () => rendezvous({ ...meeting(2, 3, port), ...short }, none),
    dist.CollectiveError,
    `Rank 2 did not meet rank 0 at 127.0.0.1:${port} within 150 ms`,
  );
  const host = rendezvous({ ...meeting(0, 4, port), timeout: 400 }, none);
  const first = rendezvous(meeting(2, 4, port), none);
  const waiting = assertRejects(
    () => host,
    dist.CollectiveError,
    "ranks 1, 3 did not come",
  );
  await first;
  await assertRejects(
    () => rendezvous(meeting(2, 4, port), none),
    dist.CollectiveError,
    "rank 2 is taken",
  );
  await assertRejects(
    () => rendezvous(meeting(1, 2, port), none),
    dist.CollectiveError,
    "there are 4 ranks, and this one was started as one of 2",
  );
  await assertRejects(
    () => rendezvous(meeting(0, 4, port), none),
    dist.CollectiveError,
    `Rank 0 cannot listen at 127.0.0.1:${port}`,
  );
  await waiting;
});

/** Sets environment variables while `body` runs. */
async function withEnv(
  variables: Record<string, string>,
  body: () => Promise<void>,
): Promise<void> {
  for (const [name, value] of Object.entries(variables)) {
    Deno.env.set(name, value);
  }
  try {
    await body();
  } finally {
    for (const name of Object.keys(variables)) Deno.env.delete(name);
  }
}

Deno.test("init joins with the seat of the environment, or alone", async () => {
  using alone = await dist.init({ device: "cpu" });
  assertEquals([alone.rank, alone.worldSize], [0, 1]);
  const two = { RANK: "0", WORLD_SIZE: "2", MASTER_PORT: `${freePort()}` };
  await withEnv(two, async () => {
    await assertRejects(
      () => dist.init({ device: "cpu" }),
      TypeError,
      "no library for collectives among processes",
    );
  });
  const joined: JoinSpec[] = [];
  const cpu = getDevice("cpu");
  const device: Device = Object.create(cpu, {
    name: { value: "joining:1" },
    collectives: {
      value: {
        name: "a library",
        open: () => new LocalCommunicator(device, 1),
        uniqueId: () => Uint8Array.of(7),
        join(spec) {
          joined.push(spec);
          return new LocalCommunicator(device, 1);
        },
      } satisfies Collectives,
    },
  });
  registerDevice("joining:1", () => device);
  const port = freePort();
  const host = rendezvous(meeting(0, 2, port), () => Uint8Array.of(9, 9));
  const seat = {
    ...{ RANK: "1", WORLD_SIZE: "2", LOCAL_RANK: "1" },
    MASTER_PORT: `${port}`,
  };
  await withEnv(seat, async () => {
    using _group = await dist.init({ device: "joining:1", joinTimeout: 2000 });
  });
  await host;
  assertEquals(joined.map(({ rank, id }) => [rank, [...id]]), [[1, [9, 9]]]);
});

/** A script of a test in a folder. */
async function script(folder: string, text: string): Promise<string> {
  const path = `${folder}/script.ts`;
  await Deno.writeTextFile(path, text);
  return path;
}

const flags = ["-A", "--no-check", "--quiet"];

Deno.test("launch starts processes that meet, each with its seat", async () => {
  await inFolder(async (folder) => {
    const path = await script(
      folder,
      `import { seat } from "${import.meta.resolve("../dist/seat.ts")}";
       import { rendezvous } from "${
        import.meta.resolve("../dist/rendezvous.ts")
      }";
       const own = seat();
       const id = await rendezvous({ ...own, timeout: 20000 },
         () => Uint8Array.of(4, 2));
       Deno.writeTextFileSync(Deno.args[0] + "/" + own.rank,
         [own.worldSize, own.localRank, ...id].join());`,
    );
    const result = await dist.launch(path, {
      processes: 3,
      args: [folder],
      flags,
    });
    assertEquals(result, { code: 0, failed: undefined, aborted: false });
    for (const rank of [0, 1, 2]) {
      const said = await Deno.readTextFile(`${folder}/${rank}`);
      assertEquals(said, `3,${rank},4,2`);
    }
  });
});

Deno.test("launch: when one process fails, the others are ended", async () => {
  await inFolder(async (folder) => {
    const path = await script(
      folder,
      `Deno.writeTextFileSync(Deno.args[0] + "/" + Deno.env.get("RANK"), "");
       if (Deno.env.get("RANK") === "1") {
         while ([...Deno.readDirSync(Deno.args[0])].length < 4) await 0;
         Deno.exit(7);
       }
       if (Deno.env.get("RANK") === "2") {
         Deno.addSignalListener("SIGTERM", () => {});
       }
       setTimeout(() => {}, 60000);`,
    );
    const start = performance.now();
    const result = await dist.launch(path, {
      processes: 3,
      args: [folder],
      flags,
      grace: 300,
    });
    assertEquals(result, { code: 7, failed: 1, aborted: false });
    assert(performance.now() - start < 20_000, "nobody waits for the timer");
  });
});

Deno.test("launch ends all processes when it is told to", async () => {
  await inFolder(async (folder) => {
    const path = await script(folder, "setTimeout(() => {}, 60000);");
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 300);
    const { aborted, code } = await dist.launch(path, {
      processes: 2,
      flags,
      signal: controller.signal,
    });
    assertEquals([aborted, code], [true, 143]);
  });
  await assertRejects(
    () => dist.launch("x.ts", { processes: 0 }),
    RangeError,
    "0 processes",
  );
});

Deno.test("cli: launch runs a script with its own flags", async () => {
  await inFolder(async (folder) => {
    const path = await script(
      folder,
      `const [folder, flag] = Deno.args, rank = Deno.env.get("RANK");
       Deno.writeTextFileSync(folder + "/" + rank, flag);
       if (flag === "--fail" && rank === "1") Deno.exit(3);`,
    );
    const good = await decaf([
      "launch",
      "--processes",
      "2",
      path,
      folder,
      "--lr",
    ]);
    assertEquals([good.code, good.stderr], [0, ""]);
    assertEquals(Deno.readTextFileSync(`${folder}/1`), "--lr");
    const bad = await decaf([
      "launch",
      "--processes=2",
      path,
      folder,
      "--fail",
    ]);
    assertEquals(bad.code, 3);
    assert(
      bad.stderr.includes("Rank 1 of 2 ended with exit code 3"),
      bad.stderr,
    );
    const none = await decaf(["launch", "--processes", "2"]);
    assertEquals(none.code, 2);
  });
});
