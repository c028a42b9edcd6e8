/** Reads the JUnit file that `deno test --junit-path` writes. */

/** One test or step. */
export interface TestCase {
  /** The module, relative to the root. */
  file: string;
  /** The test's name; a step's begins with its test's, then " > ". */
  name: string;
  outcome: "passed" | "failed" | "skipped";
  seconds: number;
  /** Whether it is a step of another test. */
  step: boolean;
}

const ENTITIES: Record<string, string> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&apos;": "'",
  "&amp;": "&",
};

function unescape(text: string): string {
  return text
    .replace(
      /&#(x?)([0-9a-f]+);/gi,
      (_, hex, digits) => String.fromCodePoint(parseInt(digits, hex ? 16 : 10)),
    )
    .replace(/&(lt|gt|quot|apos|amp);/g, (entity) => ENTITIES[entity]);
}

/** The tests and steps in the text of a JUnit file; none in an empty text. */
export function parseJunit(xml: string): TestCase[] {
  const pattern =
    /<testcase name="([^"]*)" classname="([^"]*)" time="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;
  const cases: TestCase[] = [];
  const keys = new Set<string>();
  for (const [, name, file, time, body = ""] of xml.matchAll(pattern)) {
    const test: TestCase = {
      file: unescape(file).replace(/^\.\//, ""),
      name: unescape(name),
      outcome: /<failure|<error/.test(body)
        ? "failed"
        : body.includes("<skipped")
        ? "skipped"
        : "passed",
      seconds: Number(time),
      step: false,
    };
    cases.push(test);
    keys.add(`${test.file}\n${test.name}`);
  }
  for (const test of cases) {
    const parts = test.name.split(" > ");
    test.step = parts.some((_, end) =>
      end > 0 && keys.has(`${test.file}\n${parts.slice(0, end).join(" > ")}`)
    );
  }
  return cases;
}
