/**
 * Tables of numbers in CSV files, split into lines and values by the npm
 * package `csv-parse`, fetched on first use.
 *
 * @module
 */
import { IndexError, nearest } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { readUtf8 } from "./text_file.ts";

/** In a variable, so that Deno fetches the package on first use only. */
const PACKAGE = "npm:csv-parse@7.0.3/sync";

/** Decimal numbers, with an exponent or without. */
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** How a CSV file is read. */
export interface CsvOptions {
  /** Whether the first line names the columns; `true` by default. */
  header?: boolean;
  /** What separates the values; a comma by default. */
  delimiter?: string;
  /** The column of targets, by name, or by number from 0 where there is no header. */
  label?: string | number;
  /**
   * Whether labels are classes (the default), numbered in sorted order, or
   * numbers to be predicted.
   */
  labelKind?: "class" | "number";
  /** The classes in their order, as an earlier file gave them; found by default. */
  classes?: readonly string[];
  /** The columns to take as inputs; all but the label by default. */
  columns?: readonly (string | number)[];
}

/** A CSV file's numbers. */
export interface CsvTable {
  /** The input columns, `f32`, shape `[rows, columns]`. */
  inputs: ArrayRecord;
  /** `i32` classes or `f32` numbers, shape `[rows]`; absent without a label. */
  targets?: ArrayRecord;
  /** The names of the input columns, in order. */
  columns: string[];
  /** The classes that the targets number; absent without class labels. */
  classes?: string[];
}

/** The part of csv-parse that is used here. */
interface CsvParse {
  parse(text: string, options: {
    bom: boolean;
    delimiter: string;
    info: boolean;
    relax_column_count: boolean;
    skip_empty_lines: boolean;
    trim: boolean;
  }): { record: string[]; info: { lines: number } }[];
}

interface Row {
  values: string[];
  line: number;
}

/**
 * Reads the text of a CSV file. Every value of the input columns must be a
 * number.
 *
 * @param name Names the text in error messages, usually the file.
 * @throws {SyntaxError} naming line and column of what is missing or no number.
 * @throws {IndexError} for a column that does not exist.
 * @example
 * ```ts
 * import { parseCsv } from "./csv.ts";
 * const { inputs, targets, classes } = await parseCsv(
 *   "length,width,kind\n5.1,3.5,setosa\n7,3.2,versicolor\n",
 *   { label: "kind" },
 * );
 * if (inputs.shape.join() !== "2,2") throw new Error("shape");
 * if (classes![Number(targets!.data[1])] !== "versicolor") throw new Error();
 * ```
 */
export async function parseCsv(
  text: string,
  options: CsvOptions = {},
  name = "The CSV text",
): Promise<CsvTable> {
  checkOptions("read a CSV file", options, {
    header: true,
    delimiter: true,
    label: true,
    labelKind: true,
    classes: true,
    columns: true,
  });
  const { names, rows } = await split(text, options, name);
  const { label, labelKind = "class" } = options;
  const labelAt = label === undefined ? -1 : find(names, label, name);
  const taken = options.columns?.map((column) => find(names, column, name)) ??
    names.map((_, i) => i).filter((i) => i !== labelAt);
  if (taken.length === 0) {
    throw new SyntaxError(`${name} has no column left to take as input`);
  }
  const at = (row: Row, column: number) =>
    `${name}, line ${row.line}, column "${names[column]}"`;
  const data = new Float32Array(rows.length * taken.length);
  rows.forEach((row, i) => {
    taken.forEach((column, j) => {
      data[i * taken.length + j] = number(row.values[column], at(row, column));
    });
  });
  const table: CsvTable = {
    inputs: { data, shape: [rows.length, taken.length], dtype: "f32" },
    columns: taken.map((column) => names[column]),
  };
  if (labelAt < 0) return table;
  const labels = rows.map((row) => ({
    text: present(row.values[labelAt], at(row, labelAt)),
    place: at(row, labelAt),
  }));
  if (labelKind === "number") {
    const numbers = labels.map(({ text, place }) => number(text, place));
    return { ...table, targets: oneAxis(Float32Array.from(numbers)) };
  }
  const classes = [
    ...options.classes ?? sortedClasses(labels.map(({ text }) => text)),
  ];
  const indexOf = new Map(classes.map((text, i) => [text, i]));
  const targets = labels.map(({ text, place }) => {
    const index = indexOf.get(text);
    if (index !== undefined) return index;
    throw new SyntaxError(
      `${place}: there is no class "${text}" among ${classes.join(", ")}`,
    );
  });
  return { ...table, targets: oneAxis(Int32Array.from(targets)), classes };
}

/** Reads a CSV file; errors name it. See {@linkcode parseCsv}. */
export async function readCsv(
  path: string | URL,
  options: CsvOptions = {},
): Promise<CsvTable> {
  return await parseCsv(await readUtf8(path), options, String(path));
}

async function split(
  text: string,
  { header = true, delimiter = "," }: CsvOptions,
  name: string,
): Promise<{ names: string[]; rows: Row[] }> {
  const { parse }: CsvParse = await import(PACKAGE);
  let records;
  try {
    records = parse(text, {
      bom: true,
      delimiter,
      info: true,
      relax_column_count: true,
      skip_empty_lines: true,
      trim: true,
    });
  } catch (error) {
    throw new SyntaxError(
      `${name} is not a CSV file: ${(error as Error).message}`,
      { cause: error },
    );
  }
  const rows = records.map(({ record, info }) => ({
    values: record,
    line: info.lines,
  }));
  const names = header
    ? rows.shift()?.values ?? []
    : rows[0]?.values.map((_, i) => String(i)) ?? [];
  if (rows.length === 0) {
    throw new SyntaxError(
      `${name} has no rows${header ? " after the line of column names" : ""}`,
    );
  }
  const twice = names.find((column, i) => names.indexOf(column) !== i);
  if (twice !== undefined) {
    throw new SyntaxError(`${name} has two columns named "${twice}"`);
  }
  const ragged = rows.find(({ values }) => values.length !== names.length);
  if (ragged !== undefined) {
    throw new SyntaxError(
      `${name}, line ${ragged.line}: the row has ${ragged.values.length} values, and the table has ${names.length} columns`,
    );
  }
  return { names, rows };
}

function find(
  names: string[],
  column: string | number,
  name: string,
): number {
  const index = names.indexOf(String(column));
  if (index >= 0) return index;
  const near = nearest(String(column), names);
  throw new IndexError(
    `${name} has no column "${column}"${
      near === undefined ? "" : ` (did you mean "${near}"?)`
    }; it has ${names.map((known) => `"${known}"`).join(", ")}`,
  );
}

function present(value: string, place: string): string {
  if (value !== "") return value;
  throw new SyntaxError(
    `${place}: the value is missing; fill it in or remove the row`,
  );
}

function number(value: string, place: string): number {
  if (NUMBER.test(present(value, place))) return Number(value);
  throw new SyntaxError(
    `${place}: "${value}" is not a number; correct it or leave the column out`,
  );
}

/** The distinct labels, as numbers in their order where all are numbers. */
function sortedClasses(labels: string[]): string[] {
  const distinct = [...new Set(labels)];
  return distinct.every((label) => NUMBER.test(label))
    ? distinct.sort((a, b) => Number(a) - Number(b))
    : distinct.sort();
}

function oneAxis(data: Float32Array | Int32Array): ArrayRecord {
  return {
    data,
    shape: [data.length],
    dtype: data instanceof Int32Array ? "i32" : "f32",
  };
}
