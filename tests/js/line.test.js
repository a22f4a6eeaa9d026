import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff } from "../../sync-core/client/line.js";
import { connect } from "../../sync-core/client/sync.js";
import { client, error, outcome, page, live, settled, welcome, watch } from "./support.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test("the handshake: subprotocol, a new UUID, no ack in the first hello and one in each later", () => {
  const c = client();
  const statuses = [];
  c.db.onstatus((status) => statuses.push(status));
  assert.equal(c.db.status, "connecting");
  assert.equal(c.socket.url, "ws://example.test/sync");
  assert.equal(c.socket.protocol, "sync.v1");

  assert.deepEqual(c.socket.sent, []);
  const hello = c.online();
  assert.match(hello.client, UUID);
  assert.deepEqual(hello, { method: "hello", client: hello.client });
  assert.equal(c.db.status, "online");

  c.cut();
  assert.deepEqual(c.online(), { method: "hello", client: hello.client, ack: 0 });
  assert.deepEqual(statuses, ["online", "offline", "connecting", "online"]);
});

test("a hello that got no welcome is sent again as the first one", () => {
  const c = client();
  c.socket.open();
  const [first] = c.socket.take();
  c.cut();
  assert.deepEqual(c.online(), first);
});

test("clients have names of their own, and https means wss", () => {
  const [a, b] = [client(), client({ url: "https://example.test/elsewhere" })];
  assert.notEqual(a.online().client, b.online().client);
  assert.equal(b.socket.url, "wss://example.test/elsewhere");
  assert.throws(() => connect({ url: "not an address", WebSocket: /** @type {any} */ (class {}) }), TypeError);
});

test("the jitter is between nothing and a bound that grows from 0.5 s to 10 s", () => {
  for (const [attempt, bound] of [500, 1000, 2000, 4000, 8000, 10_000, 10_000].entries()) {
    assert.equal(backoff(attempt, () => 0), 0);
    assert.equal(backoff(attempt, () => 0.5), bound / 2);
    assert.equal(backoff(attempt, () => 1), bound);
  }
  assert.equal(backoff(10_000, () => 1), 10_000);
});

test("attempts are further and further apart, and near again after a line that has held", () => {
  const c = client();
  const waits = () => {
    const before = c.sockets.length;
    const start = c.clock.now;
    c.socket.cut();
    assert.equal(c.db.status, "offline");
    while (c.sockets.length === before && c.clock.now < start + 20_000) c.clock.advance(1);
    assert.equal(c.db.status, "connecting");
    return c.clock.now - start;
  };
  assert.deepEqual([waits(), waits(), waits(), waits(), waits(), waits(), waits()], [250, 500, 1000, 2000, 4000, 5000, 5000]);
  c.online();
  assert.equal(waits(), 5000, "a welcome alone is not yet a good line");
  c.online();
  c.clock.advance(10_000);
  assert.equal(waits(), 250);
});

test("it does not wait when the network is back or the page becomes visible", () => {
  const c = client();
  c.socket.cut();
  c.window.dispatchEvent(new Event("online"));
  assert.equal(c.sockets.length, 2);
  c.window.dispatchEvent(new Event("online"));
  assert.equal(c.sockets.length, 2, "one is being opened already");

  c.socket.cut();
  c.document.visibilityState = "hidden";
  c.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(c.sockets.length, 2);
  c.document.visibilityState = "visible";
  c.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(c.sockets.length, 3);
  c.clock.advance(9_999);
  assert.equal(c.sockets.length, 3, "the attempt that was waited for does not come on top");
});

test("a silent line is given up after the heartbeat and 10 s; what is heard renews its time", () => {
  const c = client();
  c.online({ heartbeat_ms: 7000 });
  const [first] = c.sockets;
  c.clock.advance(16_999);
  c.socket.receive({ method: "progress", seq: 1 });
  c.clock.advance(16_999);
  assert.equal(c.db.status, "online");
  c.clock.advance(1);
  assert.equal(c.db.status, "offline");
  assert.equal(first.closed, true);
  c.clock.advance(10_000);
  assert.equal(c.sockets.length, 2);
});

test("a server that accepts but does not answer is given up after 10 s", () => {
  const c = client();
  c.socket.open();
  c.clock.advance(9_999);
  assert.equal(c.db.status, "connecting");
  c.clock.advance(1);
  assert.equal(c.db.status, "offline");
});

test("a socket that was given up is not heard any more", async () => {
  const c = client();
  c.online();
  const { subscription } = c.live([{ id: 1 }]);
  const old = c.socket;
  c.clock.advance(35_000 + 10_000);
  assert.equal(c.sockets.length, 2);
  c.online();
  old.receive({ method: "delete", modelname: "Todo", model: { id: 1 }, seq: 9 });
  old.onopen({});
  old.cut(4000);
  assert.equal(c.db.status, "online");
  assert.deepEqual(c.socket.take().map(({ method }) => method), ["subscribe"]);
  c.socket.receive(live("s1", 1));
  assert.equal(subscription.rows.size, 1);
});

test("replaced: closed for good", async () => {
  const c = client();
  c.online();
  const sent = outcome(c.todos.create({ title: "milk" }));
  const confirmed = outcome(c.todos.create({ title: "tea" }));
  c.socket.receive({ method: "confirm", modelname: "Todo", id: 2, model: { id: 2 }, seq: 1, row_seq: 1 });
  c.socket.cut(4000);
  assert.equal(c.db.status, "closed");
  await settled();
  assert.equal(sent.error.code, "unknown");
  assert.equal(confirmed.state, "done");
  assert.equal(c.clock.timers.size, 0);
  c.window.dispatchEvent(new Event("online"));
  c.document.dispatchEvent(new Event("visibilitychange"));
  c.clock.advance(100_000);
  assert.equal(c.sockets.length, 1);
});

test("replaced by a hello of its own that was late: not closed", () => {
  const c = client();
  c.socket.open();
  c.clock.advance(10_000); // no welcome: the server is slow, and may still read that hello
  c.clock.advance(10_000);
  c.online();
  c.socket.cut(4000);
  assert.equal(c.db.status, "offline");
  c.clock.advance(10_000);
  c.online();
  assert.equal(c.db.status, "online");
});

test("replaced after a line that the server had closed itself: closed, for that one cannot be late", () => {
  const c = client();
  c.online();
  c.cut(1001);
  c.online();
  c.socket.cut(4000);
  assert.equal(c.db.status, "closed");
});

test("close: nothing more is sent, what was not is rejected, and the difference is told", async () => {
  const c = client();
  c.online({ limits: { in_flight: 1 } });
  const sent = outcome(c.todos.create({ title: "milk" }));
  const kept = outcome(c.todos.create({ title: "tea" }));
  c.db.close();
  c.db.close();
  const late = outcome(c.todos.create({ title: "late" }));
  await settled();
  assert.deepEqual([sent.error.code, kept.error.code, late.error.code], ["unknown", "closed", "closed"]);
  assert.equal(c.socket.closed, true);
  assert.equal(c.clock.timers.size, 0);
});

test("a confirmed mutation that waits for its rows is done when the client is closed", async () => {
  const c = client();
  c.online();
  watch(c.todos);
  const created = outcome(c.todos.create({ title: "milk" }));
  c.socket.receive({ method: "confirm", modelname: "Todo", id: 1, model: { id: 1 }, seq: 1, row_seq: 1 });
  await settled();
  assert.equal(created.state, "pending");
  c.db.close();
  await settled();
  assert.deepEqual(created.value, { id: 1 });
});

test("a listener that throws stops nothing, and its error is reported as any other", (context) => {
  const c = client();
  const report = context.mock.method(globalThis, "queueMicrotask", () => {});
  c.db.onstatus(() => {
    throw new Error("mine");
  });
  const statuses = [];
  const end = c.db.onstatus((status) => statuses.push(status));
  c.online();
  assert.deepEqual(statuses, ["online"]);
  assert.throws(report.mock.calls[0].arguments[0], /mine/);
  end();
  end();
  c.socket.cut();
  assert.deepEqual(statuses, ["online"]);
});

test("what it does not know is ignored: methods, fields, subscriptions, ids", () => {
  const c = client();
  c.online({ features: ["future"], novelty: 1 });
  const { subscription } = c.live([{ id: 1 }]);
  c.socket.receive(
    { method: "fireworks", modelname: "Todo", model: { id: 1 }, seq: 9 },
    { method: "toString" },
    { method: "__proto__" },
    { method: "update", modelname: "__proto__", model: { id: 1 }, seq: 9 },
    { method: "confirm", id: 99, modelname: "Todo", seq: 9 },
    error(99, "invalid"),
    page("nobody", [[{ id: 7 }, 7]]),
    live("nobody", 7),
    { method: "changes", id: "nobody", changes: [] },
    { method: "reset", id: "nobody", reason: "horizon" },
  );
  assert.deepEqual([...subscription.rows.keys()], [1]);
  assert.equal(c.db.status, "online");
});

test("a frame that cannot be read is not skipped over: the client begins again from its cursor", () => {
  for (const text of ["{", "[{\"method\":\"changes\",\"id\":\"s1\"}]", "null"]) {
    const c = client();
    c.online();
    c.live([{ id: 1 }]);
    assert.throws(() => c.socket.onmessage({ data: text }));
    assert.equal(c.db.status, "offline");
    c.clock.advance(10_000);
    c.online();
    assert.deepEqual(c.socket.take().map(({ since }) => since), ["c1"]);
  }
});

test("an error without an id is logged", (context) => {
  const log = context.mock.method(console, "error", () => {});
  const c = client();
  c.online();
  c.socket.receive({ method: "error", code: "bad_request", message: "no method", retry: false });
  assert.deepEqual(log.mock.calls[0].arguments, ["sync: bad_request: no method"]);
});

test("it works where there is no crypto.randomUUID, as on an insecure origin", (context) => {
  context.mock.method(globalThis.crypto, "randomUUID", () => {
    throw new Error("missing");
  });
  assert.match(client().online().client, UUID);
});

test("a status listener may close the client in the middle of a frame", () => {
  const c = client();
  const subscription = watch(c.todos);
  c.db.onstatus((status) => {
    if (status === "online") c.db.close();
  });
  c.socket.open();
  c.socket.receive(welcome(), page("s1", [[{ id: 1 }, 1]]), live("s1", 1));
  assert.equal(c.db.status, "closed");
  assert.equal(subscription.rows.size, 0);
  assert.equal(subscription.status, "loading");
});
