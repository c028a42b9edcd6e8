/**
 * Starts the processes of a group on this host.
 *
 * @module
 */

/** Options of {@linkcode launch}. */
export interface LaunchOptions {
  /** How many processes. */
  processes: number;
  /** Arguments of the script. */
  args?: readonly string[];
  /** Flags of `deno run`; `["-A"]` when omitted. */
  flags?: readonly string[];
  /** Further environment variables. */
  env?: Readonly<Record<string, string>>;
  /** Port at which rank 0 is met; a free one when omitted. */
  port?: number;
  /** Ends all processes. */
  signal?: AbortSignal;
  /** Milliseconds that a process gets to end by itself after it was asked to; 5,000 when omitted. */
  grace?: number;
}

/** How the processes ended. */
export interface LaunchResult {
  /** Exit code: 0 if all were 0, else that of the first that failed. */
  readonly code: number;
  /** Rank of the first that failed; undefined when none did. */
  readonly failed: number | undefined;
  /** Whether the signal ended them. */
  readonly aborted: boolean;
}

/**
 * Runs a script in several processes that can meet with {@linkcode init}. When
 * one fails, the others are ended.
 *
 * @param script Path or URL of the script.
 * @param options How many processes, and how.
 * @throws {RangeError} when the number of processes is no positive whole number.
 */
export async function launch(
  script: string | URL,
  options: LaunchOptions,
): Promise<LaunchResult> {
  const { processes, args = [], flags = ["-A"], env = {}, signal } = options;
  const { grace = 5000, port = freePort() } = options;
  if (!Number.isInteger(processes) || processes < 1) {
    throw new RangeError(
      `Cannot start ${processes} processes: give a whole number of at least 1`,
    );
  }
  const children = Array.from(
    { length: processes },
    (_, rank) =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", ...flags, `${script}`, ...args],
        env: {
          ...env,
          RANK: `${rank}`,
          LOCAL_RANK: `${rank}`,
          WORLD_SIZE: `${processes}`,
          LOCAL_WORLD_SIZE: `${processes}`,
          MASTER_ADDR: "127.0.0.1",
          MASTER_PORT: `${port}`,
        },
        stdin: "null",
        stdout: "inherit",
        stderr: "inherit",
      }).spawn(),
  );
  const running = new Set(children);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    for (const child of running) kill(child, "SIGTERM");
    timer ??= setTimeout(() => {
      for (const child of running) kill(child, "SIGKILL");
    }, grace);
  };
  signal?.addEventListener("abort", end, { once: true });
  if (signal?.aborted) end();
  let code = 0, failed: number | undefined;
  await Promise.all(children.map(async (child, rank) => {
    const status = await child.status;
    running.delete(child);
    if (status.success || failed !== undefined) return;
    failed = rank;
    code = status.code;
    end();
  }));
  clearTimeout(timer);
  signal?.removeEventListener("abort", end);
  return { code, failed, aborted: signal?.aborted ?? false };
}

function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended already.
  }
}

/** A port that nobody listens at. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
