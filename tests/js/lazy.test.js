/** What is loaded when it is first needed: nothing of it is loaded before these tests, and nothing that is written meanwhile is lost. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../../sync-core/client/sync.js";
import { Session } from "../../sync-core/client/session.js";
import { Table } from "../../sync-core/client/table.js";

const WELCOME = { method: "welcome", epoch: "e1", last: 0, outcomes: [], limits: { message_bytes: 65536, in_flight: 64 }, heartbeat_ms: 25000 };

function client() {
  const sockets = [];
  class Socket {
    sent = [];
    constructor() {
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {}
    receive(message) {
      /** @type {any} */ (this).onmessage({ data: JSON.stringify(message) });
    }
    async taken(count) {
      while (this.sent.length < count) await new Promise((resolve) => setImmediate(resolve));
      return this.sent.splice(0);
    }
  }
  const timers = [];
  const db = connect({ url: "http://example.test/sync", WebSocket: /** @type {any} */ (Socket), setTimeout: (run) => timers.push(run), clearTimeout: () => {} });
  const online = async (fields) => {
    const socket = sockets.at(-1);
    socket.onopen({});
    const [hello] = await socket.taken(1);
    socket.receive({ ...WELCOME, ...fields });
    return hello;
  };
  return { db, todos: db.model("Todo"), sockets, timers, online };
}

test("what is written before it can be sent is shown, waits through a line that is lost at once, and is sent once, in order", async () => {
  assert.deepEqual([Session.Mutations, Table.narrowing], [undefined, undefined], "not loaded");
  const c = client();
  const all = c.todos.query();
  const first = c.todos.create({ title: "a" });
  const together = c.db.batch(() => {
    c.todos.create({ title: "b", parent: first.row.id });
    c.todos.patch({ id: first.row.id, title: "A" });
  });
  const narrow = c.todos.query({ where: { list: "x" } });
  assert.deepEqual([all.rows.map(({ title }) => title), c.db.pending, c.todos.pending(first.row)], [["A", "b"], 2, 2]);
  const hello = await c.online();
  assert.equal(hello.ack, undefined);
  const lost = c.sockets[0];
  lost.onclose({ code: 1006 });
  const late = c.todos.create({ title: "c" });
  c.timers.at(-1)();
  assert.equal((await c.online({ features: ["where"], indexed: { Todo: ["list"] } })).ack, 0);
  const sent = await c.sockets[1].taken(5);
  assert.ok(!lost.sent.some(({ method }) => method !== "subscribe"), "nothing on the line that was lost");
  assert.deepEqual(sent.filter(({ method }) => method === "subscribe").map(({ where }) => where).sort(), [{ list: "x" }, undefined]);
  const writes = sent.filter(({ method }) => method !== "subscribe");
  assert.deepEqual(writes.map(({ method, id }) => [method, id]), [["create", 1], ["batch", 2], ["create", 3]]);
  assert.deepEqual(writes[1].requests.map(({ model }) => model.parent ?? model.id), [{ $cid: writes[0].cid }, { $cid: writes[0].cid }]);
  narrow.close();
  const row = { id: 7, title: "a" };
  c.sockets[1].receive({ method: "confirm", modelname: "Todo", id: 1, cid: writes[0].cid, model: row, seq: 1, row_seq: 1 });
  for (const id of [2, 3]) c.sockets[1].receive({ method: "error", id, request: "create", modelname: "Todo", code: "invalid", message: "no", retry: false });
  await assert.rejects(together, { code: "invalid" });
  await assert.rejects(late, { code: "invalid" });
  assert.equal(c.db.pending, 1, "its row has not come");
});

test("what waits when the connection is closed is told so", async () => {
  const { Mutations } = Session;
  Session.Mutations = undefined;
  const c = client();
  const written = c.todos.create({ title: "a" });
  c.db.close();
  await assert.rejects(written, { code: "closed" });
  assert.equal(c.db.pending, 1, "as it is shown to the end");
  Session.Mutations = Mutations;
});
