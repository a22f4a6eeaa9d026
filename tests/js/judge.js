// What the client's filters and orders say of rows, for tests of the server's: a list of questions on stdin, a list of answers on stdout.
//
//     {"rows": [{"id": 1, …}, …], "cases": [{"where"?, "order"?, "after"?, "until"?, "limit"?}, …]}  ->  [[id, …], …]

import { pathToFileURL } from "node:url";

import { compare, comparison, predicate } from "../../sync-core/client/where.js";

/**
 * The ids of the rows of a case, in its order. `after` and `until` are places: a value for each field of the order, and an id.
 * @param {readonly any[]} rows
 * @param {{where?: object, order?: string[], after?: any[], until?: any[], limit?: number}} asked
 */
export function judge(rows, { where, order = [], after, until, limit = Infinity }) {
  const byPlace = comparison(order, (a, b) => compare(a.id, b.id));
  const names = order.map((name) => name.replace(/^-/, ""));
  // The id comes last: it may be one of the fields too.
  const at = (/** @type {any[]} */ place) => Object.fromEntries([...names, "id"].map((name, index) => [name, place[index]]));
  const chosen = rows
    .filter(predicate(where))
    .filter((row) => (!after || byPlace(row, at(after)) > 0) && (!until || byPlace(row, at(until)) <= 0));
  return chosen.sort(byPlace).slice(0, limit).map((row) => row.id);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const chunk of process.stdin) text += chunk;
  const { rows, cases } = JSON.parse(text);
  process.stdout.write(JSON.stringify(cases.map((/** @type {any} */ asked) => judge(rows, asked))));
}
