/**
 * What Backbone promises holds for synced classes: each scenario runs on plain Backbone over a server like one over HTTP, and on the
 * synced classes, and all events, callbacks and attributes must be the same.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { plain, record, stage, watch } from "./backbone.js";

/**
 * @typedef {object} Scene
 * @property {any} Todo
 * @property {any} Todos
 * @property {any} todos an empty collection
 * @property {any} server
 * @property {string[]} log
 * @property {(name: string) => {success: Function, error: Function}} callbacks that log
 * @property {() => Promise<void>} quiet
 * @property {(name: string, subject: any) => void} watch
 */

/**
 * @param {(scene: Scene) => Promise<any> | any} body
 * @param {{model?: object, collection?: object, rows?: readonly string[]}} options
 */
async function play(world, body, { model = {}, collection = {}, rows = [] }) {
  const Todo = world.syncedModel.extend(model, { modelname: "Todo" });
  const Todos = world.syncedCollection.extend({ model: Todo, ...collection }, { modelname: "Todo" });
  for (const title of rows) world.server.add(title);
  const todos = new Todos();
  await world.open();
  const log = record({ todos });
  const callbacks = (name) => ({
    success: (subject, response, options) => log.push(`${name} success ${JSON.stringify(subject)} ${JSON.stringify(response)} ${typeof options}`),
    error: (subject, error, options) => log.push(`${name} error ${JSON.stringify(subject)} ${error.code} ${typeof options}`),
  });
  const scene = { Todo, Todos, todos, server: world.server, log, callbacks, quiet: () => world.quiet(), watch: (name, subject) => watch(log, name, subject) };
  const result = await body(scene);
  await world.quiet();
  return { log, result, rows: [...world.server.rows.values()], models: todos.toJSON() };
}

/**
 * @param {string} name
 * @param {(scene: Scene) => Promise<any> | any} body
 * @param {Parameters<typeof play>[2]} [options]
 */
function same(name, body, options = {}) {
  test(name, async () => {
    const expected = await play(plain(), body, options);
    const actual = await play(stage(), body, options);
    assert.deepEqual(actual, expected);
    assert.ok(expected.log.length > 0 || expected.result !== undefined, "something happens");
  });
}

const fetched = async ({ todos, quiet, log }) => {
  todos.fetch();
  await quiet();
  log.length = 0;
};

// Creating.

same("create: add, request, change:id, sync, and the callback", async ({ todos, callbacks, quiet }) => {
  const model = todos.create({ title: "milk" }, callbacks("create"));
  const before = [model.isNew(), model.id, todos.length];
  await quiet();
  return [before, model.isNew(), model.id, todos.get(1) === model, todos.get(model.cid) === model, model.hasChanged()];
});

same("create with wait: it is added when the server has it", async ({ todos, callbacks, quiet }) => {
  const model = todos.create({ title: "milk" }, { wait: true, ...callbacks("create") });
  const before = todos.length;
  await quiet();
  return [before, todos.length, todos.at(0) === model];
});

same("create with wait that is refused: error on model and collection, and nothing is added", async ({ todos, callbacks, watch, quiet }) => {
  const model = todos.create({ title: "" }, { wait: true, ...callbacks("create") });
  watch("model", model);
  await quiet();
  return [todos.length, model.isNew(), model.collection === todos];
});

same("create at a place", async ({ todos, quiet }) => {
  todos.create({ title: "milk" });
  todos.create({ title: "tea" }, { at: 0 });
  await quiet();
  return todos.pluck("title");
});

same("create silently", ({ todos, callbacks }) => todos.create({ title: "milk" }, { silent: true, ...callbacks("create") }).get("title"));

same("create of a model", async ({ Todo, todos, quiet }) => {
  const model = new Todo({ title: "milk" });
  const returned = todos.create(model);
  await quiet();
  return returned === model;
});

same("create that the model's own validate refuses", ({ todos, callbacks }) => todos.create({ title: "no" }, { validate: true, ...callbacks("create") }), {
  model: { validate: ({ title }) => (title === "no" ? "no is no title" : undefined) },
});

same("defaults", ({ todos }) => todos.create({}).toJSON(), { model: { defaults: { title: "untitled", completed: true } } });

same("initialize, with the collection and the attributes", ({ todos }) => todos.create({ title: "milk" }).seen, {
  model: {
    initialize(attributes, { collection }) {
      this.seen = [attributes, collection !== undefined];
    },
  },
});

same("many creates, in order", async ({ todos, quiet }) => {
  for (const title of ["a", "b", "c"]) todos.create({ title });
  await quiet();
  return todos.map(({ id }) => id);
});

// Saving.

same("save of a new model that is in no collection", async ({ Todo, callbacks, watch, todos, quiet }) => {
  todos.off(); // a synced collection hears of the new row
  const model = new Todo({ title: "milk" });
  watch("model", model);
  model.save(null, callbacks("save"));
  const before = model.isNew();
  await quiet();
  todos.reset();
  return [before, model.isNew(), model.get("title")];
});

same("save of attributes, in the forms that Backbone takes", async (scene) => {
  const { todos, callbacks, quiet } = scene;
  await fetched(scene);
  const model = todos.at(0);
  model.save({ title: "oat milk" }, callbacks("object"));
  await quiet();
  model.save("completed", true, callbacks("key and value"));
  await quiet();
  model.set({ title: "rice milk" });
  model.save(null, callbacks("null"));
  await quiet();
  model.save();
  await quiet();
  return [model.attributes, model.changedAttributes()];
}, { rows: ["milk", "tea"] });

same("save with patch", async (scene) => {
  await fetched(scene);
  scene.todos.at(0).save({ completed: true }, { patch: true, ...scene.callbacks("patch") });
}, { rows: ["milk"] });

same("save with wait", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  model.save({ title: "oat milk" }, { wait: true, ...scene.callbacks("wait") });
  const before = model.get("title");
  await scene.quiet();
  return [before, model.get("title")];
}, { rows: ["milk"] });

same("save with wait that is refused", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  model.save({ title: "" }, { wait: true, ...scene.callbacks("wait") });
  await scene.quiet();
  return model.attributes;
}, { rows: ["milk"] });

same("save that validate refuses: false, and `invalid`", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  return [model.save({ title: "no" }), model.save({ title: "no" }, { wait: true }), model.get("title"), model.validationError];
}, { rows: ["milk"], model: { validate: ({ title }) => (title === "no" ? "no is no title" : undefined) } });

same("save silently", async (scene) => {
  await fetched(scene);
  scene.todos.at(0).save({ title: "oat milk" }, { silent: true });
}, { rows: ["milk"] });

same("save twice at once", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  model.save({ title: "oat milk" }, { ...scene.callbacks("first"), parse: false });
  await scene.quiet();
  model.save({ completed: true }, scene.callbacks("second"));
}, { rows: ["milk"] });

same("the promise: the response, or the error; and `then` in any case", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  const seen = [];
  const saving = model.save({ title: "oat milk" });
  const refused = model.save({ title: "" }, { wait: true });
  for (const promise of [saving, refused]) promise.then((value) => seen.push(value), (error) => seen.push(error.code));
  await scene.quiet();
  return [typeof saving.then, seen];
}, { rows: ["milk"] });

same("the context of callbacks", async (scene) => {
  await fetched(scene);
  const context = { name: "context" };
  const seen = [];
  const callback = function () {
    seen.push(this?.name);
  };
  scene.todos.at(0).save({ title: "a" }, { context, success: callback });
  await scene.quiet();
  scene.todos.at(0).save({ title: "" }, { context, wait: true, error: callback });
  await scene.quiet();
  scene.todos.fetch({ context, success: callback });
  await scene.quiet();
  scene.todos.at(0).destroy({ context, success: callback });
  await scene.quiet();
  return seen;
}, { rows: ["milk"] });

same("toJSON and parse: what is sent and what comes", async (scene) => {
  await fetched(scene);
  const { todos, quiet } = scene;
  todos.create({ name: "tea" });
  await quiet();
  todos.at(0).save({ name: "oat milk" });
  await quiet();
  return [todos.pluck("name"), todos.pluck("title")];
}, {
  rows: ["milk"],
  model: {
    parse: ({ title, ...rest }) => ({ ...rest, name: title }),
    toJSON() {
      const { name, ...rest } = this.attributes;
      return { ...rest, title: name };
    },
  },
});

// Destroying.

same("destroy", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  scene.watch("model", model);
  model.destroy(scene.callbacks("destroy"));
  const length = scene.todos.length;
  await scene.quiet();
  return [length, model.collection === undefined];
}, { rows: ["milk", "tea"] });

same("destroy of one that was saved before", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  model.save({ title: "oat milk" });
  await scene.quiet();
  scene.watch("model", model);
  model.destroy(scene.callbacks("destroy"));
}, { rows: ["milk", "tea"] });

same("destroy with wait", async (scene) => {
  await fetched(scene);
  scene.todos.at(0).destroy({ wait: true, ...scene.callbacks("destroy") });
  return scene.todos.length;
}, { rows: ["milk", "tea"] });

same("destroy of a model that was never saved", async ({ Todo, todos, watch, log }) => {
  const model = todos.add(new Todo({ title: "milk" }));
  watch("model", model);
  return new Promise((resolve) => {
    const returned = model.destroy({ success: () => (log.push("success"), resolve(returned)) });
  });
});

// Fetching.

same("fetch: adds, merges, removes", async (scene) => {
  const { todos, quiet, callbacks } = scene;
  todos.add([{ id: 1, title: "old" }, { id: 9, title: "gone" }]);
  scene.log.length = 0;
  todos.fetch(callbacks("fetch"));
  await quiet();
  return todos.pluck("title");
}, { rows: ["milk", "tea"] });

for (const options of [{ reset: true }, { remove: false }, { merge: false }, { add: false }, { silent: true }, { parse: false }, { sort: false }]) {
  same(`fetch with ${JSON.stringify(options)}`, async ({ todos, quiet, callbacks, log }) => {
    todos.add([{ id: 1, title: "old" }, { id: 9, title: "gone" }]);
    log.length = 0;
    todos.fetch({ ...options, ...callbacks("fetch") });
    await quiet();
    return todos.pluck("title");
  }, { rows: ["milk", "tea"], collection: { comparator: "title" } });
}

same("a collection's parse", async ({ todos, quiet }) => {
  todos.fetch();
  await quiet();
  return todos.pluck("title");
}, { rows: ["milk", "tea"], collection: { parse: (rows) => rows.filter(({ title }) => title !== "tea") } });

same("fetch of one model", async ({ Todo, callbacks, watch, quiet }) => {
  const model = new Todo({ id: 1 });
  watch("model", model);
  model.fetch(callbacks("fetch"));
  await quiet();
  return model.attributes;
}, { rows: ["milk"] });

same("fetch of one that is not there", async ({ Todo, callbacks, watch, quiet }) => {
  const model = new Todo({ id: 9 });
  watch("model", model);
  model.fetch(callbacks("fetch"));
  await quiet();
});

// Order.

for (const comparator of ["title", (todo) => todo.get("title"), (a, b) => (a.get("title") < b.get("title") ? -1 : 1)]) {
  same(`a comparator of ${comparator.length || "no"} parameters (${typeof comparator}): sort`, async (scene) => {
    await fetched(scene);
    scene.todos.create({ title: "b" });
    await scene.quiet();
    scene.todos.get(1).save({ title: "z" });
    await scene.quiet();
    scene.todos.sort();
    return scene.todos.pluck("title");
  }, { rows: ["c", "a"], collection: { comparator } });
}

// What is only local.

same("set, unset, clear, previous, changed, clone, escape", async (scene) => {
  await fetched(scene);
  const model = scene.todos.at(0);
  model.set({ title: "<b>", note: 1 });
  const seen = [model.previous("title"), model.changedAttributes(), model.escape("title"), model.has("note"), model.isNew()];
  model.unset("note");
  const clone = model.clone();
  model.set("title", "local", { silent: true });
  return [...seen, clone.toJSON(), clone.cid !== model.cid, model.attributes];
}, { rows: ["milk"] });

same("add, remove, reset, push, pop, move between collections", async (scene) => {
  await fetched(scene);
  const { Todos, todos } = scene;
  const other = new Todos();
  scene.watch("other", other);
  const [model] = todos.models;
  other.add(model);
  todos.remove(model);
  todos.push({ title: "pushed" });
  todos.pop();
  todos.reset([{ id: 5, title: "five" }]);
  todos.set([{ id: 5, title: "5" }, { id: 6, title: "6" }]);
  return [model.collection === todos, other.length, todos.findWhere({ id: 6 }).get("title")];
}, { rows: ["milk", "tea"] });

same("adding what is there already: merged only when told to", async (scene) => {
  await fetched(scene);
  scene.todos.add({ id: 1, title: "ignored" });
  scene.todos.add({ id: 1, title: "merged" }, { merge: true });
  return scene.todos.length;
}, { rows: ["milk"] });
