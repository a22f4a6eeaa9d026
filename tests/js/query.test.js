import assert from "node:assert/strict";
import { test } from "node:test";

import { cidOf } from "../../sync-core/client/names.js";
import { change, client, confirm, error, live, outcome, page, settled } from "./support.js";

const row = (id, title, fields) => ({ id, title, ...fields });
const titles = (query) => query.rows.map(({ title }) => title);

/** A client whose query is live with these rows. */
function started(rows = [row(1, "a"), row(2, "b")], options = {}) {
  const c = client();
  c.online();
  const query = c.todos.query(options);
  const calls = [];
  query.subscribe(({ rows }, changes) => calls.push([rows.map(({ title }) => title), changes]));
  const { id } = c.socket.take().find(({ method }) => method === "subscribe");
  c.socket.receive(page(id, rows.map((row, index) => [row, index + 1])), live(id, rows.length));
  calls.length = 0;
  return { ...c, get socket() { return c.socket; }, c, query, calls, id, seq: rows.length };
}

test("what is written is shown at once, in order, and told once for all that was done together", async () => {
  const { todos, query, calls } = started();
  await settled();
  calls.length = 0;
  const created = todos.create({ title: "c" });
  todos.patch({ id: 1, title: "A" });
  todos.patch({ id: created.row.id, done: true });
  todos.delete(2);
  assert.deepEqual(titles(query), ["A", "c"]);
  assert.equal(query.rows[1].done, true);
  assert.deepEqual(calls, [], "not yet");
  await settled();
  assert.deepEqual(calls.map(([shown]) => shown), [["A", "c"]]);
  assert.deepEqual(calls[0][1].map(({ key, before, after }) => [key, before?.title, after?.title]), [
    [created.row.id, undefined, "c"],
    [1, "a", "A"],
    [2, "b", undefined],
  ]);
});

test("a row that is created can be used at once: it has a name that stays", async () => {
  const { c, todos, query, calls, seq } = started([]);
  const creation = todos.create({ title: "a" });
  const { id: cid } = creation.row;
  assert.equal(typeof cid, "string");
  assert.deepEqual(creation.row, { title: "a", id: cid });
  assert.equal(query.rows[0], creation.row);
  assert.ok(Object.isFrozen(creation.row));
  assert.equal(todos.pending(creation.row), 1);
  assert.equal(todos.key(creation.row), cid);

  const [sent] = c.socket.take();
  c.socket.receive(change("create", row(7, "a", { done: false }), seq + 1), { ...confirm(1, seq + 1, row(7, "a", { done: false })), cid: sent.cid });
  assert.deepEqual(await creation, row(7, "a", { done: false }));
  assert.deepEqual(query.rows, [row(7, "a", { done: false })]);
  assert.equal(todos.key(query.rows[0]), cid, "the same name");
  assert.equal(todos.pending(query.rows[0]), 0);
  for (const [shown] of calls) assert.deepEqual(shown, ["a"], "never gone, never twice");
  todos.patch({ id: cid, title: "by its old name" });
  assert.equal(query.rows[0].title, "by its old name");
  await settled();
  assert.equal(c.socket.take().at(-1).model.id, 7);
});

for (const [name, order] of Object.entries({ "the broadcast first": [0, 1], "the confirm first": [1, 0] })) {
  test(`nothing flickers, ${name}, with a query before and one after`, async () => {
    const { c, todos, query, seq } = started([row(1, "a")]);
    const other = todos.query({ where: { title: "c" } });
    const seen = [];
    other.subscribe(() => seen.push(titles(other)));
    await settled();
    const creation = outcome(todos.create({ title: "c" }));
    await settled();
    const [{ cid }] = c.socket.take();
    const both = [{ ...change("create", row(2, "c"), seq + 1), cid }, { ...confirm(1, seq + 1, row(2, "c")), cid }];
    for (const index of order) {
      c.socket.receive(both[index]);
      assert.deepEqual([titles(query), titles(other)], [["a", "c"], ["c"]]);
    }
    await settled();
    assert.deepEqual(creation.value, row(2, "c"));
    assert.deepEqual(seen.filter((shown) => shown.length !== 1), [[]], "only before it was created");
  });
}

test("a rejection takes exactly its own effect away", async () => {
  const { c, todos, query, seq } = started();
  const results = [
    todos.patch({ id: 1, title: "x", done: true }),
    todos.patch({ id: 1, note: "kept" }),
    todos.delete(2),
    todos.create({ title: "c" }),
  ].map(outcome);
  await settled();
  c.socket.receive(error(1, "invalid", { fields: { title: "no" } }), error(3, "forbidden"));
  assert.deepEqual(query.rows.map(({ title, note, done }) => [title, note, done]), [["a", "kept", undefined], ["b", undefined, undefined], ["c", undefined, undefined]]);
  await settled();
  assert.deepEqual(results.map(({ state }) => state), ["rejected", "pending", "rejected", "pending"]);
  assert.equal(results[0].error.fields.get("title"), "no");
  c.socket.receive(error(2, "conflict", { current: row(1, "theirs") }), change("update", row(1, "theirs"), seq + 1), error(4, "invalid"));
  await settled();
  assert.deepEqual(results[1].error.current, row(1, "theirs"));
  assert.deepEqual(query.rows, [row(1, "theirs"), row(2, "b")]);
});

test("changes by others show beneath what is pending", () => {
  const { c, todos, query, seq } = started();
  todos.patch({ id: 1, title: "mine" });
  c.socket.receive(change("update", row(1, "theirs", { done: true }), seq + 1));
  assert.deepEqual(query.rows[0], row(1, "mine", { done: true }));
  c.socket.receive(change("delete", { id: 1 }, seq + 2));
  assert.deepEqual(titles(query), ["b"], "a patch brings no row back");
});

test("rows that do not change stay the same objects, and a snapshot is the same until something changes", async () => {
  const { c, query, seq } = started();
  const { snapshot } = query;
  const [a, b] = snapshot.rows;
  assert.equal(query.snapshot, snapshot);
  c.socket.receive({ method: "progress", seq });
  assert.equal(query.snapshot, snapshot);
  c.socket.receive(change("update", row(2, "B"), seq + 1));
  assert.notEqual(query.snapshot, snapshot);
  assert.equal(query.rows[0], a);
  assert.notEqual(query.rows[1], b);
  assert.deepEqual(snapshot.rows, [row(1, "a"), row(2, "b")], "what was handed out does not change");
  assert.throws(() => Object.assign(query.rows[0], { title: "x" }), TypeError);
  assert.throws(() => /** @type {any} */ (query.rows).push(1), TypeError);
});

test("a snapshot stays the same when what changes are rows of other queries", async () => {
  const { c, todos, query, seq } = started([row(1, "a", { done: false }), row(2, "b", { done: true })], { where: { done: true } });
  const { snapshot } = query;
  c.socket.receive(change("update", row(1, "A", { done: false }), seq + 1), change("create", row(3, "c", { done: false }), seq + 2));
  assert.equal(query.snapshot, snapshot);
  todos.patch({ id: 2, title: "b" });
  assert.deepEqual([query.snapshot === snapshot, query.rows[0] === snapshot.rows[0]], [false, true], "its row is pending now");
  const pending = query.snapshot;
  c.socket.receive(change("update", row(1, "A", { done: true }), seq + 3));
  assert.notEqual(query.snapshot, pending, "it has come in");
  const both = query.snapshot;
  c.socket.receive(change("update", row(1, "A", { done: false }), seq + 4));
  assert.notEqual(query.snapshot, both, "it has gone");
  const live = query.snapshot;
  c.socket.cut();
  assert.deepEqual([live.status, query.status], ["live", "stale"]);
});

test("where, order and limit hold at every change", () => {
  const { c, query, seq } = started([row(1, "d", { n: 1 }), row(2, "b", { n: 1 }), row(3, "c", { n: 2 }), row(4, "a", { n: 1 })], {
    where: { n: 1 },
    order: "title",
    limit: 2,
  });
  assert.deepEqual(titles(query), ["a", "b"]);
  c.socket.receive(change("update", row(4, "a", { n: 2 }), seq + 1));
  assert.deepEqual(titles(query), ["b", "d"], "the next one comes up");
  c.socket.receive(change("update", row(3, "c", { n: 1 }), seq + 2), change("delete", { id: 2 }, seq + 3));
  assert.deepEqual(titles(query), ["c", "d"]);
  c.socket.receive(change("update", row(1, "aa", { n: 1 }), seq + 4));
  assert.deepEqual(titles(query), ["aa", "c"]);
});

test("many changes at once are the same as one after the other", () => {
  const many = Array.from({ length: 300 }, (_, index) => row(index + 1, String(index % 7)));
  const { c, query, seq } = started(many, { order: ["title"] });
  const changed = many.map(({ id }) => change("update", row(id, String(id % 5)), seq + id));
  c.socket.receive(...changed);
  const expected = changed.map(({ model }) => model).sort((a, b) => a.title.localeCompare(b.title) || a.id - b.id);
  assert.deepEqual(query.rows, expected);
});

test("what cannot be asked is told", () => {
  const { todos, db } = started();
  assert.throws(() => todos.query({ limit: -1 }), /limit/);
  assert.throws(() => todos.query({ limit: NaN }), /limit/);
  assert.throws(() => todos.query({ where: { title: { like: 1 } } }), /like/);
  assert.throws(() => db.model("Todo", { id: "slug" }), /its id was said to be `id`/);
});

test("one row: from the rows that are here, else from the server; undefined if there is none", async () => {
  const { todos, c } = started();
  assert.deepEqual(await todos.get(1), row(1, "a"));
  assert.equal(await todos.get(9), undefined);
  const elsewhere = client();
  elsewhere.online();
  const [one, none] = [outcome(elsewhere.todos.get(5)), outcome(elsewhere.todos.get(6))];
  await settled();
  const reads = elsewhere.socket.take();
  assert.deepEqual(reads.map(({ method, model }) => [method, model]), [["read", { id: 5 }], ["read", { id: 6 }]]);
  const created = elsewhere.todos.create({ title: "new" });
  elsewhere.todos.patch({ id: 5, title: "mine" });
  elsewhere.socket.receive({ method: "read", id: reads[0].id, modelname: "Todo", model: row(5, "theirs"), seq: 3 });
  elsewhere.socket.receive({ method: "error", id: reads[1].id, request: "read", modelname: "Todo", code: "not_found", message: "", retry: false });
  await settled();
  assert.deepEqual(one.value, row(5, "mine"), "with what is pending");
  assert.deepEqual([none.state, none.value], ["done", undefined]);
  const pending = outcome(elsewhere.todos.get(created.row.id));
  await settled();
  assert.deepEqual(elsewhere.socket.take().at(-1).model, { id: { $cid: cidOf(created.row.id) } });
  assert.equal(pending.state, "pending");
  assert.equal(c.socket.sent.length, 0, "no need to ask");
});

test("`ifSeq` is that of the row's last change", async () => {
  const { todos, c, query, seq } = started();
  assert.deepEqual(query.rows.map((row) => todos.seq(row)), [1, 2]);
  c.socket.receive(change("update", row(1, "A"), seq + 3));
  assert.equal(todos.seq(query.rows[0]), seq + 3);
  todos.patch({ id: 1, title: "x" }, { ifSeq: todos.seq(query.rows[0]) });
  assert.equal(c.socket.take().at(-1).if_seq, seq + 3);
});

test("an iterator gives what there is, then the last of what has come, and ends with the query", async () => {
  const { c, query, seq } = started();
  const seen = [];
  const done = (async () => {
    for await (const { rows } of query) seen.push(rows.map(({ title }) => title).join(""));
    return "ended";
  })();
  await settled();
  c.socket.receive(change("update", row(1, "x"), seq + 1));
  c.socket.receive(change("update", row(1, "y"), seq + 2));
  await settled();
  c.socket.receive(change("delete", { id: 2 }, seq + 3));
  await settled();
  query.close();
  assert.equal(await done, "ended");
  assert.deepEqual(seen, ["ab", "yb", "y"]);
});

test("an iterator ends with the connection, after the last that there is", async () => {
  for (const isLive of [true, false]) {
    const { c, query } = isLive ? started() : { c: client(), query: undefined };
    const seen = [];
    const done = (async () => {
      for await (const { status } of query ?? c.todos.query()) seen.push(status);
      return "ended";
    })();
    await settled();
    c.db.close();
    assert.equal(await done, "ended");
    assert.deepEqual(seen, isLive ? ["live", "stale"] : []);
    const again = (async () => {
      for await (const { status } of c.db.model("Other").query()) seen.push(status);
    })();
    await again;
  }
});

test("queries of one model share one subscription, which lingers: coming back needs no asking", async () => {
  const { c, todos, query, id } = started();
  const other = todos.query({ where: { title: "a" } });
  assert.deepEqual(titles(other), ["a"], "at once");
  query.close();
  other.close();
  c.clock.advance(4_000);
  assert.deepEqual(c.socket.take(), []);
  const again = todos.query();
  assert.equal(again.status, "live");
  again.close();
  c.clock.advance(10_000);
  assert.deepEqual(c.socket.take(), [{ method: "unsubscribe", id }]);
  const later = todos.query();
  assert.equal(later.status, "stale");
  assert.deepEqual(titles(later), ["a", "b"], "what was known is shown meanwhile");
  const [{ since, since_seq }] = c.socket.take();
  assert.deepEqual([since, since_seq], ["c2", 2]);
});

test("a query that is left by its last listener rests, and wakes with the next", async () => {
  const { c, todos } = started();
  const query = todos.query();
  const end = query.subscribe(() => {});
  end();
  const calls = [];
  query.subscribe(({ rows }) => calls.push(rows.length));
  await settled();
  assert.deepEqual(calls, [2]);
  c.socket.receive(change("create", row(3, "c"), 3));
  assert.deepEqual(calls, [2, 3]);
});

test("a query that nobody listens to can be put to rest: it holds nothing, and wakes with its first listener", async () => {
  const { c, todos, query, id } = started();
  const resting = todos.query({ where: { title: "b" } });
  resting.rest();
  query.rest();
  query.close();
  c.clock.advance(10_000);
  assert.deepEqual(c.socket.take(), [{ method: "unsubscribe", id }]);
  const seen = [];
  resting.subscribe(({ status }) => seen.push([status, ...titles(resting)]));
  await settled();
  assert.deepEqual(seen, [["stale", "b"]]);
  assert.equal(c.socket.take()[0].method, "subscribe");
});

test("a query that was left before it told something does not tell it to its next listener", async () => {
  const { c, todos } = started([row(1, "a")]);
  const query = todos.query();
  const end = query.subscribe(() => {});
  todos.patch({ id: 1, title: "mine" });
  assert.deepEqual(titles(query), ["mine"]);
  end();
  c.socket.receive(change("delete", { id: 1 }, 2));
  const told = [];
  query.subscribe((_query, changes) => told.push(changes.map(({ key }) => key)));
  await settled();
  c.socket.receive(change("create", row(2, "b"), 3));
  await settled();
  assert.deepEqual([titles(query), told], [["b"], [[], [2]]]);
});

test("rows that came while a create was in the balance are shown at the seq that they are at by then", async () => {
  const c = client();
  c.online();
  const query = c.todos.query();
  const creation = outcome(c.todos.create({ title: "mine" }));
  const [{ id }, { cid }] = c.socket.take();
  c.socket.receive(page(id, [[row(1, "a"), 1], [row(2, "mine"), 2]]), live(id, 2));
  assert.deepEqual([query.status, titles(query)], ["loading", ["mine"]], "one of these could be it");
  c.socket.receive(change("create", row(3, "c"), 3));
  c.socket.receive({ method: "progress", seq: 4 });
  c.socket.receive({ ...confirm(1, 4, row(2, "mine")), cid });
  assert.deepEqual([query.status, titles(query)], ["live", ["a", "mine", "c"]]);
  await settled();
  assert.equal(creation.state, "done");
});

test("a row of one's own that another deletes before the confirm has come stays away", async () => {
  const { c, todos, query, seq } = started([]);
  const creation = outcome(todos.create({ title: "mine" }));
  const [{ cid }] = c.socket.take();
  c.socket.receive({ ...change("create", row(1, "mine"), seq + 1), cid });
  c.socket.receive(change("delete", { id: 1 }, seq + 2));
  assert.deepEqual(query.rows, []);
  c.socket.receive({ ...confirm(1, seq + 1, row(1, "mine")), cid });
  await settled();
  assert.deepEqual([query.rows, creation.state], [[], "done"]);
});

test("a row that was created while no query had its model is found by the name it was created under", async () => {
  const c = client();
  c.online();
  const creation = c.todos.create({ title: "a" });
  const { id: name } = creation.row;
  c.socket.take();
  c.socket.receive({ ...confirm(1, 1, row(7, "a")), cid: cidOf(name) });
  await creation;
  const query = c.todos.query();
  const { id } = c.socket.take().find(({ method }) => method === "subscribe");
  c.socket.receive(page(id, [[row(7, "a"), 1]]), live(id, 1));
  assert.deepEqual(c.todos.peek(name), row(7, "a"));
  assert.deepEqual(await c.todos.get(name), row(7, "a"));
  assert.equal(c.todos.key(creation.row), c.todos.key(query.rows[0]));
  c.todos.patch({ id: name, title: "b" });
  assert.equal(c.todos.pending(creation.row), 1);
  assert.deepEqual(titles(query), ["b"]);
});

test("a row that is asked for by its name is asked for again by its id, once that is known", async () => {
  const c = client();
  c.online();
  const { row: mine } = c.todos.create({ title: "a" });
  const asked = outcome(c.todos.get(mine.id));
  await settled();
  const [{ cid }, read] = c.socket.take();
  assert.deepEqual(read.model, { id: { $cid: cid } });
  c.cut();
  c.online({ last: 1, outcomes: [{ ...confirm(1, 1, row(7, "a")), cid }] });
  const [again] = c.socket.take().filter(({ method }) => method === "read");
  assert.deepEqual(again.model, { id: 7 });
  c.socket.receive({ method: "read", id: again.id, modelname: "Todo", model: row(7, "a"), seq: 1 });
  await settled();
  assert.deepEqual(asked.value, row(7, "a"));
});

test("a change that came while a create was in the balance counts when it is decided", async () => {
  const c = client();
  c.online();
  c.todos.query();
  const creation = outcome(c.todos.create({ title: "mine" }));
  const [{ id }, { cid }] = c.socket.take();
  c.socket.receive(page(id, []), live(id, 2));
  c.socket.receive({ ...change("create", row(3, "mine"), 3), cid });
  c.socket.receive({ ...confirm(1, 3, row(3, "mine")), cid });
  await settled();
  assert.equal(creation.state, "done");
});

test("what is caught up with while a create is in the balance is not shown before it is live again", () => {
  for (const more of ["changes", "page"]) {
    const c = client();
    c.online();
    const query = c.todos.query();
    outcome(c.todos.create({ title: "mine" }));
    const [{ id }] = c.socket.take();
    c.socket.receive(page(id, [[row(1, "a"), 1]]), live(id, 2));
    c.socket.receive(more === "page" ? page(id, [[row(2, "b"), 3]]) : { method: "changes", id, seq: 3, changes: [change("create", row(2, "b"), 3)] });
    c.socket.receive(error(1, "invalid"));
    assert.deepEqual([query.status, titles(query)], ["loading", []]);
    c.socket.receive(live(id, 4));
    assert.deepEqual([query.status, titles(query)], ["live", ["a", "b"]]);
  }
});

test("a transaction over two models is seen whole, from whichever query one looks", async () => {
  const c = client();
  c.online();
  const notes = c.db.model("Note");
  const queries = [c.todos.query(), notes.query()];
  const seen = [];
  for (const query of queries) query.subscribe(() => seen.push(queries.map((query) => titles(query).join())));
  await settled();
  for (const { id, modelname } of c.socket.take()) c.socket.receive({ method: "live", id, modelname, seq: 0, cursor: "c" });
  seen.length = 0;
  const creation = c.todos.create({ title: "t" });
  outcome(notes.create({ title: "n", todo: creation.row.id }));
  await settled();
  const [todo, note] = c.socket.take();
  assert.deepEqual(note.model.todo, { $cid: todo.cid });
  const created = ({ modelname, cid }, model, seq) => ({ method: "create", modelname, cid, model, seq });
  c.socket.receive(created(todo, row(1, "T"), 1), { ...confirm(1, 1, row(1, "T")), cid: todo.cid });
  assert.equal(queries[1].rows[0].todo, 1, "the other model's row names it by its id at once");
  c.socket.receive(
    created(note, row(5, "N", { todo: 1 }), 2),
    { ...confirm(2, 2, row(5, "N", { todo: 1 })), modelname: "Note", cid: note.cid },
    change("update", row(1, "TT"), 2),
  );
  await settled();
  assert.deepEqual(new Set(seen.map(String)), new Set(["t,n", "T,n", "TT,N"]));
});

test("what is written to a row by its id is still on it when it turns out to be one that was created here", async () => {
  const { c, todos, query, seq } = started([]);
  outcome(todos.create({ title: "mine" }));
  await settled();
  const [{ cid }] = c.socket.take();
  c.socket.receive(change("update", row(3, "mine"), seq + 1)); // it came into view by a change
  outcome(todos.patch({ id: 3, title: "changed" }));
  c.socket.receive({ ...confirm(1, seq + 1, row(3, "mine")), cid });
  assert.deepEqual(query.rows, [row(3, "changed")]);
  assert.equal(todos.pending(query.rows[0]), 1);
});

test("that a row is not pending any more is told, also where nothing else about it changes", async () => {
  const { c, todos, query, calls, seq } = started();
  outcome(todos.patch({ id: 1, title: "a" }));
  await settled();
  c.socket.take();
  calls.length = 0;
  c.socket.receive(change("update", row(1, "a"), seq + 1), confirm(1, seq + 1, row(1, "a")));
  assert.equal(todos.pending(query.rows[0]), 0);
  assert.deepEqual(calls.map(([, changes]) => changes.map(({ key }) => key)), [[1]]);
});

test("that a row is not pending any more is told to each query that shows it, whichever of them was the last to catch up", async () => {
  for (const order of [[0, 1], [1, 0]]) {
    const c = client();
    c.online({ features: ["where"], indexed: { Todo: ["list"] } });
    const queries = [c.todos.query(), c.todos.query({ where: { list: "x" } })];
    const shown = queries.map(() => []);
    queries.forEach((query, index) => query.subscribe(({ rows }) => shown[index].push(rows.map((row) => c.todos.pending(row)))));
    await settled();
    const ids = c.socket.take().map(({ id }) => id);
    for (const id of ids) c.socket.receive(page(id, [[row(1, "a", { list: "x" }), 1]]), live(id, 1));
    outcome(c.todos.patch({ id: 1, title: "b" }));
    await settled();
    c.socket.take();
    // Both are behind, as after a line that was away, and each catches up in a frame of its own.
    for (const id of ids) c.socket.receive({ method: "behind", id });
    c.socket.receive(confirm(1, 2, row(1, "b", { list: "x" })));
    for (const id of order.map((index) => ids[index])) {
      assert.deepEqual(shown.map((counts) => counts.at(-1)), [[1], [1]], "as long as one of them has not got there");
      c.socket.receive({ method: "changes", id, changes: [change("update", row(1, "b", { list: "x" }), 2)] }, live(id, 2));
    }
    assert.equal(c.db.pending, 0);
    assert.deepEqual(shown.map((counts) => counts.at(-1)), [[0], [0]], `${order}`);
  }
});

test("of a large row that was decided while the line was away, the promise has all of it", async () => {
  for (const looks of [true, false]) {
    const c = client();
    c.online();
    const creation = outcome(c.todos.create({ title: "large" }));
    const [{ cid }] = c.socket.take();
    c.cut();
    if (looks) c.todos.query();
    c.online({ last: 1, outcomes: [{ ...confirm(1, 1, { id: 3 }), cid, partial: true }] });
    await settled();
    const [{ method, id, model }] = c.socket.take();
    if (looks) c.socket.receive(page(id, [[row(3, "large"), 1]]), live(id, 1));
    else {
      assert.deepEqual([method, model], ["read", { id: 3 }]);
      c.socket.receive({ method: "read", id, modelname: "Todo", model: row(3, "large"), seq: 1 });
    }
    await settled();
    assert.deepEqual(creation.value, row(3, "large"));
  }
});

test("a write that waits is shown once it is confirmed, also by a query that comes later", async () => {
  const { c, todos, query, seq } = started();
  const notes = c.db.model("Note");
  outcome(notes.create({ title: "n" }, { wait: true }));
  const results = [todos.create({ title: "c" }, { wait: true }), todos.patch({ id: 1, title: "A" }, { wait: true })].map(outcome);
  assert.deepEqual(titles(query), ["a", "b"]);
  assert.deepEqual([titles(notes.query()), c.db.pending, todos.pending(query.rows[0])], [[], 3, 0]);
  const [{ cid }] = c.socket.take().filter(({ modelname, method }) => modelname === "Todo" && method === "create");
  c.socket.receive({ ...change("create", row(3, "c"), seq + 1), cid }, { ...confirm(2, seq + 1, row(3, "c")), cid });
  c.socket.receive(change("update", row(1, "A"), seq + 2), confirm(3, seq + 2, row(1, "A")));
  assert.deepEqual(titles(query), ["A", "b", "c"]);
  await settled();
  assert.deepEqual(results.map(({ state }) => state), ["done", "done"]);
});

test("rows without an id yet come last, in the order in which they were created; one that came and went at once is not told of", async () => {
  const { todos, query, calls } = started();
  for (let index = 0; index < 20; index += 1) outcome(todos.create({ title: String(index) }));
  await settled();
  assert.deepEqual(titles(query), ["a", "b", ...Array.from({ length: 20 }, (_, index) => String(index))]);
  calls.length = 0;
  const { row: brief } = todos.create({ title: "brief" });
  outcome(todos.patch({ id: 1, title: "A" }));
  assert.equal(query.rows.length, 23);
  outcome(todos.delete(brief.id));
  await settled();
  assert.deepEqual(calls.map(([, changes]) => changes.map(({ key }) => key)), [[1]]);
});
