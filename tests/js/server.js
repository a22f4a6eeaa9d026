/**
 * A model of the server: one model in memory, the protocol without sockets or time. It is what the client is tried
 * against, so it is strict: what a client must not do throws.
 * @module
 */

import assert from "node:assert/strict";

import { comparison, compare, predicate } from "../../sync-core/client/where.js";

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
  /** `old`: the row before. @type {{method: string, modelname: string, model: any, seq: number, cid?: string, old?: any}[]} */
  log = [];
  /** The oldest seq that a cursor may continue from. */
  horizon = 0;
  /** @type {Map<string, Client>} */
  clients = new Map();
  /** @type {Set<Connection>} */
  connections = new Set();
  lastId = 0;
  /** Whoever asked for what is being committed will not hear of it now. */
  isUnsure = false;

  /**
   * @param {object} [options]
   * @param {number} [options.pageSize]
   * @param {(mutation: any) => object | undefined} [options.fail] an error that may be retried, instead of a decision
   * @param {(change: any, method: string, by?: Connection) => void} [options.committed]
   * @param {string[]} [options.indexed] the fields that it filters and orders by; without it, it does neither
   * @param {() => boolean} [options.isLate] whether a row that moves up into a window comes later than what made room for it
   */
  constructor({ pageSize = 500, fail = () => undefined, committed = () => {}, indexed, isLate = () => false } = {}) {
    this.indexed = indexed;
    this.isLate = isLate;
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
  write(message, by) {
    const result = this.transact([message], by);
    return "results" in result ? { seq: result.seq, model: result.results[0].model } : result;
  }

  /**
   * Does several things at once, or none of them.
   * @param {readonly any[]} messages
   * @param {Connection} [by]
   * @returns {{seq: number, results: any[]} | {code: string, message: string, fields?: object, index?: number}}
   */
  transact(messages, by) {
    /** What they come to, by id. @type {Map<number, any>} */
    const rows = new Map([...this.rows].map(([id, { row }]) => [id, row]));
    /** @type {Map<string, number>} */
    const ids = new Map();
    /** @type {Map<number, {change: any, method: string}>} */
    const changes = new Map();
    const results = [];
    const seq = this.seq + 1;
    let lastId = this.lastId;
    const put = (method, id, row, cid) => {
      const old = this.rows.get(id)?.row;
      const first = changes.get(id);
      if (row) rows.set(id, row);
      else rows.delete(id);
      if (!row && !old) return changes.delete(id);
      const change = { method: !row ? "delete" : old ? "update" : "create", modelname: "Todo", model: row ?? { id }, seq, cid: cid ?? first?.change.cid, old };
      changes.set(id, { change, method: first && method !== "delete" ? first.method : method });
    };
    for (const [index, { method, modelname, model: given, cid, action, args }] of messages.entries()) {
      const refused = (error) => ({ ...error, index });
      if (modelname !== "Todo") return refused({ code: "unknown_model", message: "there is no such model" });
      if (method === "action") {
        if (action !== "clear_completed") return refused({ code: "method_not_allowed", message: "no such action" });
        const gone = [...rows.values()].filter(({ completed, list = null }) => completed && (args.list === undefined || args.list === list));
        for (const { id } of gone) put("action", id, undefined, undefined);
        results.push({ modelname, action, result: gone.length });
        continue;
      }
      const model = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value?.$cid ? (ids.get(value.$cid) ?? value) : value]));
      const present = rows.get(model.id);
      if (Object.values(model).some((value) => value?.$cid)) return refused({ code: "not_found", message: "no such create" });
      if (method !== "create" && !present) return refused({ code: "not_found", message: "there is no such row" });
      const row = method === "delete" ? { id: model.id } : { completed: false, ...present, ...model };
      if (method === "create") row.id = lastId += 1;
      if (method !== "delete" && (typeof row.title !== "string" || row.title.trim() === "" || row.title.length > 200)) {
        const fault = row.title?.length > 200 ? "must be at most 200 characters" : "must not be empty";
        return refused({ code: "invalid", message: `title: ${fault}`, fields: { title: fault } });
      }
      if (cid) ids.set(cid, row.id);
      put(method, row.id, method === "delete" ? undefined : row, cid);
      results.push({ modelname, cid, model: row, row_seq: seq });
    }
    if (changes.size === 0) return { seq: this.seq, results };
    this.seq = seq;
    this.lastId = lastId;
    for (const { change } of changes.values()) {
      if (change.method === "delete") this.rows.delete(change.model.id);
      else this.rows.set(change.model.id, { row: change.model, seq });
      this.log.push(change);
    }
    this.committed([...changes.values()], by);
    for (const connection of this.connections) connection.changed([...changes.values()].map(({ change }) => change));
    return { seq, results };
  }

  /** The rows that are asked for, in order. @param {any} query */
  select({ where, order, after, until, limit = Infinity }) {
    const comparing = comparison(order, (a, b) => compare(a.id, b.id));
    const fields = [order ?? []].flat().map((name) => name.replace("-", ""));
    const place = (given) => Object.fromEntries([...fields.map((name, index) => [name, given[index]]), ["id", given.at(-1)]]);
    const holds = predicate(where);
    const isOne = ({ row }) => holds(row) && !(after && comparing(row, place(after)) <= 0) && !(until && comparing(row, place(until)) > 0);
    return [...this.rows.values()].filter(isOne).sort((a, b) => comparing(a.row, b.row)).slice(0, limit);
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

/**
 * @typedef {{id: string, mode: "pages" | "catch-up" | "live", after: number, from: number, wasLive?: boolean, query: any, window?: Map<number, number>,
 *   holds: (row: any) => boolean}} Subscription `window`: the seqs of the rows that the client has of one with a limit
 */

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

  /** @param {readonly any[]} changes of a transaction that was just committed */
  changed(changes) {
    const live = [...this.subscriptions.values()].filter(({ mode }) => mode === "live");
    for (const { old: _, ...change } of changes.flatMap((change) => this.#judged(live.filter(({ window }) => !window), change))) {
      this.#line.push({ channel: `sync:Todo:${change.model.id}`, ...change });
    }
    for (const subscription of live) if (subscription.window) this.#window(subscription, changes);
  }

  /** What is told of a change: the row if any shows it, else that it is gone if any did. @returns {any[]} */
  #judged(subscriptions, { old, ...change }) {
    const isIn = change.method !== "delete" && subscriptions.some(({ holds }) => holds(change.model));
    const wasIn = old !== undefined && subscriptions.some(({ holds }) => holds(old));
    if (isIn) return [{ ...change, method: change.method === "create" ? "create" : "update" }];
    if (!wasIn) return [];
    return [{ method: change.method === "delete" ? "delete" : "remove", modelname: "Todo", model: { id: change.model.id }, seq: change.seq }];
  }

  /** Tells a window what has become of it; what moves up may come later. */
  #window(subscription, changes = []) {
    const { id: query, window } = subscription;
    const { seq } = this.#server;
    const rows = this.#server.select(subscription.query);
    const isLate = changes.length > 0 && this.#server.isLate();
    const here = rows.filter(({ row, seq }) => !isLate || window.has(row.id) || changes.some(({ model }) => model.id === row.id));
    const out = [...window.keys()].filter((id) => !rows.some(({ row }) => row.id === id));
    const changed = here.filter(({ row, seq }) => window.get(row.id) !== seq);
    if (out.length === 0 && changed.length === 0) return;
    for (const id of out) window.delete(id);
    for (const { row, seq } of changed) window.set(row.id, seq);
    const cids = changed.map(({ row }) => changes.find(({ model, cid }) => cid && model.id === row.id)?.cid ?? null);
    const message = { method: "window", channel: "sync:Todo", modelname: "Todo", query, in: changed.map(({ row }) => row), seqs: changed.map(({ seq }) => seq), out, seq };
    this.#line.push(cids.some((cid) => cid) ? { ...message, cids } : message);
  }

  flush() {
    if (this.#line.length > 0) this.#peer.send(this.#line.splice(0));
  }

  progress() {
    const behind = [...this.subscriptions.values()].some(({ mode, wasLive }) => mode === "catch-up" || (wasLive && mode !== "live"));
    if (!behind) this.#peer.send([{ method: "progress", seq: this.#server.seq }]);
  }

  /** A live subscription that was too slow. */
  lag() {
    for (const subscription of this.subscriptions.values()) {
      if (subscription.mode !== "live") continue;
      Object.assign(subscription, { mode: subscription.window ? "pages" : "catch-up", from: this.#server.seq, after: 0 });
      const { id, window } = subscription;
      this.#line.push(window ? { method: "reset", id, reason: "window" } : { method: "behind", id });
    }
  }

  /** Goes one step further with what is not live yet. */
  step(atMost = Infinity) {
    for (const subscription of this.subscriptions.values()) {
      if (subscription.mode !== "live") this.#step(subscription, atMost);
      else if (subscription.window) this.#window(subscription);
    }
    this.flush();
  }

  #step(subscription, atMost) {
    const { id, after, from } = subscription;
    const { log, seq, pageSize, epoch } = this.#server;
    if (subscription.mode === "pages") {
      const { window } = subscription;
      // What is ordered comes at once, the rest by id.
      const all = this.#server.select(subscription.query);
      const rest = window ? all : all.filter(({ row }) => row.id > after).sort((a, b) => a.row.id - b.row.id);
      const page = window ? rest : rest.slice(0, pageSize);
      subscription.after = page.at(-1)?.row.id ?? after;
      const more = rest.length > page.length;
      const [models, seqs] = [page.map(({ row }) => row), page.map(({ seq }) => seq)];
      this.#line.push({ method: "read", channel: "sync:Todo", modelname: "Todo", id, models, seqs, seq, more });
      if (window) {
        subscription.window = new Map(page.map(({ row, seq }) => [row.id, seq]));
        this.#live(subscription, undefined);
      } else if (!more) subscription.mode = "catch-up";
      return;
    }
    const entries = log.filter((change) => change.seq > from);
    const last = entries[atMost - 1]?.seq ?? entries.at(-1)?.seq ?? from;
    const changes = entries.filter(({ seq }) => seq <= last).flatMap((change) => this.#judged([subscription], change));
    subscription.from = last;
    if (changes.length > 0) this.#line.push({ method: "changes", id, seq: subscription.from, changes });
    if (subscription.from >= seq) this.#live(subscription, `${epoch}:${seq}`);
  }

  #live(subscription, cursor) {
    Object.assign(subscription, { mode: "live", wasLive: true });
    this.#line.push({ method: "live", channel: "sync:Todo", modelname: "Todo", id: subscription.id, seq: this.#server.seq, cursor });
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
      case "action":
      case "batch":
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
    const { indexed } = this.#server;
    const can = indexed ? { features: ["where", "order", "window", "action", "batch"], indexed: { Todo: indexed } } : { features: [] };
    this.#line.push({ method: "welcome", epoch, last: client.last, outcomes, schema: {}, ...can, limits, heartbeat_ms: 25000 });
  }

  #acknowledge(ack) {
    const client = this.#client;
    assert.ok(client && ack <= client.last, "an ack of what was decided");
    for (const id of [...client.outcomes.keys()]) if (id <= ack) client.outcomes.delete(id);
  }

  #subscribe({ method: _method, id, modelname, since, since_seq: came = 0, ack: _ack, ...query }) {
    assert.equal(this.subscriptions.has(id), false, "a new id");
    if (modelname !== "Todo") {
      this.#line.push({ method: "error", id, request: "subscribe", modelname, code: "unknown_model", message: "", retry: false });
      return;
    }
    const { epoch, seq, horizon } = this.#server;
    const { where = {}, order = [], limit, after, until, ...rest } = query;
    assert.deepEqual(rest, {}, "no other fields");
    const usable = ["id", ...(this.#server.indexed ?? [])];
    const fields = JSON.stringify(where).match(/"(id|title|completed|parent|list)":/g) ?? [];
    for (const name of [...fields.map((text) => text.slice(1, -2)), ...order.map((name) => name.replace(/^-/, ""))]) assert.ok(usable.includes(name), `${name} is indexed`);
    if (Object.keys(query).length > 0) assert.ok(this.#server.indexed, "not asked of a server that cannot");
    assert.ok(limit === undefined || (Number.isInteger(limit) && limit >= 1 && limit <= 1000));
    for (const place of [after, until]) assert.ok(place === undefined || place.length === order.length + 1, "a place in the order");
    const { select } = this.#server;
    const holds = (row) => select.call({ rows: new Map([[row.id, { row }]]) }, { where, order, after, until }).length > 0;
    const subscription = { id, after: 0, query, holds, window: limit === undefined ? undefined : new Map() };
    const [ofEpoch, at] = (since ?? "").split(":").map(Number);
    const from = Math.max(at, came);
    const reason = since === undefined || (ofEpoch === epoch && from >= horizon) ? undefined : ofEpoch === epoch ? "horizon" : "epoch";
    if (reason) this.#line.push({ method: "reset", id, reason });
    if (since === undefined || reason) this.subscriptions.set(id, { ...subscription, mode: "pages", from: seq });
    else this.subscriptions.set(id, { ...subscription, mode: "catch-up", from });
  }

  /** What was sent with ids for the cids in it that are known. */
  #resolve(model = {}) {
    const outcomes = [...this.#client.outcomes.values()].filter(({ method }) => method === "confirm").flatMap((outcome) => outcome.results ?? [outcome]);
    const id = (value) => outcomes.find(({ cid }) => cid && cid === value.$cid)?.model.id ?? value;
    return Object.fromEntries(Object.entries(model).map(([name, value]) => [name, value?.$cid ? id(value) : value]));
  }

  #mutate(message) {
    const { id, ack: _ack, method, modelname, cid, ...rest } = message;
    const client = this.#client;
    assert.ok(client, "a mutation after the welcome");
    const content = JSON.stringify([method, modelname, cid, rest]);
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
    const isBatch = method === "batch";
    const requests = (isBatch ? message.requests : [message]).map((request) => ({ ...request, model: this.#resolve(request.model), args: this.#resolve(request.args) }));
    for (const request of isBatch ? message.requests : []) assert.ok(!("id" in request) && !("ack" in request), "requests have no id of their own");
    const unsure = this.#server.fail(message) !== undefined;
    this.#server.isUnsure = unsure;
    const result = this.#server.transact(requests, this);
    this.#server.isUnsure = false;
    // On a connection a confirm comes after the changes up to its seq.
    for (const subscription of this.subscriptions.values()) {
      while (subscription.mode === "catch-up" || (subscription.wasLive && subscription.mode !== "live")) this.#step(subscription, Infinity);
    }
    let outcome;
    if ("code" in result) {
      const { index, ...fault } = result;
      outcome = { method: "error", id, request: method, modelname, cid, retry: false, ...fault, ...(isBatch ? { index } : {}) };
    } else if (isBatch) outcome = { method: "confirm", id, results: result.results, seq: result.seq };
    else outcome = { method: "confirm", channel: `sync:Todo:${cid ?? ""}`, id, cid, ...result.results[0], seq: result.seq };
    client.last = id;
    client.outcomes.set(id, outcome);
    if (!unsure) return void this.#line.push(outcome);
    client.failing = id;
    error({ code: "unavailable", message: "the store did not answer", retry: true });
  }
}
