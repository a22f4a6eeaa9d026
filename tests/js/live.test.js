/** Queries that the server filters and orders, pages, actions, batches, and addresses that are asked for. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { pages } from "../../sync-core/client/pages.js";
import { cidOf } from "../../sync-core/client/names.js";
import { change, client, confirm, error, live, outcome, page, settled, welcome } from "./support.js";

const ABLE = { features: ["where", "order", "window", "action", "batch"], indexed: { Todo: ["done", "list", "n"], Note: ["todo"] } };
const row = (id, list, fields) => ({ id, title: `t${id}`, list, ...fields });
const ids = (query) => query.rows.map(({ id }) => id);

function able(options) {
  const c = client(options);
  c.online(ABLE);
  return c;
}

/** Opens a query, and answers what it asks for. */
function opened(c, options, rows, seq = 10) {
  const query = c.todos.query(options);
  const asked = c.socket.take().find(({ method }) => method === "subscribe");
  c.socket.receive(page(asked.id, rows.map((row) => [row, row.id])), { ...live(asked.id, seq), ...(asked.limit ? { cursor: undefined } : {}) });
  return { query, asked };
}

test("each distinct query is a subscription, however it is written; the server is sent what it can judge, the rest is judged here", () => {
  const c = able();
  const asked = (options) => {
    c.todos.query(options);
    return c.socket.take().map(({ method, id, modelname, ...rest }) => rest)[0];
  };
  assert.deepEqual(asked({ where: { list: "a", done: false } }), { where: { list: "a", done: false } });
  for (const same of [{ done: { eq: false }, list: "a" }, { and: [{ list: "a" }, { done: false }] }, { list: { eq: "a" }, done: false, title: undefined }]) {
    assert.equal(asked({ where: same, order: "list" }), undefined, JSON.stringify(same));
  }
  assert.deepEqual(asked({ where: { list: "b", title: { prefix: "x" } }, order: "n", limit: 5 }), { where: { list: "b" } }, "and no limit");
  assert.deepEqual(asked({ where: { or: [{ list: "a" }, { title: "x" }] } }), {}, "all rows");
  assert.deepEqual(asked({ where: { or: [{ n: 1 }, { not: { done: true } }] } }), { where: { or: [{ n: 1 }, { not: { done: true } }] } });
  assert.deepEqual(asked({ where: { list: "a" }, order: ["-n", "id"], limit: 20 }), { where: { list: "a" }, order: ["-n", "id"], limit: 20 });
  assert.equal(asked({ where: { list: { in: ["a"] } }, limit: 20, order: "title" })?.limit, undefined, "it cannot order by that");
  assert.deepEqual(asked({ limit: 3 }), { limit: 3 });
  assert.equal(asked({ limit: 1001 }), undefined, "shared with all rows");
  assert.equal(asked({ where: { n: NaN } }), undefined);
});

test("who asked before there was a line is bound to what the server can do when it says so; one that can do nothing sends all", () => {
  const c = client();
  c.todos.query({ where: { list: "a" } });
  c.online(ABLE);
  assert.deepEqual(c.socket.take().map(({ where }) => where), [{ list: "a" }]);
  c.cut();
  c.online();
  assert.deepEqual(c.socket.take().map(({ where, since }) => [where, since]), [[undefined, undefined]]);
});

test("a change is judged by each query; that it left one's view says nothing of the others", () => {
  const c = able();
  const { query: a } = opened(c, { where: { list: "a" } }, [row(1, "a"), row(2, "a")]);
  const { query: b } = opened(c, { where: { list: "b" } }, [row(3, "b")]);
  c.socket.receive(change("update", row(1, "b"), 11));
  assert.deepEqual([ids(a), ids(b)], [[2], [1, 3]]);
  c.socket.receive(change("remove", { id: 2 }, 12), change("create", row(4, "a"), 13));
  assert.deepEqual([ids(a), ids(b)], [[4], [1, 3]]);
  c.socket.receive(change("create", row(8, "z"), 13));
  assert.equal(c.todos.peek(8), undefined, "of no query's rows");
  // b has fallen behind, and is not asked: what left the view of a is still in b.
  c.socket.receive(change("remove", { id: 1 }, 14));
  c.socket.receive({ method: "changes", id: "s2", seq: 14, changes: [change("update", row(1, "b", { n: 1 }), 14)] }, live("s2", 14));
  assert.deepEqual(ids(b), [1, 3]);
});

test("what is pending moves rows from one query to another, and a create is where it belongs", async () => {
  const c = able();
  const { query: a } = opened(c, { where: { list: "a" } }, [row(1, "a"), row(2, "a")]);
  const { query: b } = opened(c, { where: { list: "b" } }, []);
  const moved = outcome(c.todos.patch({ id: 1, list: "b" }));
  const { row: fresh } = c.todos.create(row(undefined, "a"));
  assert.deepEqual([ids(a), ids(b)], [[2, fresh.id], [1]]);
  const [patch, create] = c.socket.take();
  c.socket.receive(error(patch.id, "forbidden"));
  assert.deepEqual([ids(a), ids(b)], [[1, 2, fresh.id], []]);
  // The answer comes, and nobody is told of a row that none of the queries has.
  c.socket.receive({ ...confirm(create.id, 12, row(7, "z")), cid: create.cid });
  await settled();
  assert.deepEqual([ids(a), moved.error.code, c.db.pending], [[1, 2], "forbidden", 0]);
});

test("a window: what enters and what drops out, at most so many rows, with what is pending in its place", async () => {
  const c = able();
  const { query, asked } = opened(c, { where: { list: "a" }, order: "-n", limit: 2 }, [row(1, "a", { n: 9 }), row(2, "a", { n: 5 })]);
  const told = (fields) => c.socket.receive({ method: "window", modelname: "Todo", query: asked.id, in: [], seqs: [], out: [], ...fields });
  assert.deepEqual(ids(query), [1, 2]);
  told({ in: [row(3, "a", { n: 7 })], seqs: [11], out: [2], seq: 11 });
  assert.deepEqual(ids(query), [1, 3]);
  told({ in: [row(2, "a", { n: 5 })], seqs: [2], out: [1], seq: 12 });
  assert.deepEqual(ids(query), [3, 2], "it is back as it was");
  outcome(c.todos.create({ list: "a", n: 1 }));
  outcome(c.todos.delete(3));
  assert.deepEqual(ids(query), [2], "what is behind the last of a full window has others before it, perhaps");
  const high = c.todos.create({ list: "a", n: 8 });
  outcome(high);
  assert.deepEqual(ids(query), [high.row.id, 2]);
  c.cut();
  c.online({ ...ABLE, last: 3, outcomes: [1, 2, 3].map((id) => error(id, "forbidden")) });
  const again = c.socket.take().find(({ method }) => method === "subscribe");
  assert.deepEqual([again.limit, again.since], [2, undefined]);
  c.socket.receive({ method: "reset", id: again.id, reason: "window" }, page(again.id, [[row(5, "a", { n: 99 }), 20]]), { ...live(again.id, 20), cursor: undefined });
  assert.deepEqual(ids(query), [5]);
});

test("a row that refers to one that was just created: the server is asked once it knows of it", async () => {
  const c = able();
  const notes = c.db.model("Note");
  const { row: todo } = c.todos.create({ title: "a" });
  const query = notes.query({ where: { todo: todo.id } });
  const note = notes.create({ todo: todo.id });
  const sent = c.socket.take();
  assert.deepEqual(sent.map(({ method }) => method), ["create", "create"]);
  assert.deepEqual([query.status, query.rows.length], ["stale", 1]);
  c.socket.receive({ ...confirm(1, 1, row(5, "x")), cid: sent[0].cid });
  assert.deepEqual([query.rows.map(({ todo }) => todo), c.socket.take().at(-1).where], [[5], { todo: 5 }]);
  void note;
});

test("a filter that the server will not have is judged here", () => {
  const c = able();
  const query = c.todos.query({ where: { list: "a" } });
  c.socket.receive(error(c.socket.take()[0].id, "bad_request", { request: "subscribe" }));
  const [{ id, where }] = c.socket.take();
  c.socket.receive(page(id, [[row(1, "a"), 1], [row(2, "b"), 2]]), live(id, 2));
  assert.deepEqual([where, ids(query), query.error], [undefined, [1], undefined]);
});

test("pages: no row twice or missing, whatever comes between; the first stays live up to where it ended", async () => {
  const c = able();
  const { query, asked } = opened(c, { order: "n", limit: 2 }, [row(1, "a", { n: 1 }), row(2, "a", { n: 2 })]);
  const feed = pages(query);
  const seen = [];
  feed.subscribe(({ rows }) => seen.push(rows.map(({ id }) => id)));
  assert.equal(feed.hasMore, true);
  const done = outcome(feed.more());
  const [bounded, next] = c.socket.take();
  assert.deepEqual([bounded.until, bounded.limit, next.after, next.limit], [[2, 2], undefined, [2, 2], 2]);
  c.socket.receive(page(bounded.id, [[row(1, "a", { n: 1 }), 1], [row(2, "a", { n: 2 }), 2], [row(9, "a", { n: 1.5 }), 11]]), live(bounded.id, 11));
  await settled();
  assert.deepEqual([ids(feed), done.state], [[1, 2], "pending"]);
  c.socket.receive(page(next.id, [[row(3, "a", { n: 3 }), 3]]), { ...live(next.id, 11), cursor: undefined });
  await settled();
  assert.deepEqual([ids(feed), done.state, feed.hasMore], [[1, 9, 2, 3], "done", false]);
  seen.length = 0;
  c.socket.receive(change("update", row(1, "a", { n: 4 }), 12), { method: "window", modelname: "Todo", query: next.id, in: [row(1, "a", { n: 4 })], seqs: [12], out: [], seq: 12 });
  assert.deepEqual(seen, [[9, 2, 3, 1]], "told once, of both pages");
  c.clock.advance(6_000);
  assert.deepEqual(c.socket.take(), [{ method: "unsubscribe", id: asked.id }]);
  feed.close();
});

test("more than a thousand rows, also of a server that has no windows", async () => {
  const c = client();
  c.online();
  const rows = Array.from({ length: 1_500 }, (_, index) => row(index + 1, "a"));
  c.live(rows);
  const feed = pages(c.todos.query({ order: "-id", limit: 100 }));
  while (feed.hasMore) await feed.more(100);
  assert.deepEqual(ids(feed), rows.map(({ id }) => id).reverse());
});

test("an action: sent in order, once, with references; its result", async () => {
  const c = able();
  const { row: todo } = c.todos.create({ title: "a" });
  const result = outcome(c.todos.action("clear_completed", { list: todo.id }));
  const [create, action] = c.socket.take();
  assert.deepEqual({ ...action, ack: 0 }, { method: "action", modelname: "Todo", action: "clear_completed", args: { list: { $cid: create.cid } }, id: 2, ack: 0 });
  c.cut();
  c.online({ ...ABLE, last: 0 });
  assert.deepEqual(c.socket.take().map(({ id, method }) => [id, method]), [[1, "create"], [2, "action"]]);
  c.socket.receive({ ...confirm(1, 1, row(5, "a")), cid: create.cid }, { method: "confirm", modelname: "Todo", id: 2, action: "clear_completed", result: 3, seq: 2 });
  await settled();
  assert.equal(result.value, 3);
});

test("a result that a welcome left out for its size is asked for again", async () => {
  const c = able();
  const result = outcome(c.todos.action("report", {}));
  const batch = outcome(c.db.batch(() => c.todos.action("report", {})));
  const sent = c.socket.take();
  c.cut();
  const cut = { method: "confirm", modelname: "Todo", action: "report", partial: true };
  c.online({ ...ABLE, last: 2, outcomes: [{ ...cut, id: 1, seq: 1 }, { method: "confirm", id: 2, seq: 1, results: [cut] }] });
  await settled();
  assert.equal(result.value, undefined);
  assert.deepEqual(c.socket.take().map(({ ack, ...request }) => request), sent.map(({ ack, ...request }) => request));
  const whole = { method: "confirm", modelname: "Todo", action: "report", result: "long" };
  c.socket.receive({ ...whole, id: 1, seq: 1 }, { method: "confirm", id: 2, seq: 1, results: [whole] });
  await settled();
  assert.deepEqual([result.value, batch.value], ["long", ["long"]]);
});

test("a batch is shown at once, and confirmed or taken back as one", async () => {
  const c = able();
  const notes = c.db.model("Note");
  const { query } = opened(c, {}, [row(1, "a")]);
  const all = notes.query();
  const asked = c.socket.take()[0];
  c.socket.receive({ ...live(asked.id, 10), modelname: "Note" });
  const told = [];
  query.subscribe(() => told.push([query.rows.length, all.rows.length]));
  all.subscribe(() => told.push([query.rows.length, all.rows.length]));
  await settled();
  told.length = 0;
  const write = () =>
    c.db.batch(() => {
      const { row: todo } = c.todos.create({ title: "x" });
      notes.create({ todo: todo.id });
      c.todos.delete(1);
    });
  const refused = outcome(write());
  await settled();
  assert.deepEqual(told.splice(0), [[1, 1], [1, 1]]);
  const [batch] = c.socket.take();
  const { cid } = batch.requests[0];
  assert.deepEqual(batch.requests.map(({ method, model }) => [method, model]), [["create", { title: "x" }], ["create", { todo: { $cid: cid } }], ["delete", { id: 1 }]]);
  assert.deepEqual([batch.requests.some(({ id, ack }) => id ?? ack), c.db.pending], [false, 1]);
  c.socket.receive({ ...error(batch.id, "invalid", { request: "batch", index: 1 }), modelname: "Note" });
  await settled();
  assert.deepEqual([refused.error.index, ids(query), all.rows.length], [1, [1], 0]);
  assert.equal(cidOf(`${cid}00`), cid);

  const done = outcome(write());
  const [{ requests, id }] = c.socket.take();
  const models = [row(7, "x"), { id: 3, todo: 7 }, { id: 1 }];
  c.socket.receive(
    { ...change("create", models[0], 11), cid: requests[0].cid },
    { method: "create", modelname: "Note", model: models[1], seq: 11, cid: requests[1].cid },
    change("delete", { id: 1 }, 11),
    { method: "confirm", id, seq: 11, results: models.map((model, index) => ({ modelname: index === 1 ? "Note" : "Todo", cid: requests[index].cid, model, row_seq: 11 })) },
  );
  await settled();
  assert.deepEqual([done.value, ids(query), all.rows[0], c.db.pending], [[models[0], models[1], undefined], [7], models[1], 0]);
  assert.throws(() => c.db.batch(() => { throw new Error("no"); }), /no/);
  assert.deepEqual([await c.db.batch(() => {}), c.db.pending], [[], 0]);
});

test("an address that is a function is asked before each connection; what it fails with is told, and it is asked again", async (context) => {
  context.mock.method(console, "error", () => {});
  const given = ["http://example.test/sync?ticket=1", new Error("down"), Promise.resolve("http://example.test/sync?ticket=2")];
  const c = client({
    url: async () => {
      const next = given.shift();
      if (next instanceof Error) throw next;
      return /** @type {any} */ (next);
    },
  });
  assert.equal(c.socket, undefined);
  await settled();
  assert.equal(c.socket.url, "ws://example.test/sync?ticket=1");
  c.online();
  c.cut(4003);
  await settled();
  assert.deepEqual([c.db.status, c.db.error?.code], ["offline", "url"]);
  assert.match(String(/** @type {any} */ (c.db.error).cause), /down/);
  c.clock.advance(10_000);
  await settled();
  assert.equal(c.socket.url, "ws://example.test/sync?ticket=2");
  c.socket.open();
  c.socket.take();
  c.socket.receive(welcome());
  assert.deepEqual([c.db.status, c.db.error], ["online", undefined]);
});
