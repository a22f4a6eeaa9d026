/**
 * Synced classes in any order of events that a seed gives.
 *
 * `SEEDS=1000 FIRST_SEED=1 node --test js/backbone-random.test.js` tries more of them.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { plain, record, stage } from "./backbone.js";
import { chance, settled } from "./support.js";

const SEEDS = Number(process.env.SEEDS ?? 60);
const FIRST_SEED = Number(process.env.FIRST_SEED ?? 1);

/** @param {(seed: number) => Promise<void>} run */
async function seeds(run) {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    try {
      await run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
    }
  }
}

// One after the other, all is as in Backbone.

const comparators = [undefined, "title", (todo) => -(todo.id ?? 0)];

/**
 * What one user does, with an answer to each before the next.
 * @param {any} world
 * @param {number} seed
 */
async function alone(world, seed) {
  const { below, pick } = chance(seed);
  const comparator = comparators[seed % comparators.length];
  const validate = ({ title }) => (title === "no" ? "no is no title" : undefined);
  const Todo = world.syncedModel.extend({ validate, ...(seed % 2 ? { defaults: { note: "none" } } : {}) }, { modelname: "Todo" });
  const Todos = world.syncedCollection.extend({ model: Todo, ...(comparator && { comparator }) }, { modelname: "Todo" });
  for (const title of ["milk", "tea", "soap"]) world.server.add(title);
  const todos = new Todos();
  await world.open();
  const log = record({ todos });
  const callbacks = {
    success: (subject, response) => log.push(`success ${JSON.stringify(subject)} ${JSON.stringify(response)}`),
    error: (subject, { code }) => log.push(`error ${JSON.stringify(subject)} ${code}`),
  };
  const title = () => pick(["a", "b", "c", "no", `t${below(100)}`]);
  const options = (choices) => ({ ...pick([{}, {}, ...choices]), ...callbacks });
  for (let step = 0; step < 25; step += 1) {
    const model = todos.at(below(todos.length));
    const acts = {
      create: () => todos.create({ title: title() }, options([{ wait: true }, { at: 0 }, { silent: true }, { validate: true }])),
      refused: () => todos.create({ title: "" }, { wait: true, ...callbacks }),
      add: () => todos.add({ title: title() }, options([{ at: 0 }, { validate: true }])),
      fetch: () => todos.fetch(options([{ reset: true }, { remove: false }, { merge: false }, { add: false }, { silent: true }, { sort: false }])),
      sort: () => comparator && todos.sort(),
    };
    const ofModel = {
      save: () => model.save({ title: title() }, options([{ wait: true }, { patch: true }, { silent: true }, { validate: false }])),
      both: () => model.save({ title: title(), completed: pick([true, false]) }, options([{ wait: true }, { patch: true }])),
      saved: () => model.save(null, callbacks),
      refusedSave: () => model.save({ title: "" }, { wait: true, ...callbacks }),
      set: () => model.set({ title: title(), note: pick(["x", "y"]) }, pick([{}, { silent: true }, { validate: true }])),
      destroy: () => model.destroy(options([{ wait: true }])),
      remove: () => todos.remove(model),
      reset: () => todos.reset(todos.models.slice(1)),
      read: () => !model.isNew() && model.fetch(callbacks),
      merge: () => todos.add({ id: model.id, title: title() }, { merge: pick([true, false]) }),
      fewer: () => todos.set([{ id: model.id, title: title(), completed: true }], { remove: pick([true, false]) }),
      clone: () => log.push(JSON.stringify(model.clone())),
    };
    const [name, act] = pick(Object.entries(model ? { ...acts, ...ofModel } : acts));
    log.push(`-- ${name}`);
    act();
    await world.quiet();
    if (name === "destroy") await new Promise((resolve) => setTimeout(resolve, 2));
    const changed = todos.map((todo) => [todo.id, todo.isNew(), todo.hasChanged(), JSON.stringify(todo.changedAttributes())]);
    log.push(`= ${JSON.stringify(todos)} ${changed}`);
  }
  return { log, rows: [...world.server.rows.values()] };
}

test("what one user does has the same events, callbacks and rows as in Backbone", () =>
  seeds(async (seed) => {
    const expected = await alone(plain(), seed);
    const actual = await alone(stage(), seed);
    const at = expected.log.findIndex((line, index) => line !== actual.log[index]);
    const near = ({ log }) => log.slice(Math.max(0, at - 6), at + 3);
    if (at >= 0) assert.deepEqual(near(actual), near(expected));
    assert.deepEqual(actual, expected);
  }));

// All at once, all collections have the server's rows in the end.

/** @param {any[]} rows or models' attributes, but for what only one collection knows */
function sorted(rows) {
  return rows.map(({ id, title, completed }) => JSON.stringify([id, title, completed])).sort();
}

/**
 * Events that come once are told of once; only where no listener writes, as it would before the others have heard of the first.
 * @param {any} todos
 */
function once(todos) {
  const here = new Set();
  const told = new Set();
  todos.on("all", (event, subject, ...rest) => {
    const { remote, changes } = rest.at(-1) ?? {};
    if (event === "reset") here.clear();
    if (event === "reset") for (const { cid } of todos.models) here.add(cid);
    if (event === "add" && rest[0] === todos) assert.ok(!here.has(subject.cid) && here.add(subject.cid), "added twice");
    if (event === "remove" && rest[0] === todos) assert.ok(here.delete(subject.cid), "removed twice");
    const isOnce = (event === "destroy" && remote) || event === "change:id";
    if (isOnce) assert.ok(!told.has(`${event} ${subject.cid}`) && told.add(`${event} ${subject.cid}`), `${event} twice`);
    if (event === "change" && remote) assert.ok(subject.changedAttributes(), "changed nothing");
    if (event === "update" && remote) assert.ok([...changes.added, ...changes.removed, ...changes.merged].length > 0, "updated nothing");
  });
}

/** @param {number} seed */
async function together(seed) {
  const { below, pick } = chance(seed);
  const world = stage();
  const Todo = world.syncedModel.extend({}, { modelname: "Todo" });
  const Todos = world.syncedCollection.extend({ model: Todo }, { modelname: "Todo" });
  const Named = Todos.extend({ modelId: ({ id }) => id && `todo-${id}`, comparator: "title" });
  for (const title of ["milk", "tea", "soap"]) world.server.add(title);
  // The last is also changed without the server, and fetched in the end.
  const collections = [new Todos(), new Todos([], { comparator: "title" }), new Named(), new Todos()];
  const wild = collections[3];
  for (const todos of collections.slice(0, 3)) todos.fetch();
  const hasListeners = seed % 2 === 0;
  if (!hasListeners) collections.forEach(once);
  /** What was set in models that were never saved. @type {Map<any, number | undefined>} */
  const notes = new Map();
  for (const todos of collections) todos.on("request", (model) => notes.set(model, undefined));
  /** @type {any[]} */
  let inbox = [];
  let count = 0;
  /** @type {{name: string, count: number}[]} */
  const calls = [];
  function callbacks(name) {
    const call = { name, count: 0 };
    calls.push(call);
    const called = () => (call.count += 1);
    return { success: called, error: called };
  }
  const title = () => pick(["", "a", "b", `t${(count += 1)}`]);
  const wait = () => below(4) === 0;
  const someRow = () => pick([...world.server.rows.keys(), undefined]);
  function answer() {
    inbox.push(...world.take());
    if (inbox.length > 0) world.answer(inbox.shift());
  }
  const others = {
    create: () => world.other.create(`o${(count += 1)}`),
    change: (id = someRow()) => id && world.other.change(id, pick([{ completed: true }, { completed: false }, { title: `o${(count += 1)}` }])),
    delete: (id = someRow()) => id && world.other.delete(id, pick(["delete", "remove"])),
  };
  /** Several things in one frame. */
  function frame() {
    const { socket } = world;
    const messages = [];
    socket.receive = (...given) => messages.push(...given);
    for (let index = 0; index < 4; index += 1) pick([answer, ...Object.values(others)])();
    delete socket.receive;
    if (messages.length > 0) socket.receive(...messages);
  }
  function cut() {
    if (below(4) > 0) return;
    inbox = [];
    world.take();
    world.cut();
  }
  for (let step = 0; step < 60; step += 1) {
    if (step === 10) world.socket.open();
    const todos = pick(collections);
    const model = todos.at(below(todos.length));
    // Backbone's own `fetch` loses what is added or removed in the middle of it.
    const heard = (run) => (...given) => (given.at(-1).remote ? run(...given) : queueMicrotask(() => run(...given)));
    const write = (/** @type {any} */ subject) => {
      const calls = callbacks("in a listener");
      if (below(2) === 0) subject.save({ completed: true }, calls);
      else subject.destroy(calls);
    };
    const acts = {
      create: () => todos.create({ title: title() }, { wait: wait(), ...callbacks("create") }),
      createIn: () => pick(collections).add(todos.create({ title: title() }, callbacks("create in two"))),
      createNamed: () => todos.create({ id: `x${(count += 1)}`, title: title() }, { wait: wait(), ...callbacks("create named") }),
      retry: () => todos.create({ title: "" }, { wait: wait(), error: (created) => created.save({ title: title() }, callbacks("retry")) }),
      outside: () => {
        const alone = new Todo({ title: title() });
        alone.save(null, { wait: wait(), ...callbacks("save outside") });
        if (below(2) === 0) alone.leave();
        if (below(4) === 0) alone.destroy(callbacks("destroy outside"));
      },
      fetch: () => todos.fetch({ reset: below(4) === 0, ...callbacks("fetch") }),
      ...(step < 10 ? {} : { ...others, frame, cut }),
      listenAdd: () => hasListeners && todos.once("add", heard(write)),
      listenRemove: () => hasListeners && todos.once("remove", heard(() => todos.create({ title: title() }, callbacks("on remove")))),
      wild: () => pick([() => wild.reset([]), () => wild.add({ id: someRow(), title: "w" }), () => wild.set([{ title: "w" }])])(),
    };
    const ofModel = {
      save: () => model.save({ title: title() }, { wait: wait(), patch: below(4) === 0, ...callbacks("save") }),
      complete: () => model.save({ completed: pick([true, false]) }, { wait: wait(), ...callbacks("complete") }),
      all: () => model.save(null, callbacks("save null")),
      set: () => {
        if (!notes.has(model) || notes.get(model)) notes.set(model, (count += 1));
        model.set({ [`note ${model.cid}`]: count });
      },
      destroy: () => (!model.isNew() || todos !== wild) && model.destroy({ wait: wait(), ...callbacks("destroy") }),
      twice: () => todos !== wild && [1, 2].map(() => model.destroy(callbacks("destroy twice"))),
      read: () => !model.isNew() && model.fetch(callbacks("fetch one")),
      outsider: () => !model.isNew() && new Todo({ id: model.id }).save({ completed: true }, callbacks("outsider")),
      listen: () => hasListeners && model.once("change", heard(() => write(pick(todos.models) ?? model))),
      move: () => wild.add(model),
      wild: () => wild.remove(wild.at(0)),
    };
    pick(Object.values(model ? { ...acts, ...ofModel } : acts))();
    if (below(3) === 0) await settled();
    for (let answers = step < 10 ? 0 : below(4); answers > 0; answers -= 1) {
      answer();
      if (below(2) === 0) await settled();
    }
    for (const { models } of collections) {
      const ids = models.map(({ id, cid }) => id ?? cid);
      assert.equal(new Set(ids).size, ids.length, `twice: ${ids}`);
    }
  }
  inbox.forEach(world.answer);
  await world.quiet();
  await new Promise((resolve) => setTimeout(resolve, 2));
  wild.fetch(callbacks("last fetch"));
  await world.quiet();
  assert.equal(world.db.pending, 0);
  assert.deepEqual(calls.filter((call) => call.count !== 1), []);
  for (const [index, todos] of collections.entries()) {
    assert.deepEqual(sorted(todos.map(({ attributes }) => attributes)), sorted([...world.server.rows.values()]), `collection ${index}`);
    for (const model of todos.models) if (notes.get(model)) assert.equal(model.get(`note ${model.cid}`), notes.get(model), "what was set stays");
  }
}

test("whatever happens at the same time, collections end as the server's rows, and each write calls back once", () => seeds(together));
