import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { judge } from "./judge.js";

test("the table of orders that the server and its stores are held to as well", async () => {
  const { rows, cases } = JSON.parse(await readFile(new URL("../cases/orders.json", import.meta.url), "utf8"));
  assert.ok(cases.length > 20);
  for (const { expected, ...asked } of cases) assert.deepEqual(judge(rows, asked), expected, JSON.stringify(asked));
});
