/**
 * Which rows a query has and in which order: the client's side of `where` and `order`, compiled once a query.
 *
 * Values of different types are never equal and not comparable; a field that a row does not have is null; null equals
 * null alone, and is neither less nor greater than anything. Arrays and objects are equal by what is in them, and neither less nor
 * greater. `not` and `ne` are plain negations. In an order null comes
 * first, then false, true, numbers, strings; strings go by code point, as the server's do.
 * @module
 */

/** @typedef {{readonly [field: string]: any}} Row */
/** @typedef {(row: Row) => boolean} Predicate */
/** @typedef {(a: Row, b: Row) => number} Comparison */

/**
 * What may be asked of a value: the value itself (equality), or any of these, all of which must hold.
 * @template V
 * @typedef {V | {eq?: V, ne?: V, lt?: V, lte?: V, gt?: V, gte?: V, in?: readonly V[], prefix?: string}} Condition
 */

/**
 * @template {import("./model.js").ModelTypes} T
 * @typedef {{[F in T["indexed"]]?: Condition<T["row"][F]>}
 *   & {and?: readonly Where<T>[], or?: readonly Where<T>[], not?: Where<T>}} Where
 */

/** @type {Map<string, (operand: any) => (value: any) => boolean>} */
const OPERATORS = new Map(
  Object.entries({
    eq: (operand) => (value) => equal(value, operand),
    ne: (operand) => (value) => !equal(value, operand),
    lt: (operand) => (value) => comparable(value, operand) && compare(value, operand) < 0,
    lte: (operand) => (value) => comparable(value, operand) && compare(value, operand) <= 0,
    gt: (operand) => (value) => comparable(value, operand) && compare(value, operand) > 0,
    gte: (operand) => (value) => comparable(value, operand) && compare(value, operand) >= 0,
    in: (operand) => {
      const values = new Set(list("in", operand).map(orNull));
      return (value) => values.has(value) || (value !== null && typeof value === "object" && [...values].some((other) => equal(value, other)));
    },
    prefix: (operand) => (value) => typeof value === "string" && value.startsWith(operand),
  }),
);

/**
 * @param {object} [where]
 * @returns {Predicate}
 * @throws {TypeError} if it has an operator that there is not
 */
export function predicate(where) {
  const parts = conditions(where).map(([name, condition]) => {
    if (name === "not") {
      const inner = predicate(condition);
      return (/** @type {Row} */ row) => !inner(row);
    }
    if (name !== "or") return field(name, condition);
    const inner = list(name, condition).map(predicate);
    return (/** @type {Row} */ row) => inner.some((holds) => holds(row));
  });
  return (row) => parts.every((holds) => holds(row));
}

/**
 * @param {string} name
 * @param {any} condition
 * @returns {Predicate}
 */
function field(name, condition) {
  // A date, a list: it would hold for every row.
  if (!isValue(condition) && Object.prototype.toString.call(condition) !== "[object Object]") {
    throw new TypeError(`where: \`${name}\`: takes null, a boolean, a number, a text, or operators: ${[...OPERATORS.keys()].join(", ")}`);
  }
  const tests = operations(condition).map(([operator, operand]) => {
    const test = OPERATORS.get(operator);
    if (!test) throw new TypeError(`where: \`${name}\`: no operator \`${operator}\`; there are ${[...OPERATORS.keys()].join(", ")}`);
    return test(operand);
  });
  return (row) => {
    const value = valueOf(row, name);
    return tests.every((test) => test(value));
  };
}

/**
 * What must hold of a `where`, each as a name and what is asked of it.
 * @param {object} [where]
 * @returns {[string, any][]}
 */
export function conditions(where = {}) {
  return Object.entries(where).flatMap(([name, condition]) => {
    if (condition === undefined) return [];
    return name === "and" ? list(name, condition).flatMap(conditions) : [/** @type {[string, any]} */ ([name, condition])];
  });
}

/**
 * Fields in their order of weight, each with a `-` before it where the largest comes first; rows that are equal in all
 * of them go by their place.
 * @param {string | readonly string[] | undefined} order
 * @param {Comparison} place
 * @returns {Comparison}
 */
export function comparison(order, place) {
  const fields = directions(order);
  return (a, b) => {
    for (const [name, sign] of fields) {
      const order = compare(valueOf(a, name), valueOf(b, name));
      if (order !== 0) return sign * order;
    }
    return place(a, b);
  };
}

/** The fields of an order, each with 1, or with -1 where the largest comes first. @param {string | readonly string[]} [order] @returns {[string, number][]} */
export function directions(order = []) {
  return [order].flat().map((name) => (name.startsWith("-") ? [name.slice(1), -1] : [name, 1]));
}

/**
 * @param {any} a
 * @param {any} b
 * @returns {number} less than, equal to or greater than 0
 */
export function compare(a, b) {
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if (typeof a === typeof b && typeof a !== "object") return a - b;
  return rank(a) - rank(b);
}

/** Of JSON values. @param {any} a @param {any} b @returns {boolean} */
export function equal(a, b) {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object" || Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && equal(a[name], b[name]));
}

/** @param {any} a @param {any} b */
function comparable(a, b) {
  return typeof a === typeof b && typeof a !== "object";
}

/** @param {any} value */
function rank(value) {
  return ["boolean", "number", "string"].indexOf(typeof value);
}

/** By code point; JavaScript's own order is that of UTF-16 units. @param {string} a @param {string} b */
function compareText(a, b) {
  const end = Math.min(a.length, b.length);
  for (let index = 0; index < end; index += 1) {
    const [x, y] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

/** Surrogates stand for what is beyond all other units. @param {number} unit */
function codePointRank(unit) {
  return unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** A row's own field: what outsiders name their fields reaches no prototype. @param {Row} row @param {string} name */
function valueOf(row, name) {
  return Object.hasOwn(row, name) ? orNull(row[name]) : null;
}

/** @param {any} value */
function orNull(value) {
  return value === undefined ? null : value;
}

/** @param {any} condition */
function isValue(condition) {
  return condition === null || typeof condition !== "object";
}

/** What is asked of a field, by operator. @param {any} condition @returns {[string, any][]} */
export function operations(condition) {
  return Object.entries(isValue(condition) ? { eq: condition } : condition).filter(([, operand]) => operand !== undefined);
}

/** @param {string} name @param {any} value @returns {readonly any[]} */
function list(name, value) {
  if (Array.isArray(value)) return value;
  throw new TypeError(`where: \`${name}\` takes a list`);
}
