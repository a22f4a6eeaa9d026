import assert from "node:assert/strict";
import { test } from "node:test";

import { cidOf } from "../../sync-core/client/names.js";
import { Disk } from "./disk.js";
import { change, client, Clock, confirm, error, live, outcome, page, settled, welcome } from "./support.js";

const row = (id, title) => ({ id, title });
const titles = (query) => query.rows.map(({ title }) => title);

/** Lets a few transactions be done. */
async function turns() {
  for (let turn = 0; turn < 30; turn += 1) await settled();
}

/** A page of a browser, with its storage open. */
async function opened(disk, options = {}) {
  const clock = new Clock();
  const tab = disk.tab(clock);
  const c = client({ storage: "indexeddb", ...tab.environment, ...options });
  await turns();
  return Object.assign(c, { tab, clock });
}

/** One that is live with two rows. */
async function started(disk) {
  const c = await opened(disk);
  const query = c.todos.query();
  c.online();
  await turns();
  const { id } = c.socket.take().find(({ method }) => method === "subscribe");
  c.socket.receive(page(id, [[row(1, "a"), 1], [row(2, "b"), 2]]), live(id, 2));
  c.clock.advance(1_000);
  await turns();
  return Object.assign(c, { query });
}

/** The mutations among what was sent. */
const mutations = (c) => c.socket.take().filter(({ method }) => ["create", "update", "patch", "delete"].includes(method));

test("the next page shows the rows and what is pending before it has a line, and continues from the cursor", async () => {
  const disk = new Disk();
  const first = await started(disk);
  assert.equal(first.db.storage, "indexeddb");
  outcome(first.todos.patch({ id: 1, title: "A" }));
  outcome(first.todos.create({ title: "c" }));
  outcome(first.todos.delete(2));
  await turns();
  const { client: name } = JSON.parse(JSON.stringify((await disk.read("slots"))[0][1]));
  first.tab.crash(true);

  const next = await opened(disk);
  const query = next.todos.query();
  await turns();
  assert.deepEqual([query.status, titles(query), next.db.pending], ["stale", ["A", "c"], 3]);
  assert.equal(next.todos.pending(query.rows[0]), 1);
  assert.equal(next.online().client, name);
  await turns();
  const sent = next.socket.take();
  const { since, since_seq } = sent.find(({ method }) => method === "subscribe");
  assert.deepEqual([since, since_seq], ["c2", 2]);
  assert.deepEqual(sent.filter(({ id }) => typeof id === "number").map(({ id, method }) => [id, method]), [[1, "patch"], [2, "create"], [3, "delete"]]);
});

test("nothing is sent before it is kept, and what is kept was not lost by a crash in between", async () => {
  const disk = new Disk();
  const c = await started(disk);
  outcome(c.todos.create({ title: "c" }));
  assert.deepEqual(mutations(c), []);
  c.tab.crash(false);
  await turns();
  const next = await started(disk);
  outcome(next.todos.create({ title: "d" }));
  await turns();
  assert.deepEqual(mutations(next).map(({ id, model }) => [id, model.title]), [[1, "d"]]);
});

test("an outcome is acknowledged once it is kept", async () => {
  const disk = new Disk();
  const c = await started(disk);
  outcome(c.todos.create({ title: "c" }));
  await turns();
  const [{ cid }] = mutations(c);
  c.socket.receive({ ...change("create", row(3, "c"), 3), cid }, { ...confirm(1, 3, row(3, "c")), cid });
  c.tab.crash(false);
  const next = await opened(disk);
  const query = next.todos.query();
  await turns();
  assert.deepEqual(titles(query), ["a", "b", "c"]);
  assert.equal(next.online({ last: 1, outcomes: [{ ...confirm(1, 3, row(3, "c")), cid }] }).ack, 0, "it asks again");
  await turns();
  assert.deepEqual(mutations(next), []);
});

test("what an earlier page did and the server refuses is told to the present one", async () => {
  const disk = new Disk();
  const first = await started(disk);
  outcome(first.todos.patch({ id: 1, title: "" }));
  await turns();
  first.tab.crash(true);
  const next = await opened(disk);
  const query = next.todos.query();
  const rejections = [];
  next.db.onrejected(({ model, error }) => rejections.push([model, error.code]));
  next.online();
  await turns();
  assert.deepEqual(titles(query), ["", "b"]);
  next.socket.receive(error(1, "invalid"));
  assert.deepEqual([rejections, titles(query)], [[[{ id: 1, title: "" }, "invalid"]], ["a", "b"]]);
});

test("edits of a row that was created here find it after a reload, whether it had its id by then or not", async () => {
  const disk = new Disk();
  const first = await started(disk);
  const settledRow = first.todos.create({ title: "c" });
  await turns();
  const [{ cid }] = mutations(first);
  first.socket.receive({ ...change("create", row(3, "c"), 3), cid }, { ...confirm(1, 3, row(3, "c")), cid });
  first.clock.advance(1_000);
  await turns();
  first.socket.cut();
  outcome(first.todos.patch({ id: settledRow.row.id, title: "C" }));
  const { row: fresh } = first.todos.create({ title: "d" });
  outcome(first.todos.patch({ id: fresh.id, title: "D" }));
  await turns();
  first.tab.crash(true);

  const next = await opened(disk);
  const query = next.todos.query();
  await turns();
  assert.deepEqual(titles(query), ["a", "b", "C", "D"]);
  next.online({ last: 1 });
  await turns();
  assert.deepEqual(mutations(next).map(({ id, model }) => [id, model.id]), [[2, 3], [3, undefined], [4, { $cid: cidOf(fresh.id) }]]);
});

test("two pages are two clients, each with its own queue, over the same rows", async () => {
  const disk = new Disk();
  const [a, b] = [await started(disk), await opened(disk)];
  const query = b.todos.query();
  await turns();
  assert.deepEqual(titles(query), ["a", "b"]);
  const names = (await disk.read("slots")).map(([, { client }]) => client);
  assert.equal(new Set(names).size, 2);
  outcome(a.todos.create({ title: "of a" }));
  await turns();
  assert.deepEqual([a.db.pending, b.db.pending, titles(query)], [1, 0, ["a", "b"]]);
});

test("what a closed page has never sent, another one sends as its own, after a while", async () => {
  const disk = new Disk();
  const [a, b] = [await opened(disk), await started(disk)];
  outcome(a.todos.create({ title: "left" }));
  outcome(a.todos.patch({ id: 1, title: "A" }));
  await turns();
  a.tab.crash(true);
  await turns();
  assert.deepEqual([b.db.pending, mutations(b)], [0, []], "a page that is loaded again would want it back");
  b.clock.advance(2_000);
  await turns();
  assert.deepEqual(titles(b.query), ["A", "b", "left"]);
  assert.deepEqual(mutations(b).map(({ id, method }) => [id, method]), [[1, "create"], [2, "patch"]]);
  assert.equal((await disk.read("slots")).length, 1);
});

test("what a closed page has sent, another one finishes in its name, on a second line", async () => {
  const disk = new Disk();
  const [a, b] = [await started(disk), await started(disk)];
  outcome(a.todos.create({ title: "sent" }));
  await turns();
  const [{ cid }] = mutations(a);
  const { client: name } = (await disk.read("slots")).map(([, slot]) => slot).find(({ last }) => last === 1);
  outcome(a.todos.create({ title: "" }));
  await turns();
  a.tab.crash(true);
  const rejections = [];
  b.db.onrejected(({ model, error }) => rejections.push([model.title, error.code]));
  await turns();
  b.clock.advance(2_000);
  await turns();
  assert.equal(b.sockets.length, 2);
  b.socket.open();
  assert.equal(b.socket.take()[0].client, name);
  b.socket.receive(welcome({ last: 1, outcomes: [{ ...confirm(1, 3, row(3, "sent")), cid }] }));
  await turns();
  const [{ id }] = mutations(b);
  assert.equal(id, 2, "and what it had not sent yet");
  b.socket.receive(error(2, "invalid"));
  await turns();
  b.clock.advance(2_000);
  await turns();
  assert.deepEqual(rejections, [["", "invalid"]]);
  assert.equal(b.socket.closed, true);
  assert.deepEqual(await disk.read("mutations"), []);
  assert.equal((await disk.read("slots")).length, 1);
});

test("a page takes the slot that is free, and the hello of the page before cannot throw it out", async () => {
  const disk = new Disk();
  const first = await started(disk);
  first.tab.crash(true);
  const next = await opened(disk);
  next.online();
  next.socket.cut(4000);
  assert.equal(next.db.status, "offline", "that was the old page's hello, which came late");
});

test("closed for good, the page leaves its queue to the next", async () => {
  const disk = new Disk();
  const first = await opened(disk);
  const result = outcome(first.todos.create({ title: "left" }));
  await turns();
  first.db.close();
  await turns();
  assert.equal(result.error.code, "closed");
  const next = await opened(disk);
  assert.equal(next.db.pending, 1);
});

test("users with names of their own have storages of their own", async () => {
  const disk = new Disk();
  const alice = await opened(disk, { storage: "indexeddb:alice" });
  outcome(alice.todos.create({ title: "of alice" }));
  await turns();
  alice.tab.crash(true);
  const bob = await opened(disk, { storage: "indexeddb:bob" });
  assert.equal(bob.db.pending, 0);
  const again = await opened(disk, { storage: "indexeddb:alice" });
  assert.equal(again.db.pending, 1);
});

test("where nothing can be stored it is said, and all goes on in memory", async (context) => {
  const warnings = context.mock.method(console, "warn", () => {});
  for (const missing of ["indexedDB", "locks"]) {
    const c = await opened(new Disk(), { [missing]: undefined });
    assert.equal(c.db.storage, "memory");
    c.online();
    outcome(c.todos.create({ title: "a" }));
    await turns();
    assert.equal(mutations(c).length, 1);
  }
  assert.deepEqual(warnings.mock.calls.map(({ arguments: [, error] }) => error.message), [
    "there is no IndexedDB here",
    "there are no Web Locks here: the page must be served over https, or from this machine",
  ]);
});

test("a storage that fails on the way is said once, and what is written is sent all the same", async (context) => {
  const warnings = context.mock.method(console, "warn", () => {});
  const disk = new Disk();
  const c = await started(disk);
  c.tab.isFull = true;
  for (const title of ["c", "d"]) {
    outcome(c.todos.create({ title }));
    await turns();
  }
  assert.deepEqual(mutations(c).map(({ model }) => model.title), ["c", "d"]);
  assert.equal(warnings.mock.callCount(), 1);
  assert.equal(c.db.storage, "memory");
});

test("what a closed page has left stays, if the page that finishes it is closed first, or refused", async () => {
  for (const end of ["closed", "refused"]) {
    const disk = new Disk();
    const [a, b] = [await started(disk), await started(disk)];
    outcome(a.todos.create({ title: "sent" }));
    await turns();
    outcome(a.todos.create({ title: "not yet" }));
    await turns();
    a.tab.crash(true);
    await turns();
    b.clock.advance(2_000);
    await turns();
    assert.equal(b.sockets.length, 2);
    b.socket.open();
    if (end === "closed") b.db.close();
    else b.socket.receive({ method: "error", request: "hello", code: "schema_mismatch", message: "", retry: false });
    await turns();
    b.clock.advance(1_000);
    await turns();
    assert.deepEqual((await disk.read("mutations")).map(([, { model }]) => model.title), ["sent", "not yet"], end);
    assert.equal((await disk.read("slots")).length, 2, end);
  }
});

test("what was sent after the storage had failed, or lost its last moments, is not done again by the next page", async (context) => {
  context.mock.method(console, "warn", () => {});
  for (const isKnown of [true, false]) {
    const disk = new Disk();
    const c = await opened(disk);
    for (const title of ["c", "d"]) outcome(c.todos.create({ title }));
    await turns();
    c.tab.isFull = true;
    c.online({ limits: { in_flight: 1 } });
    await turns();
    const [{ cid, id }] = mutations(c);
    assert.equal(id, 1, "it is kept without its id");
    c.tab.crash(true);
    const next = await opened(disk);
    const rejections = [];
    next.db.onrejected(({ model, error }) => rejections.push([model.title, error.code]));
    outcome(next.todos.create({ title: "e" }));
    await turns();
    next.online({ last: 1, outcomes: isKnown ? [{ ...confirm(1, 3, row(3, "c")), cid }] : [] });
    await turns();
    assert.deepEqual(mutations(next).map(({ id, model }) => [id, model.title]), [[2, "d"], [3, "e"]]);
    assert.deepEqual(rejections, isKnown ? [] : [["c", "unknown"]]);
  }
});

test("a page that can store nothing more takes over what another has left without making it its own: it would be done twice", async (context) => {
  context.mock.method(console, "warn", () => {});
  const disk = new Disk();
  const [a, b] = [await opened(disk), await started(disk)];
  outcome(a.todos.create({ title: "left" }));
  await turns();
  const { client: name } = (await disk.read("slots")).map(([, slot]) => slot).find(({ welcomed }) => !welcomed);
  b.tab.isFull = true;
  outcome(b.todos.create({ title: "own" }));
  await turns();
  mutations(b);
  a.tab.crash(true);
  await turns();
  b.clock.advance(2_000);
  await turns();
  assert.deepEqual(mutations({ socket: b.sockets[0] }), [], "not as its own");
  assert.equal(b.sockets.length, 2);
  b.socket.open();
  assert.equal(b.socket.take()[0].client, name);
});

test("rows that one page got anew as a whole are stored as a whole: what another had stored meanwhile may be gone again", async () => {
  const disk = new Disk();
  const [a, b] = [await started(disk), await opened(disk)];
  b.todos.query();
  await turns();
  b.online();
  await turns();
  b.socket.receive(live(b.socket.take().find(({ method }) => method === "subscribe").id, 2), change("create", row(3, "short-lived"), 3));
  b.clock.advance(1_000);
  await turns();
  assert.equal((await disk.read("rows")).length, 3);

  a.socket.cut();
  a.clock.advance(10_000);
  a.online();
  await turns();
  const { id } = a.socket.take().find(({ method }) => method === "subscribe");
  a.socket.receive({ method: "reset", id, reason: "horizon" }, page(id, [[row(1, "a"), 1], [row(2, "b"), 2]]), live(id, 4));
  a.socket.receive(change("update", row(1, "A"), 5));
  a.clock.advance(1_000);
  await turns();
  assert.deepEqual((await disk.read("rows")).map(([, { row }]) => row.title), ["A", "b"]);
  assert.equal((await disk.read("models"))[0][1].reached, 5);
});

test("a page that the server does not want any more leaves its queue to the others while it is still open", async () => {
  const disk = new Disk();
  const [a, b] = [await opened(disk), await started(disk)];
  outcome(a.todos.create({ title: "left" }));
  await turns();
  a.socket.open();
  a.socket.receive({ method: "error", request: "hello", code: "schema_mismatch", message: "", retry: false });
  await turns();
  for (const { clock } of [a, b]) clock.advance(2_000);
  await turns();
  assert.deepEqual(mutations(b).map(({ model }) => model.title), ["left"]);
});

test("a page that is closed writes what it knows before another takes its slot, and nothing after that", async () => {
  const disk = new Disk();
  const first = await started(disk);
  outcome(first.todos.create({ title: "c" }));
  await turns();
  first.socket.receive(change("create", row(3, "c"), 3), confirm(1, 3, row(3, "c")));
  await turns();
  outcome(first.todos.patch({ id: 3, title: "d" }));
  await turns();
  first.socket.receive(change("create", row(4, "x"), 4));
  first.db.close();
  const next = await opened(disk);
  assert.equal((await disk.read("slots")).length, 1);
  next.online({ last: 1 });
  await turns();
  outcome(next.todos.create({ title: "e" }));
  await turns();
  assert.deepEqual(mutations(next).map(({ id, method }) => [id, method]), [[2, "patch"], [3, "create"]]);
  first.clock.advance(1_000);
  await turns();
  assert.equal((await disk.read("slots"))[0][1].last, 3);
  assert.deepEqual((await disk.read("rows")).map(([, { row }]) => row.title), ["a", "b", "c", "x"]);
});

test("closed while it was about to finish what another has left, it opens no line any more", async () => {
  const disk = new Disk();
  const [a, b] = [await started(disk), await started(disk)];
  outcome(a.todos.create({ title: "sent" }));
  await turns();
  a.tab.crash(true);
  await turns();
  b.clock.advance(2_000);
  for (let turn = 0; b.sockets.length === 1 && turn < 3; turn += 1) await settled();
  assert.equal(b.sockets.length, 1, "it is reading");
  b.db.close();
  await turns();
  b.clock.advance(20_000);
  await turns();
  assert.deepEqual(b.sockets.map(({ closed }) => closed), [true]);
  assert.equal((await disk.read("mutations")).length, 1);
});

test("a row that was created here, and told of before its confirm, is known again by the next page", async () => {
  const disk = new Disk();
  const first = await started(disk);
  const { row: created } = first.todos.create({ title: "c" });
  await turns();
  const [{ cid }] = mutations(first);
  first.socket.receive({ ...change("create", row(3, "c"), 3), cid }, error(1, "unavailable", { retry: true }));
  outcome(first.todos.patch({ id: created.id, title: "C" }));
  await turns();
  first.clock.advance(200);
  await turns();
  first.tab.crash(true);
  const next = await opened(disk);
  const query = next.todos.query();
  await turns();
  assert.deepEqual(titles(query), ["a", "b", "C"]);
  assert.equal(next.todos.pending(query.rows[2]), 2);
  next.online();
  await turns();
  const [create] = mutations(next);
  assert.deepEqual([create.id, create.method, create.cid], [1, "create", cid]);
});

test("a row that another page has stored is not shown beside the create that made it", async () => {
  const disk = new Disk();
  const [a, b] = [await started(disk), await started(disk)];
  outcome(a.todos.create({ title: "c" }));
  await turns();
  const [{ cid }] = mutations(a);
  b.socket.receive({ ...change("create", row(3, "c"), 3), cid });
  b.socket.receive(change("update", row(3, "c!"), 4));
  b.clock.advance(200);
  await turns();
  for (const page of [a, b]) page.tab.crash(true);
  const next = await opened(disk);
  const query = next.todos.query();
  query.subscribe(() => assert.equal(query.rows.length, 3));
  await turns();
  assert.deepEqual(query.rows, [row(1, "a"), row(2, "b"), row(3, "c!")]);
});

test("at whatever moment of a transaction rows come and the page crashes: what is kept of them is not ahead of the queue", async () => {
  for (let moment = 0; moment < 12; moment += 1) {
    const disk = new Disk();
    const first = await started(disk);
    outcome(first.todos.create({ title: "c" }));
    await turns();
    const [{ cid }] = mutations(first);
    first.socket.receive(change("update", row(1, "A"), 3));
    first.clock.advance(200);
    await null;
    first.socket.receive({ ...change("create", row(3, "c"), 4), cid }, { ...confirm(1, 4, row(3, "c")), cid });
    for (let turn = 0; turn < moment; turn += 1) await settled();
    first.tab.crash(false);
    const next = await opened(disk);
    const query = next.todos.query();
    await turns();
    assert.equal(titles(query).filter((title) => title === "c").length, 1, `moment ${moment}: ${titles(query)}`);
  }
});

test("what an earlier page has sent without an answer is unknown to a server that has forgotten the client, and not sent again", async () => {
  const disk = new Disk();
  const first = await started(disk);
  outcome(first.todos.create({ title: "sent" }));
  await turns();
  first.tab.crash(true);
  const next = await opened(disk);
  const rejections = [];
  next.db.onrejected(({ model, error }) => rejections.push([model.title, error.code]));
  outcome(next.todos.create({ title: "never sent" }));
  await turns();
  next.socket.open();
  next.socket.receive({ method: "error", request: "hello", code: "client_unknown", message: "", retry: false });
  next.online();
  await turns();
  assert.deepEqual(rejections, [["sent", "unknown"]]);
  assert.deepEqual(mutations(next).map(({ id, model }) => [id, model.title]), [[1, "never sent"]]);
});

test("an outcome that is kept only after the client has got another name is not acknowledged under that", async () => {
  const disk = new Disk();
  const c = await started(disk);
  outcome(c.todos.create({ title: "c" }));
  await turns();
  c.socket.receive(confirm(1, 3, row(3, "c")), { method: "error", id: 2, code: "id_gap", message: "", retry: false });
  await turns();
  c.online();
  outcome(c.todos.create({ title: "d" }));
  await turns();
  assert.deepEqual(mutations(c).map(({ id, ack }) => [id, ack]), [[1, 0]]);
});

test("what waits to be sent to a row that is told of before its confirm finds it, also two pages later", async () => {
  const disk = new Disk();
  const first = await started(disk);
  first.socket.cut();
  const { row: fresh } = first.todos.create({ title: "c" });
  outcome(first.todos.patch({ id: 1, title: "A" }));
  outcome(first.todos.patch({ id: fresh.id, title: "C" }));
  first.clock.advance(1_000);
  first.online({ limits: { in_flight: 1 } });
  await turns();
  const { id } = first.socket.sent.find(({ method }) => method === "subscribe");
  const [{ cid }] = mutations(first);
  first.socket.receive(live(id, 2), { ...change("create", row(3, "c"), 3), cid }, error(1, "unavailable", { retry: true }));
  first.clock.advance(200);
  await turns();
  first.tab.crash(true);

  const next = await opened(disk);
  next.online({ limits: { in_flight: 1 } });
  await turns();
  assert.deepEqual(mutations(next).map(({ id, cid }) => [id, cid]), [[1, cid]]);
  next.socket.receive({ ...confirm(1, 3, row(3, "c")), cid });
  next.clock.advance(1_000);
  await turns();
  assert.equal((await disk.read("mutations")).length, 2);
  next.tab.crash(true);

  const last = await opened(disk);
  last.online({ last: 1 });
  await turns();
  assert.deepEqual(mutations(last).map(({ id, model }) => [id, model]), [[2, { id: 1, title: "A" }], [3, { id: 3, title: "C" }]]);
});

test("a page that is loaded again keeps its slot, and what it leaves when it is gone for good is taken over", async () => {
  const disk = new Disk();
  const [a, b] = [await opened(disk), await started(disk)];
  outcome(a.todos.create({ title: "left" }));
  await turns();
  a.tab.crash(true);
  const again = await opened(disk);
  assert.equal(again.db.pending, 1);
  b.clock.advance(2_000);
  await turns();
  assert.equal(b.db.pending, 0);
  again.tab.crash(true);
  await turns();
  b.clock.advance(2_000);
  await turns();
  assert.deepEqual(mutations(b).map(({ model }) => model.title), ["left"]);
});

test("an outcome that is a create's is that create's, whatever ids a page without a storage has given meanwhile", async () => {
  const disk = new Disk();
  const c = await opened(disk);
  const { row: fresh } = c.todos.create({ title: "c" });
  outcome(c.todos.create({ title: "d" }));
  await turns();
  c.tab.crash(true);
  const next = await opened(disk);
  const query = next.todos.query();
  const rejections = [];
  next.db.onrejected(({ model, error }) => rejections.push([model.title, error.code]));
  await turns();
  next.online({ last: 2, outcomes: [{ ...confirm(2, 3, row(3, "c")), cid: cidOf(fresh.id) }] });
  await turns();
  const { id } = next.socket.sent.find(({ method }) => method === "subscribe");
  next.socket.receive(page(id, [[row(3, "c"), 3]]), live(id, 3));
  assert.deepEqual([query.rows, rejections, mutations(next)], [[row(3, "c")], [["d", "unknown"]], []]);
});
