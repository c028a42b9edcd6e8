/**
 * What C headers say about functions, constants and structs, found by compiling
 * a small program against them: the compiler reads declarations better than we.
 */

import { machine } from "../ffi/machine.ts";
import { pythons } from "../ffi/search.ts";

/** A question to the headers of one library. */
export interface HeaderQuestion {
  /** Files to include. */
  readonly headers: readonly string[];
  /** Functions whose types are wanted. */
  readonly functions: readonly string[];
  /** Integer expressions whose values are wanted. */
  readonly values: readonly string[];
}

/** What the headers answer. */
export interface HeaderAnswer {
  /** By function: the name that is linked, and codes of the result and of each parameter; undefined when it is not declared. */
  readonly functions: Readonly<Record<string, Declared | undefined>>;
  /** By expression; undefined when it is not declared. */
  readonly values: Readonly<Record<string, number | undefined>>;
}

/**
 * A declared function. Codes: `p` pointer, `v` void, `e` enum, `i` and `u`
 * signed and unsigned integer, `f` floating point, `s` struct by value; each but
 * the first two followed by its bytes.
 */
export interface Declared {
  /** Name in the library's symbol table: macros give some functions another one. */
  readonly linked: string;
  /** Code of the result. */
  readonly result: string;
  /** Codes of the parameters. */
  readonly parameters: readonly string[];
}

/** The `nvidia` folder of a Python's packages: `DECAF_NVIDIA`, or that of the Python environments in use. */
export function nvidiaFolder(): string | undefined {
  const named = Deno.env.get("DECAF_NVIDIA");
  if (named !== undefined) return named;
  return pythons(machine).map(({ folder }) => `${folder}/nvidia`)
    .find((folder) => machine.names(folder).length > 0);
}

/** Folders with headers below an `nvidia` folder. */
export function headerFolders(nvidia: string): string[] {
  return machine.names(nvidia).map((name) => `${nvidia}/${name}/include`)
    .filter((folder) => machine.names(folder).length > 0);
}

const helpers = `
#include <cstdio>
#include <string>
#include <type_traits>
template <class T> std::string code() {
  if constexpr (std::is_void_v<T>) return "v";
  else if constexpr (std::is_pointer_v<T>) return "p";
  else {
    const char *kind = std::is_enum_v<T> ? "e"
      : std::is_floating_point_v<T> ? "f"
      : std::is_integral_v<T> ? (std::is_signed_v<T> ? "i" : "u") : "s";
    return kind + std::to_string(sizeof(T));
  }
}
template <class R, class... A> std::string codes(R (*)(A...)) {
  std::string all = code<R>();
  ((all += " " + code<A>()), ...);
  return all;
}
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
`;

/** Lines of the program, with the name that each asks about. */
function questions({ functions, values }: HeaderQuestion) {
  return [
    ...functions.map((name) => ({
      key: `f ${name}`,
      line:
        `std::printf("f ${name} %s %s\\n", TEXT(${name}), codes((decltype(&${name})) nullptr).c_str());`,
    })),
    ...values.map((name, i) => ({
      key: `c ${name}`,
      line: `std::printf("c ${i} %lld\\n", (long long)(${name}));`,
    })),
  ];
}

/** Compiles and runs a program that answers; what is not declared is left out and the rest asked again. */
export async function askHeaders(
  question: HeaderQuestion,
  includes: readonly string[],
): Promise<HeaderAnswer> {
  const folder = await Deno.makeTempDir();
  try {
    const source = `${folder}/ask.cc`;
    const program = `${folder}/ask`;
    let asked = questions(question);
    for (;;) {
      const head = helpers +
        question.headers.map((file) => `#include <${file}>\n`).join("") +
        "int main() {\n";
      const first = head.split("\n").length;
      await Deno.writeTextFile(
        source,
        `${head}${asked.map(({ line }) => line).join("\n")}\n}\n`,
      );
      const { success, stderr } = await new Deno.Command("g++", {
        args: [
          "-std=c++17",
          "-O0",
          "-w",
          ...includes.map((path) => `-I${path}`),
          source,
          "-o",
          program,
        ],
      }).output();
      if (success) break;
      const log = new TextDecoder().decode(stderr);
      const wrong = new Set(
        [...log.matchAll(/ask\.cc:(\d+):\d+: error/g)].map(([, line]) =>
          Number(line) - first
        ),
      );
      const left = asked.filter((_, i) => !wrong.has(i));
      if (left.length === asked.length) throw new Error(log);
      asked = left;
    }
    const { stdout } = await new Deno.Command(program).output();
    return parse(new TextDecoder().decode(stdout), question);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function parse(text: string, { values }: HeaderQuestion): HeaderAnswer {
  const functions: Record<string, Declared> = {};
  const constants: Record<string, number> = {};
  for (const line of text.trim().split("\n")) {
    const [kind, name, ...rest] = line.split(" ");
    if (kind === "c") constants[values[Number(name)]] = Number(rest[0]);
    else {
      const [linked, result, ...parameters] = rest;
      functions[name] = { linked, result, parameters };
    }
  }
  return { functions, values: constants };
}

function structBytes(type: { struct: readonly Deno.NativeType[] }): number {
  let bytes = 0;
  let largest = 1;
  for (const field of type.struct) {
    const size = typeof field === "object"
      ? structBytes(field)
      : Number(/\d+$/.exec(field)?.[0] ?? 64) / 8;
    bytes = Math.ceil(bytes / size) * size + size;
    largest = Math.max(largest, size);
  }
  return Math.ceil(bytes / largest) * largest;
}

/** Codes that a type of Deno's stands for. */
export function codesOf(type: Deno.NativeResultType): readonly string[] {
  if (typeof type === "object") return [`s${structBytes(type)}`];
  switch (type) {
    case "void":
      return ["v"];
    case "pointer":
    case "buffer":
    case "function":
      return ["p"];
    case "u64":
      return ["u8", "p"];
    case "usize":
      return ["u8"];
    case "isize":
      return ["i8"];
    case "bool":
      return ["u1"];
    case "f32":
      return ["f4"];
    case "f64":
      return ["f8"];
    case "i32":
    case "u32":
      return [`${type[0]}4`, "e4"];
    default:
      return [`${type[0]}${Number(type.slice(1)) / 8}`];
  }
}
