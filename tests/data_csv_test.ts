import { assertEquals, assertRejects } from "@std/assert";
import { type CsvOptions, parseCsv, readCsv } from "../data/csv.ts";

const FLOWERS = `sepal length,"petal, width",kind
5.1,0.2,setosa
7,1.4,versicolor

6.3,2.5e0,"virginica"
-4.9,+.5,setosa
`;

Deno.test("csv: inputs and classes", async () => {
  const table = await parseCsv(FLOWERS, { label: "kind" });
  assertEquals(table, {
    inputs: {
      data: new Float32Array([5.1, 0.2, 7, 1.4, 6.3, 2.5, -4.9, 0.5]),
      shape: [4, 2],
      dtype: "f32",
    },
    targets: { data: new Int32Array([0, 1, 2, 0]), shape: [4], dtype: "i32" },
    columns: ["sepal length", "petal, width"],
    classes: ["setosa", "versicolor", "virginica"],
  });
});

Deno.test("csv: classes of an earlier file keep their numbers", async () => {
  const classes = ["virginica", "versicolor", "setosa"];
  const options = { label: "kind", classes };
  const { targets } = await parseCsv(FLOWERS, options);
  assertEquals([...targets!.data], [2, 1, 0, 2]);
  await assertRejects(
    () => parseCsv(FLOWERS, { label: "kind", classes: ["setosa"] }, "b.csv"),
    SyntaxError,
    'b.csv, line 3, column "kind": there is no class "versicolor" among setosa',
  );
});

Deno.test("csv: no header, another delimiter, number labels, chosen columns", async () => {
  const text = "\u{feff}1;2;30\r\n4;5;6\r\n";
  const options: CsvOptions = { header: false, delimiter: ";" };
  const whole = await parseCsv(text, options);
  assertEquals(whole.inputs.shape, [2, 3]);
  assertEquals(whole.columns, ["0", "1", "2"]);
  assertEquals(whole.targets, undefined);
  const numbers = await parseCsv(text, {
    ...options,
    label: 2,
    labelKind: "number",
    columns: [1],
  });
  assertEquals([...numbers.inputs.data], [2, 5]);
  assertEquals(numbers.targets, {
    data: new Float32Array([30, 6]),
    shape: [2],
    dtype: "f32",
  });
  // Class labels that are numbers are sorted as numbers.
  const { classes } = await parseCsv(text, { ...options, label: 2 });
  assertEquals(classes, ["6", "30"]);
});

Deno.test("csv: each kind of damage is told with its line and column", async () => {
  const cases: [string, CsvOptions, string][] = [
    ["a,b\n1,2\n3,\n", {}, 'x.csv, line 3, column "b": the value is missing'],
    ["a,b\n1,2\n3,  \n", {}, 'line 3, column "b": the value is missing'],
    ["a,b\n1,x2\n", {}, 'line 2, column "b": "x2" is not a number'],
    ["a,b\n1,0x2\n", {}, '"0x2" is not a number'],
    ["a,b\n1,NaN\n", {}, '"NaN" is not a number'],
    ["a,b\n1,\n", { label: "b" }, 'column "b": the value is missing'],
    ["a,b\n1,2\n3\n", {}, "line 3: the row has 1 values, and the table has 2"],
    ['a,b\n"1\n2",3\n4,\n', { columns: ["b"] }, 'line 4, column "b": the val'],
    ["a,b\n", {}, "has no rows after the line of column names"],
    ["", {}, "has no rows"],
    ["a,a\n1,2\n", {}, 'two columns named "a"'],
    ['a,b\n"1,2\n', {}, "is not a CSV file"],
    ["a\n1\n", { label: "a" }, "no column left"],
  ];
  for (const [text, options, sentence] of cases) {
    await assertRejects(
      () => parseCsv(text, options, "x.csv"),
      SyntaxError,
      sentence,
    );
  }
  await assertRejects(
    () => parseCsv(FLOWERS, { label: "kinds" }),
    RangeError,
    'no column "kinds" (did you mean "kind"?)',
  );
});

Deno.test("csv: files", async () => {
  const path = await Deno.makeTempFile({ suffix: ".csv" });
  try {
    await Deno.writeTextFile(path, "a,b\n1,2\n");
    const { inputs } = await readCsv(path);
    assertEquals([...inputs.data], [1, 2]);
    await Deno.writeFile(path, new Uint8Array([0x61, 0xff]));
    await assertRejects(() => readCsv(path), SyntaxError, "byte 2 of 2");
  } finally {
    await Deno.remove(path);
  }
});
