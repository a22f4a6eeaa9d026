import assert from "node:assert/strict";
import { test } from "node:test";

import { burst, measure, QUERIES } from "./bench.js";

test("a change costs a small part of what all rows cost, whatever the queries", async (context) => {
  for (const [name, queries] of Object.entries(QUERIES)) {
    await measure(1_000, queries, 50);
    const { snapshot, change, write, told } = await measure(10_000, queries, 200);
    const figures = [snapshot, change.mean, change.p99, write.mean, write.p99].map((value) => value.toFixed(3));
    context.diagnostic(`10,000 rows, ${name}: snapshot ${figures[0]} ms of CPU; a change ${figures[1]} (p99 ${figures[2]}); a write ${figures[3]} (p99 ${figures[4]})`);
    assert.ok(told > 400, "the listeners were told of each");
    assert.ok(change.mean < snapshot / 20, "a change does not go through all rows");
    assert.ok(write.mean < snapshot / 20, "nor does a write");
  }
});

test("many writes at once cost as much for each as few", async (context) => {
  await burst(500);
  const [few, many] = [await burst(500), await burst(4_000)];
  context.diagnostic(`a create until it is confirmed: ${few.toFixed(3)} ms of CPU among 500, ${many.toFixed(3)} among 4,000`);
  assert.ok(many < 4 * few, `${few} and ${many} ms`);
});
