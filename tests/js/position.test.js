import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { between } from "../../sync-core/client/position.js";
import { compare } from "../../sync-core/client/where.js";
import { chance } from "./support.js";

test("the table of cases that the server's positions are held to as well", async () => {
  const { cases, wrong } = JSON.parse(await readFile(new URL("../cases/positions.json", import.meta.url), "utf8"));
  assert.ok(cases.length > 30 && wrong.length > 10);
  for (const [before, after, jitter, expected] of cases) {
    assert.equal(between(before, after, jitter), expected, JSON.stringify([before, after, jitter]));
    if (before !== null) assert.ok(compare(before, expected) < 0, `${before} < ${expected}`);
    if (after !== null) assert.ok(compare(expected, after) < 0, `${expected} < ${after}`);
  }
  for (const [before, after, jitter] of wrong) assert.throws(() => between(before, after, jitter), RangeError, JSON.stringify([before, after, jitter]));
});

test("there is always another between two, whatever was put where, and all stay in order", () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const { below } = chance(seed);
    const list = [];
    for (let count = 0; count < 400; count += 1) {
      const at = seed % 3 === 0 ? below(list.length + 1) : seed % 3 === 1 ? Math.min(list.length, below(3)) : list.length - Math.min(list.length, below(3));
      const position = between(list[at - 1], list[at]);
      assert.ok((at === 0 || list[at - 1] < position) && (at === list.length || position < list[at]), `${list[at - 1]} < ${position} < ${list[at]}`);
      list.splice(at, 0, position);
    }
    assert.deepEqual([...list].sort((a, b) => compare(a, b)), list);
    assert.equal(new Set(list).size, list.length);
  }
});

test("appending and putting in front, hundreds of thousands of times, stays short; so does halving", () => {
  for (const isEnd of [true, false]) {
    let position = between();
    for (let count = 0; count < 300_000; count += 1) {
      const next = isEnd ? between(position, undefined, "V") : between(undefined, position, "V");
      if (isEnd ? next <= position : next >= position) assert.fail(`${position} and ${next}`);
      position = next;
    }
    assert.ok(position.length <= 6, position);
  }
  let [low, high] = [between(), undefined];
  for (let count = 0; count < 500; count += 1) count % 2 ? (low = between(low, high, "V")) : (high = between(low, high, "V"));
  assert.ok(low.length < 120, `${low.length}`);
});

test("two who put something in the same place at once get different positions", () => {
  const many = Array.from({ length: 1_000 }, () => between("a1V", "a2V"));
  assert.ok(new Set(many).size > 990);
});
