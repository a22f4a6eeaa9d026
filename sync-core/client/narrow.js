/**
 * What asks the server for less than all rows of a model: loaded with the first query that has a `where` or a `limit`. Without it, as with
 * a server that cannot, all rows are asked for, and the query finds its own in them.
 * @module
 */

import { Table } from "./table.js";
import { conditions, directions, operations } from "./where.js";

/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./table.js").Abilities} Abilities */
/** @typedef {import("./table.js").Wanted} Wanted */

/** What the server takes. */
const MOST_ROWS = 1_000;
const MOST_FIELDS = 3;
const MOST_TEXT = 16_000;

export const narrowing = { plan, between, edge };
Table.narrowing = narrowing;

/**
 * What the server is asked for: of what is wanted as much as it can judge.
 * @param {Wanted & {where: object}} options
 * @param {Table} table
 * @param {Abilities} abilities
 * @returns {{wanted: Wanted, key: string}} `key`: the same for all that ask for the same, however it is written
 */
function plan({ where, order, limit = 0, after, until }, { name, idName }, { features = [], indexed }) {
  const asked = conditions(where);
  const fields = directions(order).map(([field]) => field);
  const isUsable = (/** @type {string} */ field) => field === idName || indexed?.[name]?.includes?.(field);
  const sent = features.includes("where") ? asked.filter((part) => fieldsOf(part).every(isUsable) && isJson(part)) : [];
  const isWhole = sent.length === asked.length;
  /** @type {Wanted} */
  let wanted = sent.length > 0 ? { where: isWhole ? where : Object.fromEntries(sent) } : {};
  if (isWhole && features.includes("window") && fields.length <= MOST_FIELDS && fields.every(isUsable)) {
    const isWindow = Number.isInteger(limit) && limit > 0 && limit <= MOST_ROWS;
    if (isWindow || after || until) wanted = { ...wanted, order: fields.length > 0 ? [order ?? []].flat() : undefined, limit: isWindow ? limit : undefined, after, until };
  }
  const key = Object.keys(wanted).length > 0 ? JSON.stringify([normal(wanted.where), wanted.order, wanted.limit, after, until]) : "";
  return key.length > MOST_TEXT ? { wanted: {}, key: "" } : { wanted, key };
}

/**
 * Whether a row lies between two places too.
 * @param {Wanted} wanted
 * @param {Table} table
 * @param {(row: Row) => boolean} holds
 * @returns {(row: Row) => boolean}
 */
function between({ order, after, until }, table, holds) {
  const comparing = table.comparison(order);
  const from = after && rowAt(after);
  const to = until && rowAt(until);
  return (row) => holds(row) && !(from && comparing(row, from) <= 0) && !(to && comparing(row, to) > 0);

  /** A row that stands at a place. @param {readonly any[]} place @returns {Row} */
  function rowAt(place) {
    return Object.fromEntries([...directions(order).map(([field], index) => [field, place[index]]), [table.idName, place.at(-1)]]);
  }
}

/**
 * The last row of a window, if it is full: of what is behind that nothing is known.
 * @param {Collection} collection
 * @param {(a: Row, b: Row) => number} compare
 * @returns {Row | undefined}
 */
function edge({ rows: { rows }, wanted: { limit = Infinity } }, compare) {
  if (rows.size >= limit) return [...rows.values()].reduce((last, row) => (compare(row, last) > 0 ? row : last));
}

/** The fields that a condition is about. @param {[string, any]} condition @returns {string[]} */
function fieldsOf([name, condition]) {
  if (name !== "or" && name !== "not") return [name];
  return [condition].flat().flatMap(conditions).flatMap(fieldsOf);
}

/** The same text for all ways to write the same conditions. @param {object} [where] @returns {string} */
function normal(where) {
  const parts = conditions(where).flatMap(([name, condition]) => {
    if (name === "or") return [[name, condition.map(normal).sort()]];
    return name === "not" ? [[name, normal(condition)]] : operations(condition).map((operation) => [name, ...operation]);
  });
  return JSON.stringify(parts.map((part) => JSON.stringify(part)).sort());
}

/** Whether JSON has it. @param {any} value @returns {boolean} */
function isJson(value) {
  if (typeof value === "object" && value !== null) return Object.values(value).every(isJson);
  return /string|boolean|object/.test(typeof value) || Number.isFinite(value);
}
