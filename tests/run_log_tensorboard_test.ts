import { assertEquals, assertRejects } from "@std/assert";
import { crc32c } from "../train/crc32c.ts";
import {
  EventWriter,
  frameRecord,
  loadEncoder,
  type TensorBoardEvent,
} from "../train/tensorboard.ts";

Deno.test("crc32c: the published values of RFC 3720", () => {
  const rising = Uint8Array.from({ length: 32 }, (_, i) => i);
  const cases: [Uint8Array, number][] = [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(255), 0x62a8ab43],
    [rising, 0x46dd794e],
    [rising.toReversed(), 0x113fdb5c],
    [new Uint8Array(0), 0],
  ];
  for (const [bytes, sum] of cases) assertEquals(crc32c(bytes), sum);
});

/** The events that `tests/golden/tensorboard/make.py` writes. */
const EVENTS: TensorBoardEvent[] = [
  { wallTime: 1700000000.25, fileVersion: "brain.Event:2" },
  { wallTime: 1700000000.5, step: 3, start: true },
  {
    wallTime: 1700000001,
    step: 3,
    scalars: { "train/loss": 2.302585, "train/accuracy": 0.1 },
  },
  { wallTime: 1700000002, step: 2 ** 40, scalars: { "test/loss": NaN } },
];

const GOLDEN = new URL(
  "./golden/tensorboard/scalars.tfevents",
  import.meta.url,
);

Deno.test("tensorboard: the bytes that TensorBoard's own classes write", async () => {
  const encode = await loadEncoder();
  const records = EVENTS.map((event) => frameRecord(encode(event)));
  const bytes = records.flatMap((record) => [...record]);
  assertEquals(Uint8Array.from(bytes), await Deno.readFile(GOLDEN));
});

Deno.test("tensorboard: a writer's file is those records", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const times = [1700000000.25, 1700000000.5, 1700000001, 1700000002];
    const options = { purgeStep: 3, now: () => times.shift()! * 1000 };
    const writer = await EventWriter.open(folder, options);
    writer.write(3, EVENTS[2].scalars!);
    writer.write(2 ** 40, EVENTS[3].scalars!);
    writer[Symbol.dispose]();
    assertEquals(
      writer.path,
      `${folder}/events.out.tfevents.1700000000.decaf.${Deno.pid}.250`,
    );
    assertEquals(
      await Deno.readFile(writer.path),
      await Deno.readFile(GOLDEN),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("tensorboard: a folder that is not there is told", async () => {
  await assertRejects(
    () => EventWriter.open("no/such/folder"),
    Error,
    "the folder no/such/folder does not exist",
  );
});
