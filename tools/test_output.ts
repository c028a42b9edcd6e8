/** Reads what `deno test --parallel` prints, line by line, so that a run that is cut short is known so far. */

/** The tests that have ended, from the lines of `deno test --parallel` without colours. */
export class TestOutput {
  passed = 0;
  ignored = 0;
  /** Whether the run came to its summary. */
  ended = false;
  readonly #failures: string[] = [];
  readonly #errors = new Map<string, string>();
  #failed = "";

  /** Takes one line, without its end. */
  take(line: string): void {
    // The line of a step names its test, " ... " and the step.
    const end =
      /^(?:\.\/)?(\S+) => ((?:(?! \.\.\. ).)+) \.\.\. (ok|FAILED|ignored) \(/
        .exec(line);
    if (end?.[3] === "ok") this.passed++;
    if (end?.[3] === "ignored") this.ignored++;
    if (end?.[3] === "FAILED") this.#failures.push(`${end[1]}: ${end[2]}`);
    // Errors follow when all tests have ended, each after its test.
    const where = /^(\S.*) => (?:\.\/)?(.*):\d+:\d+$/.exec(line);
    if (where !== null) this.#failed = `${where[2]}: ${where[1]}`;
    const error = /^error: (.*)$/.exec(line);
    if (error !== null && !this.#errors.has(this.#failed)) {
      this.#errors.set(this.#failed, error[1]);
    }
    if (/^(ok|FAILED) \| \d+ passed/.test(line)) this.ended = true;
  }

  /** Files and names of what failed, with the first line of the error where it is known. */
  get failures(): string[] {
    return this.#failures.map((test) => {
      const error = this.#errors.get(test);
      return error === undefined ? test : `${test}: ${error}`;
    });
  }
}
