/**
 * Expressions of operators, as in `gelu(add(matmul(x, w), b))`: calls with
 * names, numbers, texts, `true`, `false`, arrays and option objects.
 *
 * @module
 */

import { UsageError } from "./failure.ts";

/** A parsed expression. */
export type Expression =
  | { readonly kind: "call"; name: string; args: readonly Expression[] }
  | { readonly kind: "name"; name: string }
  | { readonly kind: "value"; value: number | string | boolean }
  | { readonly kind: "array"; items: readonly Expression[] }
  | { readonly kind: "object"; entries: readonly [string, Expression][] };

const TOKEN =
  /\s*([A-Za-z_]\w*|-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|-?Infinity|"[^"]*"|[()[\]{},:])/y;

/** Parses an expression. @throws {UsageError} with the place that is not understood. */
export function parseExpression(text: string): Expression {
  const tokens = tokenize(text);
  let at = 0;
  const wrong = (): never => {
    const token = tokens[at];
    throw new UsageError(
      `Cannot read the expression ${text}: ${
        token === undefined
          ? "it ends too early"
          : `"${token.text}" at place ${token.at + 1} does not belong there`
      }`,
    );
  };
  const peek = () => tokens[at]?.text;
  const take = (wanted?: string) => {
    if (at >= tokens.length || (wanted !== undefined && peek() !== wanted)) {
      wrong();
    }
    return tokens[at++].text;
  };
  const list = <T>(end: string, item: () => T): T[] => {
    const items: T[] = [];
    while (peek() !== end) {
      items.push(item());
      if (peek() !== end) take(",");
    }
    take(end);
    return items;
  };
  const expression = (): Expression => {
    const token = peek() ?? wrong();
    if (token === "[") {
      take();
      return { kind: "array", items: list("]", expression) };
    }
    if (token === "{") {
      take();
      const entry = (): [string, Expression] => {
        const name = take();
        take(":");
        return [name, expression()];
      };
      return { kind: "object", entries: list("}", entry) };
    }
    if (/^["\d.-]/.test(token)) {
      take();
      const value = token.startsWith('"') ? token.slice(1, -1) : Number(token);
      return { kind: "value", value };
    }
    if (!/^\w/.test(token)) wrong();
    const name = take();
    if (name === "true" || name === "false") {
      return { kind: "value", value: name === "true" };
    }
    if (peek() !== "(") return { kind: "name", name };
    take();
    return { kind: "call", name, args: list(")", expression) };
  };
  const parsed = expression();
  if (at < tokens.length) wrong();
  return parsed;
}

function tokenize(text: string): { text: string; at: number }[] {
  const tokens: { text: string; at: number }[] = [];
  TOKEN.lastIndex = 0;
  while (text.slice(TOKEN.lastIndex).trim() !== "") {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) {
      throw new UsageError(
        `Cannot read the expression ${text}: "${
          text.slice(from).trim()[0]
        }" is no part of one`,
      );
    }
    tokens.push({ text: match[1], at: match.index });
  }
  return tokens;
}
