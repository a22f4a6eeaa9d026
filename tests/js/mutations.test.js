import assert from "node:assert/strict";
import { test } from "node:test";

import { SyncError } from "../../sync-core/client/sync.js";
import { change, client, confirm, error, live, outcome, page, settled, watch } from "./support.js";

/** What was sent, without what is random. */
function mutations(socket) {
  return socket.take().filter(({ method }) => !["hello", "subscribe", "ack"].includes(method)).map(({ cid, ...rest }) => rest);
}

const ids = (socket) => mutations(socket).map(({ id }) => id);

test("each method on the wire, with the ids 1, 2, 3, …", () => {
  const c = client();
  c.online();
  const todos = c.db.model("Todo");
  todos.create({ title: "milk" });
  todos.update({ id: 7, title: "milk", completed: true });
  todos.patch({ id: 7, completed: false });
  todos.delete(7);
  c.db.model("Note").create({ text: "" });
  const [create] = c.socket.sent;
  assert.match(create.cid, /^[0-9a-f]{32}$/);
  assert.deepEqual(mutations(c.socket), [
    { method: "create", id: 1, modelname: "Todo", model: { title: "milk" }, ack: 0 },
    { method: "update", id: 2, modelname: "Todo", model: { id: 7, title: "milk", completed: true }, ack: 0 },
    { method: "patch", id: 3, modelname: "Todo", model: { id: 7, completed: false }, ack: 0 },
    { method: "delete", id: 4, modelname: "Todo", model: { id: 7 }, ack: 0 },
    { method: "create", id: 5, modelname: "Note", model: { text: "" }, ack: 0 },
  ]);
});

test("what is written before there is a line is sent in order when there is one", () => {
  const c = client();
  for (const title of ["a", "b", "c"]) c.todos.create({ title });
  c.socket.open();
  assert.deepEqual(mutations(c.socket), [], "nothing before the welcome");
  c.online();
  assert.deepEqual(mutations(c.socket).map(({ id, model }) => [id, model.title]), [[1, "a"], [2, "b"], [3, "c"]]);
});

test("the row is copied when it is handed in", () => {
  const c = client();
  const model = { title: "milk", tags: ["a"] };
  c.todos.create(model);
  model.title = "changed";
  model.tags.push("b");
  c.online();
  assert.deepEqual(mutations(c.socket)[0].model, { title: "milk", tags: ["a"] });
});

test("what is not JSON is rejected, and leaves no gap in the ids", async () => {
  const c = client();
  c.online();
  const circular = {};
  circular.self = circular;
  const bad = outcome(c.todos.create(circular));
  const none = outcome(c.todos.create(undefined));
  const nothing = outcome(c.todos.patch(undefined));
  c.todos.create({ title: "fine" });
  await settled();
  assert.equal(bad.error.name, "TypeError");
  assert.deepEqual([none.state, nothing.state], ["rejected", "rejected"]);
  assert.deepEqual(ids(c.socket), [1]);
});

test("after a cut only what is after `last` is sent again, with its id, its cid and its content", async () => {
  const c = client();
  c.online();
  const results = ["a", "b", "c"].map((title) => outcome(c.todos.create({ title })));
  const first = c.socket.take();
  watch(c.todos);
  c.cut();
  results.push(outcome(c.todos.create({ title: "d" })));
  c.online({ last: 2, outcomes: [confirm(1, 5, { id: 10, title: "a" }), error(2, "invalid", { fields: { title: "no" } })] });
  const sent = c.socket.take();
  const { id } = sent.find(({ method }) => method === "subscribe");
  const again = sent.filter(({ method }) => method === "create");
  assert.deepEqual(again.map(({ id }) => id), [3, 4]);
  assert.deepEqual({ ...again[0], ack: 0 }, first[2]);
  await settled();
  assert.deepEqual(results.map(({ state }) => state), ["pending", "rejected", "pending", "pending"], "1 waits for its rows");
  c.socket.receive(page(id, [[{ id: 10, title: "a" }, 5]]), live(id, 5));
  await settled();
  assert.equal(results[0].state, "pending", "one of the rows that came could be 3 or 4");
  c.socket.receive(error(3, "invalid"), error(4, "invalid"));
  await settled();
  assert.deepEqual(results[0].value, { id: 10, title: "a" });
});

test("outcomes in the welcome end what they are about before anything is sent", async () => {
  const c = client();
  c.online();
  const order = [];
  for (const title of ["a", "b"]) {
    c.todos.create({ title }).then(
      () => order.push(title),
      () => order.push(title),
    );
  }
  c.cut();
  c.todos.create({ title: "c" });
  c.online({ last: 2, outcomes: [confirm(1, 1, { id: 1 }), confirm(2, 2, { id: 2 })] });
  assert.deepEqual(mutations(c.socket), [{ method: "create", id: 3, modelname: "Todo", model: { title: "c" }, ack: 2 }]);
  await settled();
  assert.deepEqual(order, ["a", "b"]);
});

test("decided, but without an outcome: unknown", async () => {
  const c = client();
  c.online();
  const result = outcome(c.todos.create({ title: "a" }));
  const next = outcome(c.todos.create({ title: "b" }));
  c.cut();
  c.online({ last: 1 });
  await settled();
  assert.equal(result.error.code, "unknown");
  assert.equal(next.state, "pending");
  assert.deepEqual(ids(c.socket), [2]);
});

test("a rejection has its code, its message, its fields and the row as it is", async () => {
  const c = client();
  c.online();
  const result = outcome(c.todos.patch({ id: 1, title: "" }));
  const fields = JSON.parse('{"title": "must not be empty", "__proto__": "odd", "constructor": "odder"}');
  c.socket.receive(error(1, "invalid", { message: "title: must not be empty", fields, current: { id: 1, title: "milk" } }));
  await settled();
  assert.ok(result.error instanceof SyncError && result.error instanceof Error);
  assert.equal(result.error.name, "SyncError");
  assert.equal(result.error.code, "invalid");
  assert.equal(result.error.message, "title: must not be empty");
  assert.deepEqual([...result.error.fields], [
    ["title", "must not be empty"],
    ["__proto__", "odd"],
    ["constructor", "odder"],
  ]);
  assert.deepEqual(result.error.current, { id: 1, title: "milk" });
});

test("a promise settles once, whatever is answered again", async () => {
  const c = client();
  c.online();
  const result = outcome(c.todos.create({ title: "a" }));
  c.socket.receive(confirm(1, 1, { id: 1, title: "a" }));
  c.socket.receive(confirm(1, 1, { id: 1, title: "other" }));
  c.socket.receive(error(1, "invalid"));
  await settled();
  assert.deepEqual([result.state, result.value], ["done", { id: 1, title: "a" }]);
  c.cut();
  c.online({ last: 1, outcomes: [error(1, "invalid")] });
  assert.deepEqual(ids(c.socket), []);
});

test("a delete ends without a row, and so does what the client may not see", async () => {
  const c = client();
  c.online();
  const deleted = outcome(c.todos.delete(1));
  const hidden = outcome(c.todos.patch({ id: 2, title: "x" }));
  c.socket.receive(confirm(1, 1, { id: 1 }), { method: "confirm", id: 2, modelname: "Todo", seq: 2, row_seq: 2 });
  await settled();
  assert.deepEqual([deleted.state, deleted.value, hidden.state, hidden.value], ["done", undefined, "done", undefined]);
});

test("without a subscription a promise settles at once", async () => {
  const c = client();
  c.online();
  const result = outcome(c.todos.create({ title: "a" }));
  watch(c.db.model("Note"));
  c.socket.receive(confirm(1, 1, { id: 1 }));
  await settled();
  assert.equal(result.state, "done");
});

test("with one it settles when the rows have reached it, after the listener has seen them", async () => {
  const c = client();
  c.online();
  const order = [];
  const { subscription } = c.live([], 0, () => order.push("rows"));
  await settled();
  order.length = 0;
  c.todos.create({ title: "a" }).then((row) => order.push(["done", subscription.rows.get(row.id)]));
  c.socket.receive(change("create", { id: 1, title: "a" }, 1), confirm(1, 1, { id: 1, title: "a" }));
  assert.deepEqual(order, ["rows"], "one call for the write, its change and its confirm");
  await settled();
  assert.deepEqual(order, ["rows", ["done", { id: 1, title: "a" }]]);
});

test("confirmed while the rows are behind: it waits for a `live`, a change or `progress` that is as far", async () => {
  for (const reach of [
    [page("s2", [[{ id: 1 }, 4]]), live("s2", 4)],
    [live("s2", 3), change("create", { id: 1 }, 4)],
    [live("s2", 3), { method: "progress", seq: 4 }],
  ]) {
    const c = client();
    c.online();
    c.live([], 3);
    const result = outcome(c.todos.create({ title: "a" }));
    c.cut();
    c.online({ last: 1, outcomes: [confirm(1, 4, { id: 1 })] });
    c.socket.receive({ method: "progress", seq: 4 }); // not for rows that are not live
    await settled();
    assert.equal(result.state, "pending");
    const last = reach.pop();
    for (const message of reach) c.socket.receive(message);
    await settled();
    assert.equal(result.state, "pending");
    c.socket.receive(last);
    await settled();
    assert.equal(result.state, "done");
  }
});

test("waiting for rows ends when nobody looks at them any more, or the server refuses them", async () => {
  const c = client();
  c.online();
  const subscription = watch(c.todos);
  const closed = outcome(c.todos.create({ title: "a" }));
  c.socket.receive(confirm(1, 1, { id: 1 }));
  await settled();
  assert.equal(closed.state, "pending");
  subscription.close();
  c.clock.advance(5_000);
  await settled();
  assert.equal(closed.state, "done");

  watch(c.todos);
  const refused = outcome(c.todos.create({ title: "b" }));
  c.socket.receive(confirm(2, 2, { id: 2 }));
  await settled();
  assert.equal(refused.state, "pending");
  c.socket.receive(error("s2", "forbidden", { request: "subscribe" }));
  await settled();
  assert.equal(refused.state, "done");
});

test("at most as many in flight as the server allows, and never more than 64", () => {
  for (const [in_flight, most] of [[3, 3], [1000, 64], [undefined, 64]]) {
    const c = client();
    c.online({ limits: { in_flight } });
    for (let index = 0; index < 200; index += 1) outcome(c.todos.create({ index }));
    assert.equal(ids(c.socket).length, most);
    c.socket.receive(confirm(1, 1, { id: 1 }));
    assert.deepEqual(ids(c.socket), [most + 1]);
    c.socket.receive(confirm(2, 2, { id: 2 }), error(3, "invalid"));
    assert.deepEqual(ids(c.socket), [most + 2, most + 3]);
  }
});

test("refused for now: it goes again, in order, once all that was under way is answered and the time has come", async () => {
  const c = client();
  c.online();
  const results = ["a", "b", "c"].map((title) => outcome(c.todos.create({ title })));
  c.socket.take();
  c.socket.receive(error(1, "unavailable", { retry: true, retry_after_ms: 2000 }));
  c.todos.create({ title: "d" });
  c.clock.advance(2000);
  assert.deepEqual(ids(c.socket), [], "2 and 3 are still to be answered");
  c.socket.receive(error(2, "retry", { retry: true }));
  c.socket.receive(error(3, "retry", { retry: true }));
  assert.deepEqual(ids(c.socket), []);
  c.clock.advance(250);
  assert.deepEqual(ids(c.socket), [1, 2, 3, 4]);
  c.socket.receive(confirm(1, 1, { id: 1 }), error(2, "invalid"), confirm(3, 2, { id: 2 }));
  await settled();
  assert.deepEqual(results.map(({ state }) => state), ["done", "rejected", "done"]);
});

test("a handler that hung is asked again: `timeout` is final for no one", async () => {
  const c = client();
  c.online();
  const created = outcome(c.todos.create({ title: "a" }));
  c.socket.take();
  c.socket.receive(error(1, "timeout", { retry: true, limit: "handler_timeout" }));
  await settled();
  assert.equal(created.state, "pending");
  c.clock.advance(250);
  assert.deepEqual(ids(c.socket), [1]);
  c.socket.receive(confirm(1, 1, { id: 1 }));
  await settled();
  assert.equal(created.state, "done");
});

test("without a time from the server the wait is jittered, and grows until something is decided", () => {
  const c = client();
  c.online();
  c.todos.create({ title: "a" });
  const wait = () => {
    c.socket.take();
    c.socket.receive(error(1, "limit", { retry: true, limit: "in_flight" }));
    const start = c.clock.now;
    while (c.socket.sent.length === 0 && c.clock.now < start + 20_000) c.clock.advance(1);
    return c.clock.now - start;
  };
  assert.deepEqual([wait(), wait(), wait()], [250, 500, 1000]);
  c.socket.receive(confirm(1, 1, { id: 1 }));
  c.todos.create({ title: "b" });
  c.socket.take();
  c.socket.receive(error(2, "limit", { retry: true }));
  c.clock.advance(249);
  assert.deepEqual(ids(c.socket), []);
  c.clock.advance(1);
  assert.deepEqual(ids(c.socket), [2]);
});

test("a pause ends with its line: the next one starts with what the server has not decided", () => {
  const c = client();
  c.online();
  c.todos.create({ title: "a" });
  c.socket.receive(error(1, "shutdown", { retry: true, retry_after_ms: 60_000 }));
  c.cut(1001);
  c.online();
  assert.deepEqual(ids(c.socket), [1]);
});

test("ack goes with mutations, and by itself within a second", () => {
  const c = client();
  c.online();
  for (const title of ["a", "b", "c"]) outcome(c.todos.create({ title }));
  c.socket.take();
  c.socket.receive(confirm(1, 1, { id: 1 }));
  c.clock.advance(999);
  assert.deepEqual(c.socket.take(), []);
  c.clock.advance(1);
  assert.deepEqual(c.socket.take(), [{ method: "ack", ack: 1 }]);

  c.socket.receive(error(2, "invalid"));
  c.todos.create({ title: "d" });
  assert.deepEqual(c.socket.take().map(({ id, ack }) => [id, ack]), [[4, 2]]);
  c.clock.advance(1000);
  assert.deepEqual(c.socket.take(), [], "it went with the mutation");

  c.socket.receive(confirm(3, 2, { id: 2 }), confirm(4, 3, { id: 3 }));
  c.cut();
  assert.equal(c.online({ last: 4 }).ack, 4);
  c.clock.advance(1000);
  assert.deepEqual(c.socket.take(), [], "it went with the hello");
});

test("client_unknown: a new name; what was sent without an answer is unknown, what never was gets new ids", async () => {
  const c = client();
  const { client: first } = c.online({ limits: { in_flight: 3 } });
  const results = ["a", "b", "c", "d", "e"].map((title) => outcome(c.todos.create({ title })));
  c.socket.receive(confirm(1, 1, { id: 1 }));
  c.cut();
  c.socket.open();
  const [hello] = c.socket.take();
  assert.deepEqual(hello, { method: "hello", client: first, ack: 1 });
  const before = c.sockets.length;
  c.socket.receive({ method: "error", request: "hello", code: "client_unknown", message: "", retry: false });
  assert.equal(c.sockets.length, before + 1, "at once");
  const renewed = c.online();
  assert.notEqual(renewed.client, first);
  assert.equal(renewed.ack, undefined);
  assert.deepEqual(mutations(c.socket).map(({ id, model, ack }) => [id, model.title, ack]), [[1, "e", 0]]);
  c.socket.receive(confirm(1, 9, { id: 9 }));
  await settled();
  assert.deepEqual(results.map(({ state, error }) => error?.code ?? state), ["done", "unknown", "unknown", "unknown", "done"]);
});

test("client_unknown: what was refused for now is known not to be done, unless the store did not answer", async () => {
  const c = client();
  c.online();
  const results = ["a", "b"].map((title) => outcome(c.todos.create({ title })));
  c.socket.receive(error(1, "unavailable", { retry: true }), error(2, "retry", { retry: true }));
  c.cut();
  c.socket.open();
  c.socket.receive({ method: "error", request: "hello", code: "client_unknown", message: "", retry: false });
  c.online();
  assert.deepEqual(mutations(c.socket).map(({ id, model }) => [id, model.title]), [[1, "b"]]);
  await settled();
  assert.equal(results[0].error.code, "unknown");
});

test("client_unknown again and again does not make a storm", () => {
  const c = client();
  c.online();
  c.cut();
  const before = c.sockets.length;
  for (let index = 0; index < 5; index += 1) {
    c.socket.open();
    c.socket.receive({ method: "error", request: "hello", code: "client_unknown", message: "", retry: false });
  }
  assert.equal(c.sockets.length, before + 1);
});

test("a server that remembers less than it once said, as one from a backup: a new name", async () => {
  const c = client();
  const { client: first } = c.online();
  c.todos.create({ title: "a" });
  c.socket.receive(confirm(1, 1, { id: 1 }));
  c.cut();
  const kept = outcome(c.todos.create({ title: "b" }));
  c.online({ epoch: "e2", last: 0 });
  const renewed = c.online({ epoch: "e2" });
  assert.notEqual(renewed.client, first);
  assert.deepEqual(ids(c.socket), [1]);
  c.socket.receive(confirm(1, 1, { id: 1 }));
  await settled();
  assert.equal(kept.state, "done");
});

test("id_gap: server and client disagree on the ids, so a new name; one is enough for a frame of them", async () => {
  const c = client();
  const { client: first } = c.online();
  const results = ["a", "b"].map((title) => outcome(c.todos.create({ title })));
  const before = c.sockets.length;
  c.socket.receive(error(1, "id_gap", { expected: 7 }), error(2, "id_gap", { expected: 7 }));
  assert.equal(c.sockets.length, before + 1);
  assert.notEqual(c.online().client, first);
  await settled();
  assert.deepEqual(results.map(({ error }) => error.code), ["unknown", "unknown"]);
});

test("a mutation larger than a message may be is rejected and not sent, and leaves no gap", async () => {
  const c = client();
  const kept = outcome(c.todos.create({ title: "é".repeat(500) }));
  c.online({ limits: { message_bytes: 1000, in_flight: 64 } });
  const fits = outcome(c.todos.create({ title: "a".repeat(500) }));
  await settled();
  assert.equal(kept.error.code, "too_large");
  assert.equal(fits.state, "pending");
  assert.deepEqual(ids(c.socket), [1]);
});

test("a mutation that fits is not made too large by the ack that it is sent again with", async () => {
  const c = client();
  c.online();
  for (let id = 1; id <= 10; id += 1) outcome(c.todos.create({ title: "a" }));
  await settled();
  const last = c.todos.create({ title: "b".repeat(50) });
  outcome(last);
  const message = c.socket.take().at(-1);
  assert.deepEqual([message.id, message.ack], [11, 0]);
  c.cut();
  const bound = JSON.stringify(message).length;

  const d = client();
  d.online({ limits: { message_bytes: bound, in_flight: 64 } });
  for (let id = 1; id <= 10; id += 1) outcome(d.todos.create({ title: "a" }));
  const result = outcome(d.todos.create({ title: "b".repeat(50) }));
  await settled();
  assert.equal(result.error.code, "too_large", "sent again with `ack` 10 it would be, and would close the line each time");
});

test("names and ids that mean something to JavaScript are only names and ids", async () => {
  const c = client();
  c.online();
  const odd = c.db.model("__proto__");
  const watched = watch(odd);
  const { id, modelname } = c.socket.take()[0];
  assert.equal(modelname, "__proto__");
  const row = JSON.parse('{"id": "__proto__", "__proto__": {"polluted": true}, "title": "x"}');
  c.socket.receive(page(id, [[row, 1], [{ id: "constructor" }, 2]]), live(id, 2));
  assert.deepEqual([...watched.rows.keys()], ["__proto__", "constructor"]);
  assert.equal({}.polluted, undefined);
  assert.equal(Object.hasOwn(watched.rows.get("__proto__"), "__proto__"), true);

  odd.patch(row);
  assert.equal(JSON.stringify(mutations(c.socket)[0].model), JSON.stringify(row));
  c.socket.receive({ method: "delete", modelname: "__proto__", model: { id: "__proto__" }, seq: 3 });
  assert.deepEqual([...watched.rows.keys()], ["constructor"]);
});
