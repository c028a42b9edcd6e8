/** Tries every call on both sides and judges each difference by more of PyTorch's answers. */

import { operators } from "../../mod.ts";
import type { OpInfo, Sample } from "../../core/op.ts";
import {
  decodeTensor,
  type EncodedSample,
  encodeSample,
} from "../../tests/golden/samples.ts";
import { callsOf } from "./calls.ts";
import {
  type Answer,
  compare,
  type CompareOptions,
  type Difference,
  type ElementDifference,
} from "./compare.ts";
import { ask, witnesses } from "./witness.ts";

/** An element that differs, with what PyTorch's other ways make of it. */
export interface Judged extends ElementDifference {
  /** PyTorch's answer by way; absent where that way refuses the call. */
  readonly seen: Partial<Record<typeof witnesses[number], number>>;
}

/** A call that differs. */
export interface Finding {
  readonly info: OpInfo;
  readonly sample: Sample;
  readonly difference:
    | Exclude<Difference, { kind: "elements" }>
    | { readonly kind: "elements"; readonly elements: readonly Judged[] };
}

interface Call {
  readonly info: OpInfo;
  readonly sample: Sample;
  readonly encoded: EncodedSample;
}

function callsFor(info: OpInfo): Call[] {
  const seen = new Set<string>();
  return callsOf(info).flatMap((sample) => {
    let encoded: EncodedSample;
    try {
      encoded = encodeSample(info, sample);
    } catch {
      return []; // refused before there is anything to compare
    }
    if (seen.has(encoded.key)) return [];
    seen.add(encoded.key);
    return [{ info, sample, encoded }];
  });
}

/** PyTorch's answers to calls, which lie operator by operator. */
async function answersTo(
  python: string,
  calls: readonly Call[],
  way: Parameters<typeof ask>[2],
): Promise<Answer[]> {
  const groups = Map.groupBy(calls, ({ info }) => info);
  const asked = [...groups].map(([info, group]) => ({
    name: info.name,
    torch: info.torch!,
    samples: group.map(({ encoded }) => encoded),
  }));
  return (await ask(python, asked, way)).flat();
}

/** The element of an answer at a place, or undefined where it has none. */
function elementAt(
  answer: Answer,
  { place, index }: ElementDifference,
): number | undefined {
  const [kind, name] = place.split(/ of | /);
  const tensor = kind === "result"
    ? answer.outputs?.[Number(name)]
    : answer.gradients?.[name];
  return tensor === undefined ? undefined : decodeTensor(tensor)[index];
}

/** Compares all calls of the named operators, or of all. */
export async function examine(
  python: string,
  names: readonly string[],
  options: CompareOptions,
): Promise<{ calls: number; operators: number; findings: Finding[] }> {
  const chosen = [...operators().values()].filter((info) =>
    info.torch !== undefined &&
    (names.length === 0 || names.includes(info.name))
  );
  const calls = chosen.flatMap(callsFor);
  const answers = await answersTo(python, calls, "own");
  const differing = calls.flatMap((call, i) => {
    const difference = compare(call.info, call.sample, answers[i], options);
    return difference === undefined ? [] : [{ call, difference }];
  });
  const doubtful = differing.filter(({ difference }) =>
    difference.kind === "elements"
  ).map(({ call }) => call);
  const others = new Map<Call, Partial<Record<string, Answer>>>(
    doubtful.map((call) => [call, {}]),
  );
  for (const way of doubtful.length === 0 ? [] : witnesses) {
    const said = await answersTo(python, doubtful, way);
    doubtful.forEach((call, i) => others.get(call)![way] = said[i]);
  }
  const findings = differing.map(({ call, difference }): Finding => {
    const { info, sample } = call;
    if (difference.kind !== "elements") return { info, sample, difference };
    const elements = difference.elements.map((element): Judged => ({
      ...element,
      seen: Object.fromEntries(
        witnesses.map((way) => {
          const answer = others.get(call)?.[way];
          return [way, answer && elementAt(answer, element)];
        }),
      ),
    }));
    return { info, sample, difference: { kind: "elements", elements } };
  });
  return { calls: calls.length, operators: chosen.length, findings };
}
