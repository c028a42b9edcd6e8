/**
 * How processes meet: rank 0 listens, and hands the others what they need to
 * join the group.
 *
 * @module
 */

import { CollectiveError } from "./errors.ts";
import type { Seat } from "./seat.ts";

/** What a process says first; the number is the version of these sentences. */
const greeting = "decaf rendezvous 1";
/** Longest line that is read. */
const longestLine = 4096;

/** A meeting. */
export interface Meeting extends Pick<Seat, "rank" | "worldSize"> {
  /** Where rank 0 listens. */
  readonly address: string;
  /** Its port. */
  readonly port: number;
  /** Milliseconds to wait for the others. */
  readonly timeout: number;
}

/**
 * Gives every rank what rank 0 has. Returns when all have it.
 *
 * @param meeting Who meets, and where.
 * @param give Makes what is handed out; only rank 0 calls it.
 * @throws {CollectiveError} when not all ranks come in time, or two do not fit.
 */
export async function rendezvous(
  meeting: Meeting,
  give: () => Uint8Array,
): Promise<Uint8Array> {
  if (meeting.rank !== 0) return await visit(meeting);
  const given = give();
  if (meeting.worldSize > 1) await receive(meeting, given);
  return given;
}

/** Rank 0: waits for all others. */
async function receive(
  { worldSize, address, port, timeout }: Meeting,
  given: Uint8Array,
): Promise<void> {
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({ hostname: address, port });
  } catch (error) {
    throw new CollectiveError(
      `Rank 0 cannot listen at ${address}:${port} for the other ranks: ${
        (error as Error).message
      }; choose another MASTER_PORT`,
      { cause: error },
    );
  }
  const absent = new Set(
    Array.from({ length: worldSize - 1 }, (_, i) => i + 1),
  );
  const guests = new Set<Deno.TcpConn>();
  const meeting = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    meeting.reject(
      new CollectiveError(
        `Rank 0 waited ${timeout} ms at ${address}:${port} for the other ranks, and ${
          list([...absent])
        } did not come`,
      ),
    );
  }, timeout);
  const answering = (async () => {
    for await (const guest of listener) {
      guests.add(guest);
      serve(guest, worldSize, absent, given).then(() => {
        if (guests.delete(guest)) guest.close();
        if (absent.size === 0) meeting.resolve();
      });
    }
  })();
  try {
    await meeting.promise;
  } finally {
    clearTimeout(timer);
    listener.close();
    for (const guest of guests) guest.close();
    guests.clear();
    await answering;
  }
}

/** Answers one visitor; one that was served is no longer absent. */
async function serve(
  guest: Deno.TcpConn,
  worldSize: number,
  absent: Set<number>,
  given: Uint8Array,
): Promise<void> {
  try {
    const line = await readLine(guest);
    const found = /^(.*): rank (\d+) of (\d+)$/.exec(line);
    // Somebody else's visit is none of ours.
    if (found?.[1] !== greeting) return;
    const rank = Number(found[2]);
    const problem = Number(found[3]) !== worldSize
      ? `there are ${worldSize} ranks, and this one was started as one of ${
        found[3]
      }`
      : absent.has(rank)
      ? undefined
      : `rank ${rank} is taken`;
    if (problem !== undefined) {
      await write(guest, `no: ${problem}\n`);
      return;
    }
    await write(guest, `yes: ${given.toHex()}\n`);
    absent.delete(rank);
  } catch {
    // A visitor that left before it was served may come again.
  }
}

/** Another rank: goes to rank 0 until it is there. */
async function visit(meeting: Meeting): Promise<Uint8Array> {
  const { rank, worldSize, address, port, timeout } = meeting;
  const end = performance.now() + timeout;
  let why = "";
  for (
    let pause = 10;
    performance.now() < end;
    pause = Math.min(2 * pause, 500)
  ) {
    try {
      using host = await Deno.connect({ hostname: address, port });
      const timer = setTimeout(() => host.close(), end - performance.now());
      try {
        await write(host, `${greeting}: rank ${rank} of ${worldSize}\n`);
        const line = await readLine(host);
        if (line.startsWith("yes: ")) return Uint8Array.fromHex(line.slice(5));
        why = line.startsWith("no: ")
          ? line.slice(4)
          : "somebody else listens there";
      } finally {
        clearTimeout(timer);
      }
      break;
    } catch (error) {
      why = (error as Error).message;
      await new Promise((done) => setTimeout(done, pause));
    }
  }
  throw new CollectiveError(
    `Rank ${rank} did not meet rank 0 at ${address}:${port} within ${timeout} ms: ${why}`,
  );
}

async function write(connection: Deno.TcpConn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) {
    sent += await connection.write(bytes.subarray(sent));
  }
}

/** One line, without its end. */
async function readLine(connection: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(longestLine);
  for (let length = 0; length < buffer.length;) {
    const read = await connection.read(buffer.subarray(length));
    if (read === null) break;
    length += read;
    const end = buffer.subarray(0, length).indexOf(10);
    if (end >= 0) return new TextDecoder().decode(buffer.subarray(0, end));
  }
  throw new Error("the connection ended within a line");
}

function list(ranks: readonly number[]): string {
  return ranks.length === 1 ? `rank ${ranks[0]}` : `ranks ${ranks.join(", ")}`;
}
