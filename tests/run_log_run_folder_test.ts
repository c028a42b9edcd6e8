import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  newRunFolder,
  plainJson,
  readConfig,
  readMetrics,
  RunLog,
} from "../train/run_log.ts";
import { inFolder } from "./cli_helpers.ts";

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

const CONFIG = { model: "lenet", lr: 0.01, hidden: [500, 10] };
const now = () => 1700000000250;

Deno.test("run log: config, metrics and an event file", () =>
  inFolder(async (root) => {
    const folder = `${root}/runs/first`;
    {
      using log = await RunLog.create(folder, CONFIG, { now });
      log.write(1, { "train/loss": 2.5, "train/accuracy": 0.1 });
      log.write(2, { "train/loss": NaN, "test/loss": -Infinity });
    }
    assertEquals(await readConfig(folder), CONFIG);
    assertEquals(await readMetrics(folder), [
      {
        step: 1,
        time: 1700000000.25,
        "train/loss": 2.5,
        "train/accuracy": 0.1,
      },
      {
        step: 2,
        time: 1700000000.25,
        "train/loss": NaN,
        "test/loss": -Infinity,
      },
    ]);
    assertEquals(names(folder), [
      "config.json",
      `events.out.tfevents.1700000000.decaf.${Deno.pid}.250`,
      "metrics.jsonl",
    ]);
  }));

Deno.test("run log: lines are there as soon as they are written", () =>
  inFolder(async (folder) => {
    using log = await RunLog.create(folder, CONFIG, { tensorboard: false });
    log.write(1, { loss: 1 });
    assertEquals((await readMetrics(folder)).length, 1);
    assertEquals(names(folder), ["config.json", "metrics.jsonl"]);
  }));

Deno.test("run log: resumed after a crash, it is as if nothing had happened", () =>
  inFolder(async (root) => {
    const crashed = `${root}/crashed`, whole = `${root}/whole`;
    const options = { now, tensorboard: false };
    {
      using log = await RunLog.create(crashed, CONFIG, options);
      for (let step = 1; step <= 5; step++) log.write(step, { loss: 1 / step });
    }
    // The crash cut the last line and left a temporary file behind.
    const path = `${crashed}/metrics.jsonl`;
    await Deno.truncate(path, (await Deno.stat(path)).size - 7);
    await Deno.writeTextFile(`${crashed}/.metrics.jsonl.77-0.tmp`, "half");
    assertEquals((await readMetrics(crashed)).length, 4);
    {
      using log = await RunLog.resume(crashed, 3, options);
      assertEquals(log.config, CONFIG);
      for (let step = 4; step <= 6; step++) log.write(step, { loss: 1 / step });
    }
    {
      using log = await RunLog.create(whole, CONFIG, options);
      for (let step = 1; step <= 6; step++) log.write(step, { loss: 1 / step });
    }
    for (const file of ["config.json", "metrics.jsonl"]) {
      assertEquals(
        await Deno.readTextFile(`${crashed}/${file}`),
        await Deno.readTextFile(`${whole}/${file}`),
      );
    }
    assertEquals(names(crashed), names(whole));
  }));

Deno.test("run log: a resumed run starts an event file of its own", () =>
  inFolder(async (folder) => {
    {
      using log = await RunLog.create(folder, CONFIG, { now });
      log.write(1, { loss: 1 });
    }
    using log = await RunLog.resume(folder, 1, { now: () => now() + 1000 });
    log.write(2, { loss: 1 });
    const events = names(folder).filter((name) => name.startsWith("events"));
    assertEquals(events.length, 2);
    const bytes = await Deno.readFile(`${folder}/${events[1]}`);
    // After the first record, of 24 + 16 bytes, the session's start at step 2.
    const start = bytes.subarray(40 + 12, 40 + 12 + 15);
    assertEquals(start.subarray(9).toHex(), "10023a020801");
  }));

Deno.test("run log: folders that cannot be used say why", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    (await RunLog.create(run, CONFIG))[Symbol.dispose]();
    await assertRejects(
      () => RunLog.create(run, CONFIG),
      Deno.errors.AlreadyExists,
      `${run} already holds a run`,
    );
    await assertRejects(
      () => RunLog.create(`${run}/config.json`, CONFIG),
      Deno.errors.AlreadyExists,
      `Cannot make the run folder ${run}/config.json: a file has that name`,
    );
    await assertRejects(
      () => RunLog.create(`${run}/config.json/deeper`, CONFIG),
      Error,
      `Cannot write ${run}/config.json/deeper`,
    );
    await assertRejects(
      () => RunLog.resume(folder, 0),
      Deno.errors.NotFound,
      `${folder} is not a run folder: it has no config.json`,
    );
    await Deno.writeTextFile(`${run}/metrics.jsonl`, '{"step":1}\n{oops\n');
    await assertRejects(
      () => readMetrics(run),
      SyntaxError,
      "metrics.jsonl, line 2 is damaged",
    );
    for (const text of ["{", "3", ""]) {
      await Deno.writeTextFile(`${run}/config.json`, text);
      await assertRejects(
        () => readConfig(run),
        SyntaxError,
        "config.json is damaged",
      );
    }
  }));

Deno.test("run log: a disk that becomes full leaves whole lines only", () =>
  inFolder(async (folder) => {
    using log = await RunLog.create(folder, CONFIG, { tensorboard: false });
    log.write(1, { loss: 1 });
    const before = await Deno.readTextFile(`${folder}/metrics.jsonl`);
    // A file that takes half of what it is given, and then no more.
    const write = Deno.FsFile.prototype.writeSync;
    let calls = 0;
    Deno.FsFile.prototype.writeSync = function (bytes) {
      if (calls++ > 0) {
        const error = new Error("No space left on device (os error 28)");
        throw Object.assign(error, { code: "ENOSPC" });
      }
      return write.call(this, bytes.subarray(0, bytes.length >> 1));
    };
    try {
      log.write(2, { loss: 2 });
      throw new Error("the line was taken");
    } catch (error) {
      assertStringIncludes((error as Error).message, "the disk is full");
    } finally {
      Deno.FsFile.prototype.writeSync = write;
    }
    const path = `${folder}/metrics.jsonl`;
    assertEquals(await Deno.readTextFile(path), before);
    log.write(2, { loss: 2 });
    assertEquals((await readMetrics(folder)).length, 2);
  }));

Deno.test("run log: folders are named by time and model", () => {
  const folder = newRunFolder("runs", "lenet", new Date(2026, 0, 31, 14, 5, 9));
  assertEquals(folder, "runs/2026-01-31_14-05-09_lenet");
  assert(newRunFolder("runs", "a") !== newRunFolder("runs", "b"));
});

Deno.test("json: numbers that it lacks are texts, in lists too", () => {
  assertEquals(
    plainJson({ loss: NaN, best: [Infinity, -Infinity, 1] }),
    '{"loss":"NaN","best":["Infinity","-Infinity",1]}',
  );
});
