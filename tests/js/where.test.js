import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { compare, comparison, predicate } from "../../sync-core/client/where.js";

/** The rows that a condition on the field `f` holds for, of rows with these values. */
function held(condition, values) {
  const holds = predicate({ f: condition });
  return values.filter((value) => holds(value === undefined ? {} : { f: value }));
}

const VALUES = [undefined, null, false, true, -1, 0, 1, 2.5, "", "a", "ab", "b", "1"];

test("the table of cases that the server's filters are held to as well", async () => {
  const { values, cases } = JSON.parse(await readFile(new URL("../cases/filters.json", import.meta.url), "utf8"));
  assert.ok(cases.length > 40);
  for (const [condition, expected] of cases) assert.deepEqual(held(condition, values), expected, JSON.stringify(condition));
});

test("what each operator holds for, of values of every type", () => {
  const cases = [
    [1, [1]],
    ["1", ["1"]],
    [null, [undefined, null]],
    [false, [false]],
    [{ eq: "a" }, ["a"]],
    [{ ne: "a" }, VALUES.filter((value) => value !== "a")],
    [{ ne: null }, VALUES.slice(2)],
    [{ lt: 1 }, [-1, 0]],
    [{ lte: 1 }, [-1, 0, 1]],
    [{ gt: 0 }, [1, 2.5]],
    [{ gte: 0 }, [0, 1, 2.5]],
    [{ lt: "b" }, ["", "a", "ab", "1"]],
    [{ gt: false }, [true]],
    [{ gte: null }, []],
    [{ in: [1, "a", null] }, [undefined, null, 1, "a"]],
    [{ in: [] }, []],
    [{ prefix: "a" }, ["a", "ab"]],
    [{ prefix: "" }, ["", "a", "ab", "b", "1"]],
    [{ gt: -1, lt: 2 }, [0, 1]],
    [{}, VALUES],
  ];
  for (const [condition, expected] of cases) assert.deepEqual(held(condition, VALUES), expected, JSON.stringify(condition));
});

test("and, or, not, and several fields", () => {
  const rows = [0, 1, 2, 3].map((n) => ({ a: n & 1, b: n >> 1 }));
  const cases = [
    [{}, [0, 1, 2, 3]],
    [{ a: 1, b: 0 }, [1]],
    [{ or: [{ a: 1 }, { b: 1 }] }, [1, 2, 3]],
    [{ and: [{ a: 1 }, { b: 1 }] }, [3]],
    [{ not: { a: 1 } }, [0, 2]],
    [{ a: 1, not: { or: [{ b: 1 }] } }, [1]],
    [{ or: [] }, []],
    [{ and: [] }, [0, 1, 2, 3]],
    [{ a: undefined, b: 1 }, [2, 3]],
  ];
  for (const [where, expected] of cases) {
    assert.deepEqual(rows.flatMap((row, index) => (predicate(where)(row) ? [index] : [])), expected, JSON.stringify(where));
  }
});

test("what is no condition is told, with the operators that there are", () => {
  assert.throws(() => predicate({ title: { like: "a" } }), /`title`: no operator `like`; there are eq, ne,.* prefix/);
  assert.throws(() => predicate({ title: { __proto__: null, constructor: 1 } }), /no operator `constructor`/);
  assert.throws(() => predicate({ or: { a: 1 } }), /`or` takes a list/);
  assert.throws(() => predicate({ a: { in: 1 } }), /`in` takes a list/);
  for (const nothing of [[], new Date(), new Map()]) assert.throws(() => predicate({ a: nothing }), /`a`: takes null, .*operators: eq, ne/);
});

test("names of an object's own inside are fields like others", () => {
  const where = JSON.parse('{"__proto__": 1}');
  const row = JSON.parse('{"__proto__": 1}');
  assert.equal(predicate(where)(row), true);
  assert.equal(predicate(where)({}), false);
  assert.equal(predicate({ toString: null })({}), true);
});

test("an order: null, false, true, numbers, strings by code point; then by place", () => {
  const sorted = [null, false, true, -1, 0, 10, "", "A", "a", "b", "\ud7ff", "\uffff", "\u{10000}", "😀"];
  for (const [a, x] of sorted.entries()) {
    for (const [b, y] of sorted.entries()) assert.equal(Math.sign(compare(x, y)), Math.sign(a - b), JSON.stringify([x, y]));
  }
  const rows = [{ id: 3, a: 1, b: 1 }, { id: 2, a: 1, b: 2 }, { id: 1, a: 2, b: 2 }, { id: 0, a: 1, b: 1 }];
  const ids = (order) => [...rows].sort(comparison(order, (x, y) => x.id - y.id)).map(({ id }) => id);
  assert.deepEqual(ids(undefined), [0, 1, 2, 3]);
  assert.deepEqual(ids("a"), [0, 2, 3, 1]);
  assert.deepEqual(ids(["a", "-b"]), [2, 0, 3, 1]);
  assert.deepEqual(ids("-a"), [1, 0, 2, 3]);
});
