/**
 * Which rank a process is, as launchers tell it: the environment variables are
 * those of `torchrun`.
 *
 * @module
 */

/** Place of a process among those that were started together. */
export interface Seat {
  /** Rank of the process: `RANK`. */
  readonly rank: number;
  /** Number of processes: `WORLD_SIZE`. */
  readonly worldSize: number;
  /** Rank among the processes of this host: `LOCAL_RANK`. */
  readonly localRank: number;
  /** Where rank 0 can be met: `MASTER_ADDR`. */
  readonly address: string;
  /** Its port: `MASTER_PORT`. */
  readonly port: number;
}

/** Reads an environment variable. */
export type Environment = (name: string) => string | undefined;

/**
 * The seat that the environment gives this process; one process alone where it
 * says nothing.
 *
 * @throws {TypeError} for variables that are missing or make no sense.
 */
export function seat(
  env: Environment = (name) => Deno.env.get(name),
): Seat {
  const rank = whole(env, "RANK"), worldSize = whole(env, "WORLD_SIZE");
  if (rank === undefined && worldSize === undefined) {
    return {
      rank: 0,
      worldSize: 1,
      localRank: whole(env, "LOCAL_RANK") ?? 0,
      address: "127.0.0.1",
      port: 0,
    };
  }
  if (rank === undefined || worldSize === undefined) {
    throw refusal(
      `${rank === undefined ? "RANK" : "WORLD_SIZE"} is not set, and ${
        rank === undefined ? "WORLD_SIZE" : "RANK"
      } is`,
    );
  }
  if (rank >= worldSize) {
    throw refusal(`RANK is ${rank}, and WORLD_SIZE is ${worldSize}`);
  }
  const port = whole(env, "MASTER_PORT");
  if (worldSize > 1 && (port === undefined || port < 1 || port > 65535)) {
    throw refusal(
      `MASTER_PORT is ${
        port ?? "not set"
      }, and a port from 1 to 65535 is needed`,
    );
  }
  return {
    rank,
    worldSize,
    localRank: whole(env, "LOCAL_RANK") ?? rank,
    address: env("MASTER_ADDR") || "127.0.0.1",
    port: port ?? 0,
  };
}

function whole(env: Environment, name: string): number | undefined {
  const text = env(name);
  if (text === undefined || text === "") return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  throw refusal(`${name} is "${text}", and a whole number is needed`);
}

function refusal(why: string): TypeError {
  return new TypeError(
    `Cannot join a process group: ${why}; start the processes with dist.launch, "decaf launch" or torchrun, which set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT`,
  );
}
