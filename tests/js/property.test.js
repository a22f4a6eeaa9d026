/**
 * Clients, a server and a bad network, in any order that a seed gives. Whatever happens: each mutation is done exactly
 * once and in order; what a client shows is always the server's rows at one seq, and never an earlier one than before, with
 * exactly those of its own writes on top that were neither rejected nor committed up to that seq; and in the end all show the same.
 *
 * `SEEDS=1000 FIRST_SEED=1 node --test js/property.test.js` tries more of them.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { chance, settled } from "./support.js";
import { World } from "./world.js";

const SEEDS = Number(process.env.SEEDS ?? 150);
const FIRST_SEED = Number(process.env.FIRST_SEED ?? 1);

/** Where names come from: they decide which of several slots a page takes. */
let bytes = chance(0);

/** @param {number} seed @param {ConstructorParameters<typeof World>[1]} options */
async function run(seed, options) {
  bytes = chance(seed);
  const world = new World(seed, options);
  for (let step = 0; step < 700; step += 1) {
    await world.act();
    if (step % 5 === 0) await settled();
    if (world.fault) throw world.fault;
    if (step % 350 === 349) {
      await world.calm();
      if (world.fault) throw world.fault;
      for (const person of world.people) if (!person.isGone) person.check();
      world.faults = true;
    }
  }

  const rows = [...world.server.rows.values()].map(({ row }) => row).sort((a, b) => a.id - b.id);
  for (const person of world.people) {
    if (!person.isGone) assert.deepEqual(person.query.rows, rows, "all show the server's rows");
    for (const { title, method, outcome, commit } of person.writes) {
      if (outcome === "done") assert.ok(commit, `${method} ${title} was confirmed`);
      else if (["invalid", "not_found"].includes(outcome)) assert.equal(commit, undefined, `${title} was rejected`);
      else if (outcome === "lost") assert.equal(commit, undefined, `${title} was never sent`);
      else if (outcome === "pending") assert.ok(options.stored && commit, `${title}: its page is gone, it was done all the same`);
      else assert.ok(options.forgetful && outcome === "unknown", `${title}: ${outcome}`);
      if (title.trim() === "" && method !== "delete") assert.notEqual(outcome, "done");
      if (title.trim() !== "") assert.ok((world.written.get(title) ?? 0) <= 1, `${title} was done once`);
    }
  }
  for (const person of world.people) {
    if (!person.disk) continue;
    assert.deepEqual(await person.disk.read("mutations"), [], "nothing is left to do");
    // What nobody looks at is not kept up to date.
    if (person.query.source.options.where) continue;
    const kept = (await person.disk.read("rows")).filter(([[name]]) => name === "Todo").map(([, { row, seq }]) => [row.id, seq, row]);
    assert.deepEqual(kept, [...world.server.rows].map(([id, { row, seq }]) => [id, seq, row]).sort(([a], [b]) => a - b), "the storage has the server's rows");
  }
  for (const person of world.people) {
    // Where pages share a storage, one of them may send later what another has left.
    if (options.shared) continue;
    const mine = [...world.written.keys()].filter((title) => title.startsWith(`${person.index}/`));
    assert.deepEqual(mine, [...mine].sort(), "in the order in which they were handed in");
  }
  return world;
}

/** @type {[string, ConstructorParameters<typeof World>[1], number][]} */
const KINDS = [
  ["any order of events ends well", {}, SEEDS],
  ["any order of events ends well, where the server filters and orders", { filtered: true }, SEEDS],
  ["any order of events ends well, where it filters, forgets, and pages crash", { filtered: true, forgetful: true, stored: true }, SEEDS / 3],
  ["any order of events ends well, also when the server forgets", { forgetful: true }, SEEDS],
  ["any order of events ends well, also when pages crash and others go on from the storage", { stored: true }, SEEDS / 3],
  ["any order of events ends well, also when pages share a storage and take over what others have left", { stored: true, shared: true }, SEEDS / 3],
];

for (const [name, options, seeds] of KINDS) {
  test(name, async (context) => {
    context.mock.method(crypto, "getRandomValues", (array) => array.map(() => bytes.below(256)));
    // A page that is gone cannot write, and says so.
    const warnings = ["warn", "error"].map((level) => context.mock.method(console, /** @type {"warn"} */ (level), () => {}));
    const seen = { writes: 0, done: 0, unknown: 0, crashed: 0, lost: 0, sockets: 0 };
    for (let seed = FIRST_SEED; seed < FIRST_SEED + seeds; seed += 1) {
      try {
        const world = await run(seed, options);
        seen.sockets += world.wires.length;
        for (const { outcome, commit } of world.people.flatMap(({ writes }) => writes)) {
          seen.writes += 1;
          if (outcome === "done") seen.done += 1;
          if (outcome === "unknown") seen.unknown += 1;
          if (outcome === "lost") seen.lost += 1;
          if (outcome === "pending" && commit) seen.crashed += 1;
        }
      } catch (error) {
        throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
      }
    }
    // What was tried is what was meant to be tried.
    context.diagnostic(JSON.stringify(seen));
    assert.ok(seen.done > seen.writes / 5 && seen.sockets > 10 * seeds, JSON.stringify(seen));
    assert.equal(seen.unknown > 0, options.forgetful ?? false, JSON.stringify(seen));
    assert.equal(seen.crashed > 0, options.stored ?? false, JSON.stringify(seen));
    assert.ok(seen.lost <= seen.writes / 5, JSON.stringify(seen));
    if (!options.stored) assert.deepEqual(warnings.map(({ mock }) => mock.callCount()), [0, 0]);
  });
}
