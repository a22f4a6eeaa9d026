import assert from "node:assert/strict";
import { test } from "node:test";

import { change, client, confirm, error, live, outcome, page, settled, watch } from "./support.js";

const titles = ({ rows }) => Object.fromEntries([...rows].map(([id, { title }]) => [id, title]));
const row = (id, title) => ({ id, title });

function loading() {
  const c = client();
  c.online();
  const calls = [];
  const subscription = watch(c.todos, (given) => calls.push([given.status, titles(given)]));
  const [{ id, since }] = c.socket.take();
  assert.equal(since, undefined);
  return { c, id, calls, subscription };
}

test("a snapshot in pages shows nothing until it is live, then everything at once", () => {
  const { c, id, calls, subscription } = loading();
  c.socket.receive(page(id, [[row(1, "a"), 1], [row(2, "b"), 5]], true));
  c.socket.receive(page(id, [[row(3, "c"), 2]]));
  assert.deepEqual([subscription.status, subscription.rows.size, calls], ["loading", 0, []]);
  c.socket.receive(live(id, 5));
  assert.deepEqual(calls, [["live", { 1: "a", 2: "b", 3: "c" }]]);
});

test("changes between the pages are merged by seq: a deleted row does not come back, a newer one is not overwritten", () => {
  for (const order of [[0, 1, 2], [1, 0, 2], [1, 2, 0]]) {
    const { c, id, subscription } = loading();
    const messages = [
      page(id, [[row(1, "old"), 1], [row(2, "old"), 2], [row(3, "newest"), 9]], true),
      { method: "changes", id, seq: 8, changes: [change("update", row(1, "new"), 6), change("delete", { id: 2 }, 7), change("update", row(3, "newer"), 8)] },
      page(id, [[row(4, "d"), 4]]),
    ];
    for (const index of order) c.socket.receive(messages[index]);
    c.socket.receive(live(id, 9));
    assert.deepEqual(titles(subscription), { 1: "new", 3: "newest", 4: "d" });
  }
});

test("what others are told of while rows are loading is not among them, unless they have it too: it may be out of sight by then", () => {
  const { c, id, subscription } = loading();
  c.socket.receive(change("update", row(1, "A"), 6), change("update", row(2, "gone"), 7));
  c.socket.receive(page(id, [[row(1, "A"), 6]]));
  c.socket.receive({ method: "changes", id, seq: 8, changes: [change("update", row(1, "AA"), 8)] }, live(id, 8));
  assert.deepEqual(titles(subscription), { 1: "AA" });
  c.socket.receive(change("update", row(1, "old"), 7));
  assert.deepEqual(titles(subscription), { 1: "AA" });
});

test("live changes: created, updated, deleted, out of view; a frame is one step", () => {
  const c = client();
  c.online();
  const calls = [];
  const { subscription } = c.live([row(1, "a"), row(2, "b")], 2, (given) => calls.push(titles(given)));
  calls.length = 0;
  c.socket.receive(change("create", row(3, "c"), 3), change("update", row(1, "A"), 3), change("delete", { id: 2 }, 3));
  assert.deepEqual(calls, [{ 1: "A", 3: "c" }]);
  c.socket.receive(change("remove", { id: 3 }, 4));
  assert.deepEqual(calls[1], { 1: "A" });
  c.socket.receive(change("update", row(3, "back"), 5));
  assert.deepEqual(titles(subscription), { 1: "A", 3: "back" });
});

test("older changes are ignored, and a delete is a version", () => {
  const c = client();
  c.online();
  const calls = [];
  const { subscription } = c.live([row(1, "a"), row(2, "b")], 2, () => calls.push(1));
  c.socket.receive(change("update", row(1, "A"), 9), change("delete", { id: 2 }, 8));
  calls.length = 0;
  c.socket.receive(change("update", row(1, "older"), 7), change("update", row(2, "older"), 7));
  c.socket.receive(change("update", row(1, "same"), 9), change("create", row(2, "same"), 8), change("delete", { id: 1 }, 8));
  assert.deepEqual(titles(subscription), { 1: "A" });
  assert.deepEqual(calls, [], "and nobody is called for nothing");
  c.socket.receive({ method: "progress", seq: 9 });
  c.socket.receive(change("update", row(2, "older"), 7));
  assert.deepEqual(titles(subscription), { 1: "A" });
  c.socket.receive(change("create", row(2, "new"), 10));
  assert.deepEqual(titles(subscription), { 1: "A", 2: "new" });
});

test("several queries share the rows of a model, and one request", async () => {
  const c = client();
  c.online();
  const calls = [];
  const a = watch(c.todos, () => calls.push("a"));
  const b = watch(c.db.model("Todo"), () => calls.push("b"));
  const asked = c.socket.take();
  assert.equal(asked.length, 1);
  c.socket.receive(page(asked[0].id, [[row(1, "a"), 1]]), live(asked[0].id, 1));
  assert.deepEqual(calls, ["a", "b"]);
  assert.equal(a.rows.get(1), b.rows.get(1));
  const late = watch(c.todos, () => calls.push("late"));
  assert.deepEqual([late.status, titles(late)], ["live", { 1: "a" }], "what is there is there at once");
  await settled();
  assert.deepEqual(calls.splice(0), ["a", "b", "a", "b", "late"], "and each is called once more when it has begun");

  a.close();
  a.close();
  assert.deepEqual(c.socket.take(), []);
  c.socket.receive(change("update", row(1, "A"), 2));
  assert.deepEqual(calls, ["b", "late"]);
  b.close();
  late.close();
  c.clock.advance(4_999);
  assert.deepEqual(c.socket.take(), []);
  c.clock.advance(1);
  assert.deepEqual(c.socket.take(), [{ method: "unsubscribe", id: asked[0].id }]);
});

test("what is still under way for a subscription that was closed does not reach the next one", () => {
  const c = client();
  c.online();
  const first = watch(c.todos);
  const [{ id: old }] = c.socket.take();
  first.close();
  c.clock.advance(5_000);
  const second = watch(c.todos);
  const { id } = c.socket.take()[1];
  assert.notEqual(id, old);
  c.socket.receive(page(old, [[row(1, "old"), 1]]), live(old, 1));
  assert.deepEqual([second.status, second.rows.size], ["loading", 0]);
  c.socket.receive(page(id, [[row(2, "b"), 2]]), live(id, 2));
  assert.deepEqual(titles(second), { 2: "b" });
});

test("a listener may close its subscription, and others, while it is called", () => {
  const c = client();
  c.online();
  const calls = [];
  const a = watch(c.todos, () => {
    calls.push("a");
    a.close();
    b.close();
  });
  const b = watch(c.todos, () => calls.push("b"));
  c.socket.receive(live("s1", 0));
  assert.deepEqual(calls, ["a"]);
  c.clock.advance(5_000);
  assert.deepEqual(c.socket.take().map(({ method }) => method), ["subscribe", "unsubscribe"]);
});

test("who comes back soon finds the rows as they are, and nothing was asked", () => {
  const c = client();
  c.online();
  const { subscription } = c.live([row(1, "a")]);
  subscription.close();
  c.clock.advance(4_999);
  c.socket.receive(change("update", row(1, "A"), 2));
  const again = watch(c.todos);
  c.clock.advance(60);
  assert.deepEqual([again.status, titles(again), c.socket.take()], ["live", { 1: "A" }, []]);
});

test("who comes back later continues from the cursor", () => {
  const c = client();
  c.online();
  const { subscription } = c.live([row(1, "a")]);
  subscription.close();
  c.clock.advance(5_000);
  const again = watch(c.todos);
  const [, asked] = c.socket.take();
  assert.deepEqual([again.status, titles(again), asked.since], ["stale", { 1: "a" }, "c1"]);
  c.socket.receive(live(asked.id, 1));
  assert.equal(again.status, "live");
});

test("resume: the rows stay, the cursor is sent, what was missed is applied at `live`", () => {
  const c = client();
  c.online();
  const calls = [];
  const { subscription, id } = c.live([row(1, "a"), row(2, "b")], 2, (given) => calls.push([given.status, titles(given)]));
  c.socket.receive(change("create", row(3, "c"), 3));
  calls.length = 0;
  c.cut();
  assert.deepEqual(calls, [["stale", { 1: "a", 2: "b", 3: "c" }]]);
  c.online();
  const [{ id: again, ...asked }] = c.socket.take();
  assert.deepEqual(asked, { method: "subscribe", modelname: "Todo", since: "c2", since_seq: 3 });
  assert.notEqual(again, id);
  c.socket.receive({
    method: "changes",
    id: again,
    seq: 6,
    changes: [change("create", row(3, "c"), 3), change("create", row(4, "d"), 4), change("delete", { id: 1 }, 5), change("delete", { id: 4 }, 6)],
  });
  assert.equal(calls.length, 1);
  c.socket.receive(live(again, 6));
  assert.deepEqual(calls.slice(1), [["live", { 2: "b", 3: "c" }]]);
  c.cut();
  c.online();
  const [last] = c.socket.take();
  assert.equal(last.since, "c6");
  c.socket.receive(live(last.id, 6));
  assert.equal(subscription.status, "live");
});

test("a cut while loading: what had arrived does not count", () => {
  const { c, id, subscription } = loading();
  c.socket.receive(page(id, [[row(1, "a"), 1]], true));
  c.cut();
  assert.equal(subscription.status, "loading");
  c.online();
  const [again] = c.socket.take();
  assert.equal(again.since, undefined);
  c.socket.receive(page(again.id, [[row(2, "b"), 2]]), live(again.id, 3));
  assert.deepEqual(titles(subscription), { 2: "b" });
});

test("reset: the snapshot replaces everything, and what is not in it is gone", () => {
  const c = client();
  c.online();
  const calls = [];
  const { subscription } = c.live([row(1, "a"), row(2, "b")], 2, (given) => calls.push([given.status, titles(given)]));
  const kept = subscription.rows.get(2);
  c.cut();
  c.online();
  const [{ id }] = c.socket.take();
  calls.length = 0;
  c.socket.receive({ method: "changes", id, seq: 3, changes: [change("create", row(9, "half"), 3)] });
  c.socket.receive({ method: "reset", id, reason: "horizon" });
  c.socket.receive(page(id, [[row(2, "b"), 2], [row(3, "c"), 7]]));
  assert.deepEqual(calls, []);
  c.socket.receive(live(id, 8));
  assert.deepEqual(calls, [["live", { 2: "b", 3: "c" }]]);
  assert.equal(subscription.rows.get(2), kept, "a row that did not change is the same object");
});

test("a reset in the middle of a live line, when what may be seen has changed", () => {
  const c = client();
  c.online();
  const calls = [];
  const { id } = c.live([row(1, "a"), row(2, "b")], 2, (given) => calls.push([given.status, titles(given)]));
  calls.length = 0;
  c.socket.receive({ method: "reset", id, reason: "scope" });
  c.socket.receive(page(id, [[row(2, "b"), 2]]));
  c.socket.receive(live(id, 3));
  assert.deepEqual(calls, [["stale", { 1: "a", 2: "b" }], ["live", { 2: "b" }]]);
});

test("a client that was too slow is caught up with, without asking", () => {
  const c = client();
  c.online();
  const calls = [];
  const { id } = c.live([row(1, "a"), row(2, "b")], 2, (given) => calls.push([given.status, titles(given)]));
  calls.length = 0;
  c.socket.receive({ method: "changes", id, seq: 5, changes: [change("update", row(1, "A"), 4), change("delete", { id: 2 }, 5)] });
  c.socket.receive({ method: "changes", id, seq: 6, changes: [change("create", row(3, "c"), 6)] });
  c.socket.receive(live(id, 6));
  assert.deepEqual(calls, [["stale", { 1: "a", 2: "b" }], ["live", { 1: "A", 3: "c" }]]);
});

test("a query that is behind: what is told for the sake of others says nothing of it, and after a cut it goes on from where it was", () => {
  const c = client();
  c.online();
  const { id, subscription } = c.live([row(1, "a")], 2);
  c.socket.receive(change("update", row(1, "b"), 3));
  c.socket.receive({ method: "behind", id }, change("update", row(1, "d"), 5));
  assert.deepEqual([subscription.status, titles(subscription)], ["stale", { 1: "b" }]);
  c.cut();
  c.online();
  const [{ id: again, since, since_seq }] = c.socket.take();
  assert.deepEqual([since, since_seq], ["c2", 3]);
  c.socket.receive({ method: "changes", id: again, seq: 5, changes: [change("update", row(1, "d"), 5), change("create", row(2, "c"), 4)] }, live(again, 5));
  assert.deepEqual([subscription.status, titles(subscription)], ["live", { 1: "d", 2: "c" }]);
});

test("another epoch: no cursor, the rows stay to be seen, and are replaced whatever their seqs", async () => {
  const c = client();
  c.online();
  const calls = [];
  const { subscription } = c.live([row(1, "a"), row(2, "b")], 90, (given) => calls.push([given.status, titles(given)]));
  const confirmed = outcome(c.todos.create({ title: "x" }));
  c.socket.receive(confirm(1, 91, row(3, "x")));
  c.cut();
  c.online({ epoch: "e2", last: 1 });
  const { id, since } = c.socket.take().find(({ method }) => method === "subscribe");
  assert.equal(since, undefined);
  assert.deepEqual([...subscription.rows.keys()], [1, 2, 3]);
  c.socket.receive(page(id, [[row(1, "restored"), 1]]), live(id, 1));
  assert.deepEqual(titles(subscription), { 1: "restored" });
  c.socket.receive(change("create", row(2, "again"), 2));
  assert.deepEqual(titles(subscription), { 1: "restored", 2: "again" });
  await settled();
  assert.equal(confirmed.state, "done", "it does not wait for a seq of an order that is over");
});

test("a subscription that is refused says why; one that is refused for now asks again", () => {
  const { c, id, subscription } = loading();
  c.socket.receive(error(id, "unavailable", { request: "subscribe", retry: true, retry_after_ms: 700 }));
  c.clock.advance(699);
  assert.deepEqual(c.socket.take(), []);
  c.clock.advance(1);
  const [again] = c.socket.take();
  assert.deepEqual({ ...again, id: "" }, { method: "subscribe", id: "", modelname: "Todo" });

  let calls = 0;
  watch(c.todos, () => (calls += 1));
  c.socket.receive(error(again.id, "unknown_model", { request: "subscribe" }));
  assert.deepEqual([subscription.error.code, subscription.status, calls], ["unknown_model", "loading", 1]);
  c.cut();
  c.online();
  c.socket.receive(live(c.socket.take()[0].id, 1));
  assert.deepEqual([subscription.error, subscription.status], [undefined, "live"]);
});

test("closed: the rows stay to be seen, and are stale", () => {
  const c = client();
  c.online();
  const { subscription } = c.live([row(1, "a")]);
  c.db.close();
  assert.deepEqual([subscription.status, titles(subscription)], ["stale", { 1: "a" }]);
});

test("subscriptions that were made or closed without a line are asked for, or not, when there is one", () => {
  const c = client();
  watch(c.todos);
  watch(c.db.model("Note")).close();
  c.clock.advance(5_000);
  c.online();
  assert.deepEqual(c.socket.take(), [{ method: "subscribe", id: "s1", modelname: "Todo" }]);
});

test("a row whose id is text, and one whose id is the same number, are two", () => {
  const c = client();
  c.online();
  const { subscription } = c.live([row(1, "number"), row("1", "text")]);
  assert.deepEqual([subscription.rows.get(1).title, subscription.rows.get("1").title], ["number", "text"]);
});

test("a model whose id is another field", async () => {
  const c = client();
  c.online();
  const notes = c.db.model("Note", { id: "key" });
  const watched = watch(notes);
  const [{ id }] = c.socket.take();
  c.socket.receive({ method: "read", id, modelname: "Note", models: [{ key: "a", text: "x" }], seqs: [1], seq: 1, more: false });
  c.socket.receive({ method: "live", id, modelname: "Note", seq: 1, cursor: "c1" });
  assert.deepEqual([...watched.rows], [["a", { key: "a", text: "x" }]]);
  void notes.delete("a");
  assert.deepEqual(c.socket.take().map(({ model }) => model), [{ key: "a" }]);
  c.socket.receive({ method: "delete", modelname: "Note", model: { key: "a" }, seq: 2 });
  assert.equal(watched.rows.size, 0);
});

test("of a frame that could not be read to its end nothing counts as come: the rest of it is asked for again", () => {
  const c = client();
  c.online();
  const { subscription } = c.live([row(1, "a"), row(2, "b")]);
  c.socket.receive(change("update", row(1, "A"), 3));
  assert.throws(() => c.socket.receive(change("update", row(1, "AA"), 4), { method: "update", modelname: "Todo", seq: 4 }));
  c.clock.advance(10_000);
  c.online();
  const [{ id, since, since_seq }] = c.socket.take();
  assert.deepEqual([since, since_seq], ["c2", 3]);
  c.socket.receive({ method: "changes", id, seq: 4, changes: [change("update", row(1, "AA"), 4), change("update", row(2, "BB"), 4)] }, live(id, 4));
  assert.deepEqual(titles(subscription), { 1: "AA", 2: "BB" });
});

test("a change that is heard again while the rows are caught up with brings no deleted row back", () => {
  const c = client();
  c.online();
  const { subscription, id } = c.live([row(1, "a"), row(2, "b")]);
  c.socket.receive(change("delete", { id: 1 }, 3), { method: "progress", seq: 3 });
  c.socket.receive({ method: "changes", id, seq: 4, changes: [change("update", row(2, "B"), 4)] });
  c.socket.receive(change("update", row(1, "a"), 1), live(id, 4));
  assert.deepEqual(titles(subscription), { 2: "B" });
});
