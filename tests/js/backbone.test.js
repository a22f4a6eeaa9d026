/**
 * What synced classes do beyond Backbone's: others' changes, what is written before there is a line, and what the server refuses.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { synced } from "../../sync-core/client/backbone.mjs";
import { Backbone, record, stage } from "./backbone.js";
import { settled } from "./support.js";

/** @param {any} [options] of the collection, the model and the stage */
async function scene({ model = {}, collection = {}, rows = [], isFetched = true, isOpen = true } = {}) {
  const world = stage();
  const Todo = world.syncedModel.extend(model, { modelname: "Todo" });
  const Todos = world.syncedCollection.extend({ model: Todo, ...collection }, { modelname: "Todo" });
  for (const title of rows) world.server.add(title);
  const todos = new Todos();
  if (isOpen) await world.open();
  if (isFetched && isOpen) todos.fetch();
  await settled();
  const log = record({ todos });
  return { ...world, Todo, Todos, todos, log, taken: () => log.splice(0), titles: () => todos.pluck("title") };
}

// Others' changes.

test("a collection hears of new rows from its construction on, fetched or not; what was there before is fetched", async () => {
  const { todos, other, titles, log, quiet } = await scene({ rows: ["milk"], isFetched: false });
  assert.deepEqual(titles(), []);
  other.create("tea");
  assert.deepEqual(titles(), ["tea"]);
  assert.deepEqual(log, [
    'todos add {"id":2,"title":"tea","completed":false} (remote)',
    'todos update [{"id":2,"title":"tea","completed":false}] +1 -0 (remote)',
  ]);
  todos.fetch();
  await quiet();
  assert.deepEqual(titles(), ["milk", "tea"]);
});

test("changes by others: add, change, change:attribute, remove, destroy, update, once each, and remote", async () => {
  const { todos, other, taken } = await scene({ rows: ["milk"] });
  other.change(1, { title: "oat milk", completed: true });
  const row = '{"id":1,"title":"oat milk","completed":true}';
  assert.deepEqual(taken(), [
    `todos change:title ${row} = "oat milk" (remote)`,
    `todos change:completed ${row} = true (remote)`,
    `todos change ${row} (remote)`,
    `todos update [${row}] +0 -0 (remote)`,
  ]);
  const model = todos.at(0);
  other.delete(1);
  assert.deepEqual(taken(), [`todos remove ${row} (remote)`, "todos update [] +0 -1 (remote)", `todos destroy ${row} (remote)`]);
  assert.equal(model.collection, undefined);
  other.create("tea");
  assert.deepEqual(taken().map((line) => line.split(" ")[1]), ["add", "update"]);
});

test("a row that leaves the view goes like one that is deleted", async () => {
  const { other, taken } = await scene({ rows: ["milk"] });
  other.delete(1, "remove");
  assert.deepEqual(taken().map((line) => line.split(" ")[1]), ["remove", "update", "destroy"]);
});

test("changes by others keep the order of a comparator, and `sort` says so", async () => {
  const { other, titles, taken } = await scene({ rows: ["b", "c"], collection: { comparator: "title" } });
  other.create("a");
  assert.deepEqual(titles(), ["a", "b", "c"]);
  assert.deepEqual(taken().map((line) => line.split(" ")[1]), ["add", "sort", "update"]);
  other.change(3, { title: "d" });
  assert.deepEqual(titles(), ["b", "c", "d"]);
  assert.deepEqual(taken().map((line) => line.split(" ")[1]), ["change:title", "change", "sort", "update"]);
});

test("what was set and is not saved stays, whatever others change beside it", async () => {
  const { todos, other, requests, quiet } = await scene({ rows: ["milk"] });
  const model = todos.at(0);
  model.set({ title: "half typed" });
  other.change(1, { completed: true });
  assert.deepEqual(model.attributes, { id: 1, title: "half typed", completed: true });
  other.change(1, { completed: false });
  model.save();
  await quiet();
  assert.deepEqual(requests.at(-1).model, { id: 1, title: "half typed" }, "and only what was changed here is sent");
  assert.deepEqual(model.attributes, { id: 1, title: "half typed", completed: false });
});

test("what is set after a save and is not saved itself outlives what the page tells of the save", async () => {
  const { todos, log } = await scene({ rows: ["milk"] });
  const model = todos.at(0);
  model.save({ completed: true });
  model.set({ title: "half typed" });
  await settled();
  assert.deepEqual(model.attributes, { id: 1, title: "half typed", completed: true });
  assert.ok(!log.some((line) => line.endsWith("(remote)")), log.join("\n"));
});

test("a model in no collection hears of its row, from its construction on, until it leaves", async () => {
  const { Todo, other } = await scene({ rows: ["milk"] });
  const model = new Todo({ id: 1 });
  const log = record({ model });
  other.change(1, { title: "oat milk" });
  assert.deepEqual(log, ['model change:title {"id":1,"title":"oat milk"} = "oat milk" (remote)', 'model change {"id":1,"title":"oat milk"} (remote)']);
  model.leave();
  other.change(1, { title: "rice milk" });
  assert.equal(model.get("title"), "oat milk");

  const second = new Todo({ id: 1 });
  const events = record({ second });
  other.delete(1);
  assert.deepEqual(events, ['second destroy {"id":1} (remote)']);
});

test("a synced model in a collection of Backbone's own hears of its row", async () => {
  const { Todo, other } = await scene({ rows: ["milk"] });
  const plain = new (Backbone.Collection.extend({ model: Todo }))([{ id: 1, title: "milk" }]);
  other.change(1, { title: "oat milk" });
  assert.deepEqual(plain.pluck("title"), ["oat milk"]);
  other.delete(1);
  assert.equal(plain.length, 0);
});

test("a collection that has left hears nothing more", async () => {
  const { todos, other, log } = await scene();
  todos.leave();
  other.create("tea");
  assert.deepEqual(log, []);
});

test("several collections and models of one row agree; each hears once", async () => {
  const { Todo, Todos, todos, other, quiet } = await scene({ rows: ["milk"] });
  const second = new Todos();
  second.fetch();
  await quiet();
  const alone = new Todo({ id: 1 });
  const log = record({ todos, second, alone });
  todos.at(0).save({ title: "oat milk" });
  await quiet();
  assert.deepEqual(log.filter((line) => line.includes(" change:title ")), [
    'todos change:title {"id":1,"title":"oat milk","completed":false} = "oat milk"',
    'second change:title {"id":1,"title":"oat milk","completed":false} = "oat milk" (remote)',
    'alone change:title {"id":1,"title":"oat milk"} = "oat milk" (remote)',
  ]);
  log.length = 0;
  todos.create({ title: "tea" });
  await quiet();
  assert.equal(log.filter((line) => line.startsWith("second add")).length, 1);
  assert.deepEqual([todos.pluck("id"), second.pluck("id")], [[1, 2], [1, 2]]);
  log.length = 0;
  other.delete(2);
  assert.deepEqual([todos.pluck("id"), second.pluck("id")], [[1], [1]]);
  assert.deepEqual(log.filter((line) => line.includes(" destroy ")).map((line) => line.split(" ")[0]), ["todos", "second"]);
});

test("two models of one row that are saved at once: different attributes both survive", async () => {
  const { Todos, todos, server, quiet } = await scene({ rows: ["milk"] });
  const second = new Todos();
  second.fetch();
  await quiet();
  todos.at(0).save({ title: "oat milk" });
  second.at(0).save({ completed: true });
  await quiet();
  assert.deepEqual(server.rows.get(1), { id: 1, title: "oat milk", completed: true });
  for (const { attributes } of [todos.at(0), second.at(0)]) assert.deepEqual(attributes, { id: 1, title: "oat milk", completed: true });
});

test("one model in two collections hears once", async () => {
  const { Todos, todos, other } = await scene({ rows: ["milk"], isFetched: false });
  const second = new Todos();
  const model = todos.add({ id: 1, title: "milk" });
  second.add(model);
  const log = record({ model });
  model.once("change:title", () => model.set({ title: "half typed" }));
  other.change(1, { title: "oat milk" });
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["change:title", "change:title", "change"]);
  assert.equal(model.get("title"), "half typed");
});

test("a model whose row is gone listens to nothing more, as one that was destroyed here", async () => {
  const { Todo, todos, other } = await scene({ rows: ["milk"] });
  const neighbour = new Todo();
  let heard = 0;
  todos.at(0).listenTo(neighbour, "change", () => (heard += 1));
  neighbour.set({ title: "a" });
  other.delete(1);
  neighbour.set({ title: "b" });
  assert.equal(heard, 1);
});

test("rows that are parsed and named by another attribute", async () => {
  const world = stage();
  const Note = world.syncedModel.extend({ idAttribute: "key", parse: ({ text, ...rest }) => ({ ...rest, words: text.split(" ") }) }, { modelname: "Note" });
  const Notes = world.syncedCollection.extend({ model: Note }, { modelname: "Note" });
  const notes = new Notes();
  await settled();
  world.socket.open();
  world.take().forEach(world.answer);
  await settled();
  const [{ id }] = world.take().filter(({ method }) => method === "subscribe");
  world.socket.receive({ method: "live", id, modelname: "Note", seq: 0, cursor: "c" });
  world.socket.receive({ method: "create", modelname: "Note", model: { key: "a", text: "to do" }, seq: 1 });
  assert.deepEqual(notes.get("a").attributes, { key: "a", words: ["to", "do"] });
  world.socket.receive({ method: "update", modelname: "Note", model: { key: "a", text: "done" }, seq: 2 });
  assert.deepEqual(notes.get("a").attributes, { key: "a", words: ["done"] });
});

test("what is changed in place, by a parse or in an attribute, is the model's own", async () => {
  const parse = (row) => {
    row.shout = row.title.toUpperCase();
    return row;
  };
  const { todos, Todos, other, requests, quiet } = await scene({ model: { parse } });
  other.create("milk", { tags: ["a"] });
  const second = new Todos();
  const success = () => {};
  second.fetch({ success });
  todos.fetch();
  await quiet();
  assert.deepEqual([todos.at(0).get("shout"), second.at(0).get("shout")], ["MILK", "MILK"]);
  for (const tag of ["b", "c"]) {
    todos.at(0).get("tags").push(tag);
    todos.at(0).save();
    await settled();
    assert.deepEqual(second.at(0).get("tags").at(-1), tag);
    second.at(0).get("tags").reverse();
    assert.equal(todos.at(0).get("tags").at(-1), tag);
    second.at(0).get("tags").reverse();
    await quiet();
    assert.equal(requests.at(-1).model.tags.at(-1), tag);
  }
});

test("a field that goes goes from the model; one that is unset here is null there", async () => {
  const { todos, other, requests, quiet } = await scene();
  other.create("milk", { due: "today", note: "two" });
  const model = todos.at(0);
  other.change(1, { due: undefined });
  assert.equal(model.get("due"), undefined);
  model.unset("note");
  model.save();
  await quiet();
  assert.deepEqual(requests.at(-1).model, { id: 1, note: null });
});

test("a collection of models of several classes", async () => {
  const world = stage();
  const Open = world.syncedModel.extend({ kind: "open" }, { modelname: "Todo" });
  const Done = world.syncedModel.extend({ kind: "done" }, { modelname: "Todo" });
  const Todos = world.syncedCollection.extend(
    {
      model: function (attributes, options) {
        return attributes.completed ? new Done(attributes, options) : new Open(attributes, options);
      },
    },
    { modelname: "Todo" },
  );
  const todos = new Todos();
  await world.open();
  world.other.create("milk");
  world.other.create("tea", { completed: true });
  assert.deepEqual(todos.map(({ kind }) => kind), ["open", "done"]);
});

test("a listener that writes, or throws, in the middle of others' changes", async (context) => {
  const { todos, other, quiet, server } = await scene({ rows: ["milk"] });
  todos.on("change:completed", (model) => model.save({ title: "done" }));
  other.change(1, { completed: true });
  await quiet();
  assert.deepEqual(server.rows.get(1), { id: 1, title: "done", completed: true });
  todos.once("add", () => {
    throw new Error("mine");
  });
  const report = context.mock.method(globalThis, "queueMicrotask", () => {});
  other.create("tea");
  assert.throws(() => report.mock.calls.forEach((call) => call.arguments[0]()), /mine/);
  report.mock.restore();
  other.change(2, { title: "green tea" });
  assert.equal(todos.get(2).get("title"), "green tea");
});

test("a listener that throws keeps nothing from the others", async (context) => {
  const { todos, Todos, socket } = await scene({ rows: ["milk", "tea", "soap"] });
  const second = new Todos();
  second.fetch();
  await settled();
  const report = context.mock.method(globalThis, "queueMicrotask", () => {});
  const mistake = () => {
    throw new Error("mine");
  };
  todos.at(0).on("change:title change destroy", mistake);
  todos.on("add update", mistake);
  let seq = 0;
  const receive = (...changes) => socket.receive(...changes.map(([method, model]) => ({ method, modelname: "Todo", model, seq: (seq += 1) })));
  receive(["update", { id: 1, title: "oat milk" }], ["update", { id: 2, title: "green tea" }], ["create", { id: 4, title: "a" }], ["create", { id: 5, title: "b" }], ["delete", { id: 3 }]);
  for (const { models } of [todos, second]) assert.deepEqual(models.map(({ attributes }) => attributes.title), ["oat milk", "green tea", "a", "b"]);
  let heard = 0;
  todos.at(0).on("change:completed", () => (heard += 1));
  receive(["update", { id: 1, title: "oat milk", completed: true }]);
  assert.equal(heard, 1);
  receive(["delete", { id: 1 }]);
  for (const { models } of [todos, second]) assert.deepEqual(models.map(({ id }) => id), [2, 4, 5]);
  const reports = report.mock.calls.map(({ arguments: [run] }) => run);
  report.mock.restore();
  assert.ok(reports.length >= 5);
});

test("a listener in one collection that writes to what the next is about to show", async () => {
  const { todos, Todos, other } = await scene();
  const second = new Todos();
  second.fetch();
  await settled();
  todos.once("add", (model) => model.save({ completed: true }));
  const milk = second.create({ title: "milk" });
  await settled();
  assert.deepEqual([todos.at(0).get("completed"), milk.get("completed")], [true, true]);
});

test("a listener that writes, or removes, what is changed by others at the same time", async () => {
  for (const [write, expected, events] of [
    [(model) => model.save({ title: "mine" }), [1, "milk!", 2, "mine"], ["change:title"]],
    [(model) => model.set({ completed: true }), [1, "milk!", 2, "tea!"], ["change:completed", "change:title"]],
    [(model) => model.destroy(), [1, "milk!"], ["remove", "destroy"]],
    [(model) => model.collection.remove(model), [1, "milk!"], ["remove"]],
    [(model) => model.collection.reset([]), [], []],
  ]) {
    const { todos, Todo, socket } = await scene({ rows: ["milk", "tea"] });
    const [milk, tea] = todos.models;
    const log = record({ tea });
    milk.once("change", () => write(tea));
    socket.receive(...[milk, tea].map(({ attributes }) => ({ method: "update", modelname: "Todo", model: { ...attributes, title: `${attributes.title}!` }, seq: 1 })));
    await settled();
    assert.deepEqual(todos.models.flatMap(({ id, attributes }) => [id, attributes.title]), expected);
    assert.ok(todos.every((model) => model instanceof Todo && model.has("completed")));
    const names = log.map((line) => line.split(" ")[1]);
    assert.deepEqual(names.filter((name) => /:|remove|destroy/.test(name)), events);
  }
});

test("a collection that names its models otherwise", async () => {
  const { todos, other, taken, quiet } = await scene({ rows: ["milk"], collection: { modelId: ({ id }) => `todo-${id}` } });
  other.change(1, { title: "oat milk" });
  other.create("tea");
  other.change(2, { title: "green tea" });
  todos.create({ title: "soap" });
  await quiet();
  assert.deepEqual([todos.pluck("title"), todos.get("todo-2").id], [["oat milk", "green tea", "soap"], 2]);
  taken();
  for (const id of [1, 2, 3]) other.delete(id);
  assert.deepEqual([todos.length, taken().filter((line) => line.startsWith("todos destroy")).length], [0, 3]);
});

test("`request` has the promise, also in the options, as Backbone's own has its request", async () => {
  const { todos } = await scene();
  const seen = [];
  todos.on("request", (model, promise, options) => seen.push(typeof promise.then, options.xhr === promise));
  todos.create({ title: "milk" });
  todos.fetch();
  assert.deepEqual(seen, ["function", true, "function", true]);
});

test("`sync` called directly, and overridden", async () => {
  const sync = (...given) => void given[1].constructor.__super__.sync.apply(given[1], given);
  const { todos, Todo, server, quiet } = await scene({ rows: ["milk"] });
  const reading = todos.at(0).sync("read", todos.at(0));
  await quiet();
  assert.deepEqual(await reading, { id: 1, title: "milk", completed: false });
  const Own = Todo.extend({ sync });
  const tea = todos.create(new Own({ title: "tea" }));
  assert.equal(tea.destroy(), undefined);
  assert.equal(tea.isNew(), false);
  await quiet();
  assert.deepEqual([todos.pluck("title"), server.rows.size], [["milk"], 1]);
});

test("what is written while the client is being loaded goes before what is written then", async () => {
  const { db, server, open } = stage();
  let resolve;
  const loading = new Promise((done) => (resolve = done));
  const { syncedModel, syncedCollection } = synced(Backbone, /** @type {any} */ (loading));
  const todos = new (syncedCollection.extend({ model: syncedModel.extend({}, { modelname: "Todo" }) }))();
  todos.create({ title: "milk" });
  resolve(db);
  for (let turn = 0; turn < 4; turn += 1) {
    await undefined;
    todos.create({ title: `${turn}` });
  }
  await open();
  assert.deepEqual([...server.rows.values()].map(({ title }) => title), ["milk", "0", "1", "2", "3"]);
});

// Before there is a confirm, or a line.

test("written without a line: edited, destroyed, in order, and once", async () => {
  const { todos, Todos, open, server, titles, requests } = await scene({ isOpen: false });
  const second = new Todos();
  const milk = todos.create({ title: "milk" });
  milk.save({ title: "oat milk" });
  const tea = todos.create({ title: "tea" });
  tea.destroy();
  const soap = todos.create({ title: "soap" });
  soap.save({ completed: true });
  await settled();
  assert.deepEqual(titles(), ["oat milk", "soap"]);
  assert.deepEqual(second.pluck("title"), ["oat milk", "soap"], "other collections show it at once");
  await open();
  assert.deepEqual([...server.rows.values()].map(({ title, completed }) => [title, completed]), [["oat milk", false], ["soap", true]]);
  assert.deepEqual([todos.pluck("id"), second.pluck("id")], [[1, 3], [1, 3]]);
  assert.equal(todos.get(1), milk);
  assert.deepEqual(requests.filter(({ id }) => typeof id === "number").map(({ method }) => method), ["create", "patch", "create", "delete", "create", "patch"]);
});

test("destroyed or left before it has an id, it still is that row: what is written to it then does not go astray", async () => {
  const { todos, server, quiet, requests } = await scene();
  const milk = todos.create({ title: "milk" });
  milk.leave();
  milk.save({ title: "oat milk" });
  const tea = todos.create({ title: "tea" });
  const errors = [];
  const error = (_model, { code }) => errors.push(code);
  tea.destroy();
  tea.destroy({ error });
  tea.save({ title: "green tea" }, { error });
  await quiet();
  assert.deepEqual([...server.rows.values()], [{ id: 1, title: "oat milk", completed: false }]);
  assert.deepEqual(errors, ["not_found", "not_found"]);
  const named = requests.filter(({ method }) => method === "patch" || method === "delete");
  assert.ok(named.every(({ model }) => model.id.$cid), JSON.stringify(named));
  assert.deepEqual(todos.pluck("title"), ["oat milk"]);
});

test("a model that has no id yet, added to a collection that has its row: they are one row", async () => {
  const { todos, Todos, quiet } = await scene();
  const second = new Todos();
  const milk = todos.create({ title: "milk" });
  await settled();
  second.add(milk);
  assert.equal(second.length, 1);
  await quiet();
  assert.deepEqual(second.pluck("id"), [1]);
});

test("the id comes once, and says so once", async () => {
  const { todos, quiet, log } = await scene();
  const model = todos.create({ title: "milk" });
  model.save({ title: "oat milk" });
  await quiet();
  assert.equal(log.filter((line) => line.startsWith("todos change:id")).length, 1);
  assert.equal(log.filter((line) => line.startsWith("todos add")).length, 1);
  assert.equal(log.filter((line) => line.startsWith("todos sync")).length, 2);
  assert.ok(!log.some((line) => line.endsWith("(remote)")), log.join("\n"));
  assert.equal(model.id, 1);
  assert.equal(todos.length, 1);
});

test("a model that is given an id of its own is created under it, and stays one row", async () => {
  const { todos, Todos, Todo, quiet, requests, server, log, other } = await scene();
  const second = new Todos();
  const errors = [];
  const error = (_model, { code }) => errors.push(code);
  const milk = todos.create({ id: "a", title: "milk" }, { error });
  milk.save({ completed: true }, { error });
  new Todo({ id: "b", title: "tea" }).save(null, { error });
  todos.create({ id: "c", title: "" }, { error });
  await settled();
  assert.deepEqual(second.pluck("id"), ["a", "b", "c"], "other collections show it at once");
  await quiet();
  assert.deepEqual(requests.filter(({ cid, method }) => cid || method === "patch").map(({ method }) => method), ["create", "patch", "create", "create"]);
  assert.deepEqual([...server.rows.values()].map(({ id, title, completed }) => [id, title, completed]), [["a", "milk", true], ["b", "tea", false]]);
  assert.deepEqual([todos.pluck("id"), second.pluck("id"), errors], [["a", "b"], ["a", "b"], ["invalid"]]);
  assert.equal(todos.get("a"), milk);
  assert.ok(!log.some((line) => /change:id|destroy/.test(line)), log.join("\n"));
  other.delete("a");
  milk.save({ title: "again" }, { error });
  await quiet();
  assert.deepEqual([[...server.rows.keys()], errors.at(-1)], [["b"], "not_found"], "one that was deleted does not come back");
});

test("a model that is given an id of its own without a line, or before the client is loaded", async () => {
  const { db, server, open } = stage();
  const { syncedModel, syncedCollection } = synced(Backbone, /** @type {any} */ (Promise.resolve(db)));
  const todos = new (syncedCollection.extend({ model: syncedModel.extend({}, { modelname: "Todo" }) }))();
  const milk = todos.create({ id: "a", title: "milk" });
  milk.save({ title: "oat milk" });
  await settled();
  todos.create({ id: "b", title: "tea" }).destroy();
  await open();
  assert.deepEqual([...server.rows.values()], [{ id: "a", title: "oat milk", completed: false }]);
  assert.deepEqual(todos.models, [milk]);
});

test("the broadcast before the confirm, and the confirm before the broadcast", async () => {
  for (const order of [["create", "confirm"], ["confirm", "create"]]) {
    const { todos, take, socket, log } = await scene();
    const model = todos.create({ title: "milk" });
    await settled();
    const { id, cid } = take().at(-1);
    const row = { id: 1, title: "milk", completed: false };
    for (const method of order) {
      socket.receive({ method, id: method === "confirm" ? id : undefined, modelname: "Todo", cid, model: row, seq: 1, row_seq: 1 });
      await settled();
      assert.equal(todos.length, 1);
    }
    const events = log.map((line) => line.split(" ")[1]);
    assert.deepEqual(events.filter((event) => event !== "update" && event !== "change"), ["add", "request", "changeId", "change:id", "change:completed", "sync"]);
    assert.equal(todos.get(1), model);
  }
});

test("a fetch while a creation is not confirmed keeps the model", async () => {
  const { todos, take, answer, quiet } = await scene({ rows: ["milk"] });
  const tea = todos.create({ title: "tea" });
  await settled();
  todos.fetch();
  await settled();
  assert.deepEqual(todos.pluck("title"), ["milk", "tea"]);
  assert.equal(todos.at(1), tea);
  take().forEach(answer);
  await quiet();
  assert.equal(todos.get(2), tea);
  assert.equal(todos.length, 2);
});

test("what is created and destroyed while a fetch is under way", async () => {
  const { todos, quiet, log } = await scene({ rows: ["milk", "soap"] });
  todos.fetch();
  const tea = todos.create({ title: "tea" });
  todos.at(0).destroy();
  await quiet();
  assert.deepEqual(todos.pluck("title"), ["soap", "tea"]);
  assert.equal(todos.at(1), tea);
  assert.deepEqual(log.filter((line) => / (add|remove) /.test(line)).map((line) => line.split(" ")[1]), ["add", "remove"]);
});

test("a fetch that waits for its rows when the connection is closed ends, and one after it", async () => {
  const { todos, db } = await scene({ isOpen: false });
  const seen = [];
  const error = (_todos, { code }) => seen.push(code);
  todos.fetch({ error });
  await settled();
  db.close();
  todos.fetch({ error });
  await settled();
  assert.deepEqual(seen, ["closed", "closed"]);
});

test("with wait nothing is shown before the confirm, in no collection, and then it is there once", async () => {
  const { todos, Todos, quiet, log } = await scene();
  const second = new Todos();
  const events = record({ second });
  const model = todos.create({ title: "milk" }, { wait: true });
  await settled();
  assert.deepEqual([todos.length, second.length], [0, 0]);
  await quiet();
  assert.deepEqual([todos.length, second.length], [1, 1]);
  assert.equal(todos.at(0), model);
  assert.notEqual(second.at(0), model);
  assert.deepEqual(events.map((line) => line.split(" ")[1]), ["add", "update"]);
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["add", "update", "sync"]);
});

test("destroyed elsewhere in the page before a creation that waits has called back: it does not stay", async () => {
  const { todos, db, take, answer, quiet, server } = await scene();
  todos.create({ title: "milk" }, { wait: true });
  await settled();
  take().forEach(answer);
  db.model("Todo").delete(1);
  await quiet();
  assert.deepEqual([todos.length, server.rows.size], [0, 0]);
});

test("a model that leaves when its creation has waited: its row is there all the same", async () => {
  const { Todo, todos, quiet } = await scene();
  new Todo({ title: "milk" }).save(null, { wait: true, success: (model) => model.leave() });
  await quiet();
  assert.deepEqual(todos.pluck("title"), ["milk"]);
});

test("destroyed by another while a save with wait is under way: the error, and then it is gone", async () => {
  const { todos, other, take, answer, log } = await scene({ rows: ["milk"] });
  todos.at(0).save({ title: "oat milk" }, { wait: true });
  await settled();
  log.length = 0;
  other.delete(1);
  assert.equal(todos.length, 1);
  take().forEach(answer);
  await settled();
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["error", "remove", "update", "destroy"]);
});

test("destroyed by another while a save is under way: gone at once, and the error still comes", async () => {
  const { todos, other, take, answer } = await scene({ rows: ["milk"] });
  const [model] = todos.models;
  const log = record({ model });
  model.save({ title: "oat milk" });
  await settled();
  log.length = 0;
  other.delete(1);
  assert.equal(todos.length, 0);
  take().forEach(answer);
  await settled();
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["remove", "destroy", "error"]);
});

test("destroy with wait of what is not there: the error, and then it is gone", async () => {
  const { Todo, todos, quiet, log } = await scene();
  todos.add(new Todo({ id: 9, title: "none" }));
  log.length = 0;
  todos.at(0).destroy({ wait: true });
  await quiet();
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["request", "error", "remove", "update", "destroy"]);
});

test("destroyed by another while a destroy with wait is under way: the error, and then it is gone", async () => {
  const { todos, other, take, answer, log } = await scene({ rows: ["milk"] });
  todos.at(0).destroy({ wait: true });
  await settled();
  other.delete(1);
  take().forEach(answer);
  await settled();
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["request", "error", "remove", "update", "destroy"]);
});

test("saved before the rows are here, and not there: the error, and then it is gone", async () => {
  const { todos, socket, take, answer } = await scene({ isOpen: false });
  todos.add({ id: 9, title: "none" }).save({ completed: true });
  const log = record({ todos });
  await settled();
  socket.open();
  take().forEach(answer);
  await settled();
  take().filter(({ method }) => method === "update").forEach(answer);
  await settled();
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["error", "remove", "update", "destroy"]);
});

// What the server refuses.

test("a refused creation: the error, with the model as it was saved; then it leaves no trace, and can be saved again", async () => {
  const { todos, Todos, quiet, log, server } = await scene();
  const second = new Todos();
  const seen = [];
  const model = todos.create({ title: "" }, { error: (model, error) => seen.push(model.get("title"), todos.length, error.code, error.fields.get("title")) });
  const third = new Todos([model]);
  await settled();
  assert.equal(second.length, 1);
  await quiet();
  assert.equal(third.length, 0);
  assert.deepEqual(seen, ["", 1, "invalid", "must not be empty"]);
  assert.deepEqual([todos.length, second.length], [0, 0]);
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["add", "update", "request", "error", "remove", "update"]);
  model.save({ title: "milk" });
  await quiet();
  assert.equal(model.id, 1);
  assert.equal(server.rows.size, 1);
  assert.deepEqual([todos.pluck("id"), second.pluck("id")], [[1], [1]]);
});

test("a refused creation that is saved again by its own error callback", async () => {
  for (const wait of [false, true]) {
    const { todos, Todos, quiet, server } = await scene();
    const second = new Todos();
    const seen = [];
    const success = () => seen.push("success");
    const model = todos.create({ title: "" }, { wait, error: (model) => model.save({ title: "milk" }, { success }) });
    await quiet();
    assert.deepEqual(seen, ["success"]);
    assert.deepEqual([...server.rows.keys()], [1]);
    assert.deepEqual([todos.pluck("id"), second.pluck("id"), model.id], [[1], [1], 1]);
    if (!wait) assert.equal(todos.at(0), model);
  }
});

test("a refused creation that waited: what was added before stays where it was, as in Backbone", async () => {
  const { todos, server, quiet } = await scene();
  const model = todos.add({ title: "" });
  model.save(null, { wait: true });
  await quiet();
  assert.equal(todos.at(0), model);
  model.save({ title: "milk" }, { wait: true });
  await quiet();
  assert.deepEqual([todos.pluck("id"), [...server.rows.keys()]], [[1], [1]]);
});

test("a client that cannot be loaded: the error, and then a new model leaves its collection", async (context) => {
  const printed = context.mock.method(console, "error", () => {});
  const { syncedModel, syncedCollection } = synced(Backbone, /** @type {any} */ (Promise.reject(new Error("offline"))));
  const todos = new (syncedCollection.extend({ model: syncedModel.extend({}, { modelname: "Todo" }) }))();
  const log = record({ todos });
  todos.create({ title: "milk" });
  todos.fetch();
  await settled();
  assert.deepEqual(log.map((line) => line.split(" ")[1]), ["add", "update", "request", "request", "error", "error", "remove", "update"]);
  assert.equal(printed.mock.callCount(), 1);
});

test("a refused change: the error, with what was tried; then the model is as the row is, with what others did", async () => {
  const { todos, other, quiet, log } = await scene({ rows: ["milk"] });
  const model = todos.at(0);
  const seen = [];
  model.save({ title: "" }, { error: (model) => seen.push(model.get("title")) });
  other.change(1, { completed: true });
  await quiet();
  assert.deepEqual(seen, [""]);
  assert.deepEqual(model.attributes, { id: 1, title: "milk", completed: true });
  assert.deepEqual(log.filter((line) => /error|change:title/.test(line)).map((line) => line.replace(/ {.*}/, "")), [
    'todos change:title = ""',
    "todos error",
    'todos change:title = "milk" (remote)',
  ]);
});

test("a refused change while another model of the row is being saved: the error still comes first", async () => {
  const { todos, Todos, quiet, take, answer } = await scene({ rows: ["milk"] });
  const second = new Todos();
  second.fetch();
  await quiet();
  const seen = [];
  todos.at(0).save({ title: "" }, { error: (model) => seen.push(model.get("title")) });
  second.at(0).save({ completed: true });
  await settled();
  for (const message of take()) {
    answer(message);
    await settled();
  }
  assert.deepEqual(seen, [""]);
  for (const { attributes } of [todos.at(0), second.at(0)]) assert.deepEqual(attributes, { id: 1, title: "milk", completed: true });
});

test("a refused destroy brings the row back", async () => {
  const { todos, quiet, server, other } = await scene({ rows: ["milk"] });
  const rows = new Map(server.rows);
  todos.at(0).destroy();
  server.write = () => ({ error: { code: "forbidden", message: "no" } });
  assert.equal(todos.length, 0);
  await quiet();
  assert.equal(rows.size, 1);
  assert.deepEqual(todos.pluck("title"), ["milk"]);
  other.change(1, { title: "oat milk" });
  assert.deepEqual(todos.pluck("title"), ["oat milk"]);
});

test("a model that may not be read says so; what is written to it is written, and stays", async (context) => {
  context.mock.method(console, "error", () => {});
  const world = stage();
  const Todo = world.syncedModel.extend({}, { modelname: "Todo" });
  const Todos = world.syncedCollection.extend({ model: Todo }, { modelname: "Todo" });
  const [todos, second] = [new Todos(), new Todos()];
  const log = record({ todos });
  await settled();
  world.socket.open();
  world.take().forEach(world.answer);
  await settled();
  const [{ id }] = world.take();
  world.socket.receive({ method: "error", id, request: "subscribe", code: "method_not_allowed", message: "Todo does not allow `read`", retry: false });
  const failed = [];
  todos.fetch({ error: (_, error) => failed.push(error.code) });
  const model = todos.create({ title: "milk" });
  await settled();
  const [create] = world.take();
  world.socket.receive({ method: "confirm", id: create.id, cid: create.cid, modelname: "Todo", seq: 1 });
  await settled();
  assert.deepEqual(failed, ["method_not_allowed"]);
  assert.ok(log.some((line) => line.startsWith("todos error")));
  assert.ok(log.some((line) => line.startsWith("todos sync")));
  assert.ok(todos.contains(model));
  assert.equal(second.length, 1);
});

// Names, and what else is on the page.

test("a modelname that is missing is an error at once, and one that the server does not know is told", async (context) => {
  const printed = context.mock.method(console, "error", () => {});
  const world = stage();
  const { syncedModel, syncedCollection } = world;
  const message = /needs the name of its model: extend\({...}, { modelname: "Todo" }\)/;
  const Nameless = syncedModel.extend({});
  assert.throws(() => new Nameless(), message);
  assert.throws(() => new (syncedCollection.extend({ model: Nameless }))(), message);
  const Gone = syncedModel.extend({}, { modelname: "Gone" });
  const gones = new (syncedCollection.extend({ model: Gone }, { modelname: "Gone" }))();
  const errors = [];
  gones.on("error", (_, error) => errors.push(error.message));
  await settled();
  world.socket.open();
  world.take().forEach(world.answer);
  await settled();
  const [{ id }] = world.take();
  world.socket.receive({ method: "error", id, request: "subscribe", code: "unknown_model", message: "there is no model `Gone`", retry: false });
  assert.deepEqual(errors, ["there is no model `Gone`"]);
  assert.equal(printed.mock.callCount(), 1);
});

test("the name can stand on the collection alone, or on the model alone", async () => {
  const { syncedModel, syncedCollection, other, open } = stage();
  const ofCollection = new (syncedCollection.extend({}, { modelname: "Todo" }))();
  const ofModel = new (syncedCollection.extend({ model: syncedModel.extend({}, { modelname: "Todo" }) }))();
  await open();
  other.create("milk");
  assert.deepEqual([ofCollection.pluck("title"), ofModel.pluck("title")], [["milk"], ["milk"]]);
});

test("classes, and the base classes themselves", async () => {
  const { syncedModel, syncedCollection, other, open } = stage();
  class Todo extends syncedModel {
    static modelname = "Todo";
  }
  class Todos extends syncedCollection {
    static modelname = "Todo";
    preinitialize() {
      this.model = Todo;
    }
  }
  const [todos, bare] = [new Todos(), new syncedCollection([], { model: Todo })];
  await open();
  other.create("milk");
  for (const collection of [todos, bare]) assert.deepEqual(collection.map((model) => [model instanceof Todo, model.get("title")]), [[true, "milk"]]);
});

test("one model has one idAttribute", () => {
  const { syncedModel } = stage();
  new (syncedModel.extend({}, { modelname: "Todo" }))();
  assert.throws(() => new (syncedModel.extend({ idAttribute: "key" }, { modelname: "Todo" }))(), /its idAttribute was `id`, and is now `key`/);
});

test("an unsynced model on the same page is untouched", async () => {
  const { sync } = Backbone;
  const calls = [];
  const Plain = Backbone.Model.extend({ sync: (...given) => calls.push(given[0]) });
  const { todos, quiet } = await scene();
  const plain = new Plain({ title: "plain" });
  plain.save();
  todos.create({ title: "milk" });
  await quiet();
  assert.deepEqual(calls, ["create"]);
  assert.equal(Backbone.sync, sync);
  assert.deepEqual(Object.keys(plain.attributes), ["title"]);
});

test("ids that mean something to JavaScript are only ids", async () => {
  const { todos, socket } = await scene();
  let seq = 0;
  for (const id of ["__proto__", "constructor", "models", "toString"]) {
    socket.receive({ method: "create", modelname: "Todo", model: { id, title: id }, seq: (seq += 1) });
    assert.equal(todos.length, 1, id);
    assert.equal(todos.get(id), todos.at(0));
    socket.receive({ method: "update", modelname: "Todo", model: { id, title: "changed" }, seq: (seq += 1) });
    assert.equal(todos.get(id).get("title"), "changed");
    socket.receive({ method: "delete", modelname: "Todo", model: { id }, seq: (seq += 1) });
    assert.equal(todos.length, 0, id);
    assert.equal(todos.get(id), undefined);
  }
  assert.equal(/** @type {any} */ ({}).title, undefined);
});

test("connect: once, before the first model is used", async () => {
  const { syncedModel, db } = stage();
  assert.equal(await syncedModel.connect({ storage: "memory" }), db);
  assert.throws(() => syncedModel.connect({ storage: "memory" }), /there is a connection already/);
  assert.equal(await syncedModel.connect(), db);
});
