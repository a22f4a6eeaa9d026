/**
 * A model of the server: one model in memory, the protocol without sockets or time. It is what the client is tried
 * against, so it is strict: what a client must not do throws.
 * @module
 */

import assert from "node:assert/strict";

/**
 * @typedef {object} Peer the other end of a connection
 * @property {(messages: object[]) => void} send one frame
 * @property {(code: number) => void} close
 */

export class Server {
  epoch = 1;
  seq = 0;
  /** @type {Map<number, {row: any, seq: number}>} */
  rows = new Map();
  /** @type {{method: string, modelname: string, model: any, seq: number}[]} */
  log = [];
  /** The oldest seq that a cursor may continue from. */
  horizon = 0;
  /** @type {Map<string, Client>} */
  clients = new Map();
  /** @type {Set<Connection>} */
  connections = new Set();
  lastId = 0;

  /**
   * @param {object} [options]
   * @param {number} [options.pageSize]
   * @param {(mutation: any) => object | undefined} [options.fail] an error that may be retried, instead of a decision
   * @param {(change: any, method: string, by?: Connection) => void} [options.committed]
   */
  constructor({ pageSize = 500, fail = () => undefined, committed = () => {} } = {}) {
    this.pageSize = pageSize;
    this.fail = fail;
    this.committed = committed;
  }

  /** @param {Peer} peer */
  connect(peer) {
    const connection = new Connection(this, peer);
    this.connections.add(connection);
    return connection;
  }

  /**
   * Decides and commits, and puts what follows from it in line for every connection.
   * @param {{method: string, modelname: string, model: any, cid?: string}} message
   * @param {Connection} [by]
   * @returns {{seq: number, model: any} | {code: string, message: string, fields?: object}}
   */
  write({ method, modelname, model, cid }, by) {
    if (modelname !== "Todo") return { code: "unknown_model", message: "there is no such model" };
    const present = this.rows.get(model.id)?.row;
    if (method !== "create" && !present) return { code: "not_found", message: "there is no such row" };
    const row = method === "delete" ? { id: model.id } : { completed: false, ...present, ...model };
    if (method === "create") row.id = this.lastId += 1;
    if (method !== "delete" && (typeof row.title !== "string" || row.title.trim() === "" || row.title.length > 200)) {
      const fault = row.title?.length > 200 ? "must be at most 200 characters" : "must not be empty";
      return { code: "invalid", message: `title: ${fault}`, fields: { title: fault } };
    }
    this.seq += 1;
    if (method === "delete") this.rows.delete(row.id);
    else this.rows.set(row.id, { row, seq: this.seq });
    const change = { method: method === "patch" ? "update" : method, modelname, model: row, seq: this.seq, cid };
    this.log.push(change);
    this.committed(change, method, by);
    for (const connection of this.connections) connection.changed(change);
    return { seq: this.seq, model: row };
  }

  /** Sends what is in line, to each connection as one frame. */
  flush() {
    for (const connection of this.connections) connection.flush();
  }

  /** As after a restore: the same rows in a new order. */
  renew() {
    this.epoch += 1;
    this.seq = this.horizon = 0;
    this.log = [];
    for (const entry of this.rows.values()) entry.seq = this.seq += 1;
    for (const { outcomes } of this.clients.values()) {
      // What is already under way says what it said.
      for (const [id, outcome] of outcomes) if (outcome.seq > this.seq) outcomes.set(id, { ...outcome, seq: this.seq });
    }
    for (const connection of [...this.connections]) connection.close(1001);
  }
}

/**
 * What is known of a client.
 * @typedef {object} Client
 * @property {number} last
 * @property {Map<number, any>} outcomes after its ack
 * @property {Map<number, string>} contents what was sent under each id
 * @property {number} [failing] what must be sent again first
 * @property {Connection} [connection]
 */

/** @typedef {{id: string, mode: "pages" | "catch-up" | "live", after: number, from: number}} Subscription */

export class Connection {
  /** @type {Map<string, Subscription>} */
  subscriptions = new Map();
  #server;
  #peer;
  /** @type {Client | undefined} */
  #client;
  #open = true;
  /** @type {any[]} */
  #line = [];

  /**
   * @param {Server} server
   * @param {Peer} peer
   */
  constructor(server, peer) {
    this.#server = server;
    this.#peer = peer;
  }

  /** @param {string} text */
  receive(text) {
    if (!this.#open) return;
    const frame = JSON.parse(text);
    for (const message of Array.isArray(frame) ? frame : [frame]) this.#handle(message);
    this.#server.flush();
  }

  /** @param {number} [code] tells the peer, where given */
  close(code) {
    if (!this.#open) return;
    this.#open = false;
    this.#server.connections.delete(this);
    if (this.#client?.connection === this) this.#client.connection = undefined;
    if (code !== undefined) this.#peer.close(code);
  }

  /** @param {any} change that was just committed */
  changed(change) {
    const subscription = [...this.subscriptions.values()].find(({ mode }) => mode === "live");
    if (subscription) this.#line.push({ channel: `sync:Todo:${change.model.id}`, ...change });
  }

  flush() {
    if (this.#line.length > 0) this.#peer.send(this.#line.splice(0));
  }

  progress() {
    const behind = [...this.subscriptions.values()].some(({ mode }) => mode === "catch-up");
    if (!behind) this.#peer.send([{ method: "progress", seq: this.#server.seq }]);
  }

  /** A live subscription that was too slow. */
  lag() {
    for (const subscription of this.subscriptions.values()) {
      if (subscription.mode !== "live") continue;
      subscription.mode = "catch-up";
      subscription.from = this.#server.seq;
    }
  }

  /** Goes one step further with what is not live yet. */
  step(atMost = Infinity) {
    for (const subscription of this.subscriptions.values()) {
      if (subscription.mode !== "live") this.#step(subscription, atMost);
    }
    this.flush();
  }

  #step(subscription, atMost) {
    const { id, after, from } = subscription;
    const { rows, log, seq, pageSize, epoch } = this.#server;
    if (subscription.mode === "pages") {
      const rest = [...rows.values()].filter(({ row }) => row.id > after).sort((a, b) => a.row.id - b.row.id);
      const page = rest.slice(0, pageSize);
      subscription.after = page.at(-1)?.row.id ?? after;
      const more = rest.length > page.length;
      if (!more) subscription.mode = "catch-up";
      const [models, seqs] = [page.map(({ row }) => row), page.map(({ seq }) => seq)];
      this.#line.push({ method: "read", channel: "sync:Todo", modelname: "Todo", id, models, seqs, seq, more });
      return;
    }
    const changes = log.filter((change) => change.seq > from).slice(0, atMost);
    subscription.from = changes.at(-1)?.seq ?? from;
    if (changes.length > 0) this.#line.push({ method: "changes", id, seq: subscription.from, changes });
    if (subscription.from < seq) return;
    subscription.mode = "live";
    this.#line.push({ method: "live", channel: "sync:Todo", modelname: "Todo", id, seq, cursor: `${epoch}:${seq}` });
  }

  #handle(message) {
    const { method, id, ack } = message;
    if (method !== "hello" && ack !== undefined) this.#acknowledge(ack);
    switch (method) {
      case "hello":
        return this.#hello(message);
      case "subscribe":
        return this.#subscribe(message);
      case "unsubscribe":
        assert.ok(this.subscriptions.delete(id), "unsubscribe of an open subscription");
        return;
      case "ack":
        return;
      case "create":
      case "update":
      case "patch":
      case "delete":
        return this.#mutate(message);
      default:
        assert.fail(`no known method: ${method}`);
    }
  }

  #hello({ client: uuid, ack }) {
    assert.equal(this.#client, undefined, "one hello");
    let client = this.#server.clients.get(uuid);
    if (ack !== undefined && ack > (client?.last ?? -1)) {
      this.#line.push({ method: "error", request: "hello", code: "client_unknown", message: "forgotten", retry: false });
      return;
    }
    if (!client) {
      client = { last: 0, outcomes: new Map(), contents: new Map() };
      this.#server.clients.set(uuid, client);
    }
    client.connection?.close(4000);
    client.connection = this;
    client.failing = undefined;
    this.#client = client;
    if (ack !== undefined) this.#acknowledge(ack);
    const limits = { message_bytes: 65536, in_flight: 5, subscriptions: 128 };
    const outcomes = [...client.outcomes.values()];
    const epoch = `e${this.#server.epoch}`;
    this.#line.push({ method: "welcome", epoch, last: client.last, outcomes, schema: {}, features: [], limits, heartbeat_ms: 25000 });
  }

  #acknowledge(ack) {
    const client = this.#client;
    assert.ok(client && ack <= client.last, "an ack of what was decided");
    for (const id of [...client.outcomes.keys()]) if (id <= ack) client.outcomes.delete(id);
  }

  #subscribe({ id, modelname, since, since_seq: came = 0 }) {
    assert.equal(this.subscriptions.has(id), false, "a new id");
    if (modelname !== "Todo") {
      this.#line.push({ method: "error", id, request: "subscribe", modelname, code: "unknown_model", message: "", retry: false });
      return;
    }
    const { epoch, seq, horizon } = this.#server;
    const [ofEpoch, at] = (since ?? "").split(":").map(Number);
    const from = Math.max(at, came);
    const reason = since === undefined || (ofEpoch === epoch && from >= horizon) ? undefined : ofEpoch === epoch ? "horizon" : "epoch";
    if (reason) this.#line.push({ method: "reset", id, reason });
    if (since === undefined || reason) this.subscriptions.set(id, { id, mode: "pages", after: 0, from: seq });
    else this.subscriptions.set(id, { id, mode: "catch-up", after: 0, from });
  }

  /** A row with ids for the cids in it; undefined if one is not known. */
  #resolve(model) {
    const known = [...this.#client.outcomes.values()].filter(({ method, cid }) => method === "confirm" && cid);
    const entries = Object.entries(model).map(([name, value]) => {
      if (value === null || typeof value !== "object") return [name, value];
      return [name, known.find(({ cid }) => cid === value.$cid)?.model.id];
    });
    return entries.some(([, value]) => value === undefined) ? undefined : Object.fromEntries(entries);
  }

  #mutate(message) {
    const { id, method, modelname, cid, model } = message;
    const client = this.#client;
    assert.ok(client, "a mutation after the welcome");
    const content = JSON.stringify([method, modelname, cid, model]);
    assert.equal(client.contents.get(id) ?? content, content, "the same content under the same id");
    client.contents.set(id, content);
    const answer = (fields) => this.#line.push({ id, modelname, cid, ...fields });
    const error = (fields) => answer({ method: "error", request: method, retry: false, ...fields });
    if (client.failing !== undefined && id > client.failing) {
      return error({ code: "retry", message: "an earlier one first", retry: true });
    }
    client.failing = undefined;
    if (id <= client.last) {
      const outcome = client.outcomes.get(id);
      assert.ok(outcome, "not sent again once it was acknowledged");
      this.#line.push(outcome);
      return;
    }
    assert.equal(id, client.last + 1, "no gap");
    const failure = this.#server.fail(message);
    if (failure) {
      client.failing = id;
      return error({ ...failure, retry: true });
    }
    // On a connection a confirm comes after the changes up to its seq.
    const resolved = this.#resolve(model);
    const result = resolved ? this.#server.write({ ...message, model: resolved }, this) : { code: "not_found", message: "no such create" };
    const unsure = this.#server.fail(message) !== undefined;
    for (const subscription of this.subscriptions.values()) if (subscription.mode === "catch-up") this.#step(subscription, Infinity);
    const outcome =
      "code" in result
        ? { method: "error", id, request: method, modelname, cid, retry: false, ...result }
        : { method: "confirm", channel: `sync:Todo:${cid ?? result.model.id}`, id, modelname, cid, model: result.model, seq: result.seq, row_seq: result.seq };
    client.last = id;
    client.outcomes.set(id, outcome);
    if (!unsure) return void this.#line.push(outcome);
    client.failing = id;
    error({ code: "unavailable", message: "the store did not answer", retry: true });
  }
}
