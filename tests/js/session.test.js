import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../../sync-core/client/sync.js";
import { client, confirm, error, outcome, settled, watch, welcome } from "./support.js";

const refused = (code, fields) => ({ method: "error", request: "hello", code, message: `no: ${code}`, retry: false, ...fields });

test("a token is said in hello; a function is asked for one before each connection", async () => {
  const fixed = client({ token: "abc" });
  assert.equal(fixed.online().token, "abc");
  const tokens = ["first", Promise.resolve("second")];
  const c = client({ token: () => tokens.shift() });
  for (const token of ["first", "second"]) {
    c.socket.open();
    assert.deepEqual(c.socket.take(), [], "it may take its time");
    await settled();
    assert.equal(c.socket.take()[0].token, token);
    c.socket.receive(welcome());
    c.cut();
  }
});

test("a token that is no good any more: the function is asked again, with what was written kept", async () => {
  const tokens = ["old", "new"];
  const c = client({ token: () => tokens.shift() });
  const result = outcome(c.todos.create({ title: "a" }));
  c.socket.open();
  await settled();
  c.socket.take();
  c.socket.receive(refused("unauthenticated"));
  assert.equal(c.db.status, "offline");
  c.clock.advance(10_000);
  c.socket.open();
  await settled();
  assert.equal(c.socket.take()[0].token, "new");
  c.socket.receive(welcome());
  const [create] = c.socket.take();
  c.socket.receive(confirm(create.id, 1, { id: 1, title: "a" }));
  await settled();
  assert.equal(result.state, "done");
});

test("a request alone may be refused for want of a session", async () => {
  const c = client({ token: "fixed" });
  const [again, never] = ["a", "b"].map((title) => outcome(c.todos.create({ title })));
  c.socket.open();
  c.socket.receive(welcome());
  const creates = c.socket.take().filter(({ method }) => method === "create");
  const error = { method: "error", request: "create", modelname: "Todo", code: "unauthenticated", message: "no" };
  // The session was revoked, and another has taken its place.
  c.socket.receive({ ...error, id: creates[0].id, retry: true });
  c.socket.receive({ ...error, id: creates[1].id, code: "retry", retry: true });
  c.clock.advance(10_000);
  const resent = c.socket.take().filter(({ method }) => method === "create");
  assert.deepEqual(resent.map(({ id }) => id), [1, 2]);
  c.socket.receive(confirm(1, 1, { id: 1, title: "a" }));
  // A handler wants somebody who is signed in.
  c.socket.receive({ ...error, id: 2, retry: false });
  await settled();
  assert.equal(again.state, "done");
  assert.equal(never.error?.code, "unauthenticated");
  assert.equal(c.db.status, "online");
});

test("a fixed token that is no good ends it, with the reason", async () => {
  const c = client({ token: "old" });
  const result = outcome(c.todos.create({ title: "a" }));
  c.socket.open();
  c.socket.take();
  c.socket.receive(refused("unauthenticated"));
  await settled();
  assert.deepEqual([c.db.status, c.db.reason?.code], ["closed", "unauthenticated"]);
  assert.equal(result.state, "rejected");
  const late = outcome(c.todos.create({ title: "b" }));
  await settled();
  assert.equal(late.error.code, "closed");
});

test("a token function that fails or comes too late is asked again with the next connection", async (context) => {
  const errors = context.mock.method(console, "error", () => {});
  let resolve = (_token) => {};
  const tokens = [() => Promise.reject(new Error("down")), () => new Promise((given) => (resolve = given)), () => "third"];
  const c = client({ token: () => /** @type {any} */ (tokens.shift())() });
  c.socket.open();
  await settled();
  assert.equal(c.db.status, "offline");
  assert.match(String(errors.mock.calls[0].arguments[0]), /token function/);
  c.clock.advance(10_000);
  c.socket.open();
  c.cut();
  resolve("late");
  c.socket.open();
  await settled();
  assert.deepEqual(c.socket.take().map(({ token }) => token), ["third"]);
});

test("what the page was made for is said, of the models that it uses; a server that does not fit is told in words", async () => {
  const schema = { Todo: "id:1 r", Other: "id:2 r" };
  const c = client({ schema });
  assert.deepEqual(c.online().schema, { Todo: "id:1 r" });
  const result = outcome(c.todos.create({ title: "a" }));
  c.cut();
  c.socket.open();
  c.socket.receive(refused("schema_mismatch", { message: "`Todo` has no `done` any more" }));
  assert.deepEqual([c.db.status, c.db.reason?.code, c.db.reason?.message], ["closed", "schema_mismatch", "`Todo` has no `done` any more"]);
  await settled();
  assert.equal(result.error.code, "unknown", "it was sent");
});

test("without a schema of its own a page holds to what the first welcome said", () => {
  const c = client();
  assert.equal(c.online({ schema: { Todo: "one", Other: "x" } }).schema, undefined);
  c.cut();
  assert.deepEqual(c.online({ schema: { Todo: "two" } }).schema, { Todo: "one" });
  c.cut();
  assert.deepEqual(c.online().schema, { Todo: "one" });
});

test("a hello that is refused for good ends it; one that is refused for now is said again", () => {
  const c = client();
  c.socket.open();
  c.socket.receive(refused("bad_request"));
  assert.deepEqual([c.db.status, c.db.reason?.code], ["closed", "bad_request"]);
});

test("a create's outcome is not acknowledged while the server needs it for what names it", async () => {
  const c = client();
  c.online();
  const { row } = c.todos.create({ title: "a" });
  c.todos.patch({ id: row.id, title: "b" });
  const [create, patch] = c.socket.take();
  assert.deepEqual(patch.model, { id: { $cid: create.cid }, title: "b" });
  c.socket.receive({ ...confirm(1, 1, { id: 5, title: "a" }), cid: create.cid }, error(2, "unavailable", { retry: true }));
  await settled();
  c.clock.advance(10_000);
  const again = c.socket.take().filter(({ method }) => method !== "ack");
  assert.deepEqual(again, [{ ...patch, ack: 0 }], "as it was, and the server can still tell who is meant");
  c.socket.receive(confirm(2, 2, { id: 5, title: "b" }));
  await settled();
  c.clock.advance(10_000);
  assert.deepEqual(c.socket.take(), [{ method: "ack", ack: 2 }]);
});

test("references to a row without an id: shown by its name, sent as one, and by its id once it has one", async () => {
  const c = client();
  const notes = c.db.model("Note");
  const query = notes.query();
  c.online();
  c.socket.take();
  const todo = c.todos.create({ title: "a" });
  notes.create({ todo: todo.row.id, deep: [{ of: todo.row.id }], text: `not ${todo.row.id}` });
  const [create, note] = c.socket.take();
  const named = { $cid: create.cid };
  assert.deepEqual(note.model, { todo: named, deep: [{ of: named }], text: `not ${todo.row.id}` });
  assert.equal(query.rows[0].todo, todo.row.id);
  c.socket.receive({ ...confirm(1, 1, { id: 5, title: "a" }), cid: create.cid });
  assert.deepEqual([query.rows[0].todo, query.rows[0].deep], [5, [{ of: 5 }]]);
  await settled();
  notes.create({ todo: todo.row.id });
  assert.equal(c.socket.take().at(-1).model.todo, 5);
});

test("who is rejected is told to those who listen, also without a promise in hand", async () => {
  const c = client();
  const rejections = [];
  const end = c.db.onrejected((rejection) => rejections.push(rejection));
  c.online();
  c.todos.create({ title: "" }); // nobody waits for it, and that is no unhandled rejection
  c.socket.receive(error(1, "invalid", { fields: { title: "empty" } }));
  await settled();
  const [{ modelname, method, model, error: why }] = rejections;
  assert.deepEqual([modelname, method, model, why.code, why.fields.get("title")], ["Todo", "create", { title: "" }, "invalid", "empty"]);
  end();
  outcome(c.todos.create({ title: "" }));
  c.socket.receive(error(2, "invalid"));
  await settled();
  assert.equal(rejections.length, 1);
});

test("how much is pending is told when it changes", async () => {
  const c = client();
  const counts = [];
  c.db.onpending((pending) => counts.push(pending));
  c.online();
  for (const title of ["a", "b"]) c.todos.create({ title });
  assert.equal(c.db.pending, 2);
  await settled();
  c.socket.receive(confirm(1, 1, { id: 1 }), confirm(2, 2, { id: 2 }));
  assert.deepEqual(counts, [2, 0]);
});

test("names from outside reach no prototype", async () => {
  const c = client();
  const query = c.todos.query();
  c.online();
  const { id } = c.socket.take()[0];
  const odd = JSON.parse('{"id":"__proto__","__proto__":{"polluted":1},"constructor":"x"}');
  c.socket.receive({ method: "read", id, modelname: "Todo", models: [odd], seqs: [1], more: false }, { method: "live", id, modelname: "Todo", seq: 1, cursor: "c1" });
  assert.deepEqual(JSON.stringify(query.rows[0]), JSON.stringify(odd));
  assert.equal(Object.getPrototypeOf(query.rows[0]), Object.prototype);
  outcome(c.todos.patch({ id: "__proto__", constructor: "y" }));
  assert.equal(query.rows[0].constructor, "y");
  assert.equal(/** @type {any} */ ({}).polluted, undefined);
  const proto = c.db.model("__proto__");
  outcome(proto.create({ a: 1 }));
  assert.equal(c.socket.take().at(-1).modelname, "__proto__");
  c.socket.receive(error(1, "invalid", { fields: JSON.parse('{"__proto__":"no"}') }));
  watch(proto);
});

test("a storage that there is not is a mistake at once", () => {
  assert.throws(() => connect({ url: "http://example.test", storage: /** @type {any} */ ("disk") }), /memory, indexeddb/);
});

test("a row of another, created under a name that was overheard, does not take one's own row's place", async () => {
  const c = client();
  const query = c.todos.query();
  c.online();
  const { id } = c.socket.take()[0];
  c.socket.receive({ method: "live", id, modelname: "Todo", seq: 0, cursor: "c" });
  const { row: mine } = c.todos.create({ title: "mine" });
  const [{ cid }] = c.socket.take();
  const created = (id, title, seq) => ({ method: "create", modelname: "Todo", cid, model: { id, title }, seq });
  c.socket.receive(created(1, "mine", 1));
  c.socket.receive(created(2, "theirs", 2));
  c.socket.receive({ ...confirm(1, 1, { id: 1, title: "mine" }), cid });
  c.socket.receive(created(3, "theirs too", 3));
  assert.deepEqual(query.rows.map(({ id, title }) => [id, title]), [[1, "mine"], [2, "theirs"], [3, "theirs too"]]);
  assert.equal(c.todos.peek(mine.id).title, "mine");
  outcome(c.todos.patch({ id: mine.id, title: "changed" }));
  assert.equal(c.socket.take()[0].model.id, 1);
});

test("a row whose id the client has chosen is called by it, before and after the server has told of it", async () => {
  for (const order of [[0, 1], [1, 0]]) {
    const c = client();
    const tags = c.db.model("Tag", { id: "slug" });
    const query = tags.query();
    const keys = [];
    query.subscribe((_, changes) => keys.push(...changes.map(({ key }) => key)));
    c.online();
    const { id } = c.socket.take()[0];
    c.socket.receive({ method: "live", id, modelname: "Tag", seq: 0, cursor: "c" });
    const creation = tags.create({ slug: "a", color: "red" });
    assert.equal(creation.row.slug, "a");
    const [{ cid, model }] = c.socket.take();
    const both = ["create", "confirm"].map((method) => ({ method, id: 1, modelname: "Tag", cid, model, seq: 1, row_seq: 1 }));
    for (const index of order) c.socket.receive(both[index]);
    assert.deepEqual(await creation, { slug: "a", color: "red" });
    assert.equal(tags.key(query.rows[0]), "a");
    assert.deepEqual(new Set(keys), new Set(["a"]));
  }
});
