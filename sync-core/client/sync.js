/**
 * Keeps the rows of models as the server confirms them, and sends it what is to be written.
 *
 * ```js
 * import { connect } from "/sync/client.js";
 *
 * const db = connect();
 * const todos = db.model("Todo").subscribe(({ rows }) => console.log([...rows.values()]));
 * await db.model("Todo").create({ title: "milk" });
 * ```
 *
 * Nothing that was handed in is dropped while the page lives: it is sent when there is a line, and again on the next
 * one until the server has decided it, which it does once.
 * @module
 */

import { Line, backoff } from "./line.js";
import { Model, Subscription, randomHex } from "./model.js";
import { Mutations, SyncError } from "./mutations.js";
import { Rows } from "./rows.js";

export { Model, Subscription, SyncError };

/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./model.js").Collection} Collection */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {{url?: string | URL} & Partial<Environment>} Options */

/**
 * Connects to a server, by default to `/sync` where the page came from, and stays connected.
 * @param {Options} [options]
 */
export function connect(options) {
  return new Database(options);
}

export class Database {
  #environment;
  #line;
  #mutations;
  #client;
  /** Whether the server has ever welcomed this client. */
  #welcomed = false;
  /** @type {string | undefined} */
  #epoch;
  /** @type {Map<string, Collection>} */
  #collections = new Map();
  #subscriptions = 0;
  /** @type {Set<(status: Status) => void>} */
  #listeners = new Set();

  /** @param {Options} [options] */
  constructor({ url = "/sync", ...environment } = {}) {
    this.#environment = { ...surroundings(), ...environment };
    this.#client = uuid();
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.#line = new Line(address.href, this.#environment, {
      opened: () => this.#hello(),
      received: (text) => this.#receive(text),
      status: (status) => this.#became(status),
    });
    this.#mutations = new Mutations(this.#environment, (message) => this.#line.send(message));
    this.#line.open();
  }

  /** @returns {Status} */
  get status() {
    return this.#line.status;
  }

  /**
   * @param {(status: Status) => void} listener called whenever the status has changed
   * @returns {() => void} ends it
   */
  onstatus(listener) {
    const call = (/** @type {Status} */ status) => listener(status);
    this.#listeners.add(call);
    return () => void this.#listeners.delete(call);
  }

  /**
   * @template {Row} [T=Row]
   * @param {string} name
   * @param {{id?: string}} [options] `id`: the field that is the rows' id, where it is another than `id`
   * @returns {Model<T>}
   */
  model(name, { id = "id" } = {}) {
    return new Model(
      name,
      id,
      (method, model, cid) => this.#mutate(method, name, model, cid),
      (listener) => this.#subscribe(name, id, listener),
    );
  }

  /** Ends the connection for good. What was not sent by now never will be, and is rejected. */
  close() {
    this.#line.close();
  }

  /**
   * @param {string} method
   * @param {string} modelname
   * @param {object} model
   * @param {string} [cid]
   */
  async #mutate(method, modelname, model, cid) {
    if (this.status === "closed") throw new SyncError({ code: "closed", message: "the connection was closed" });
    return this.#mutations.add(method, modelname, model, cid);
  }

  /**
   * @param {string} name
   * @param {string} idName
   * @param {((subscription: Subscription<any>) => void) | undefined} listener
   */
  #subscribe(name, idName, listener) {
    let collection = this.#collections.get(name);
    if (!collection) {
      collection = { id: this.#nextId(), rows: new Rows(idName), subscriptions: new Set() };
      this.#collections.set(name, collection);
      if (this.status === "online") this.#ask(name, collection);
    }
    const { subscriptions } = collection;
    const subscription = new Subscription(collection, listener, () => {
      if (subscriptions.delete(subscription) && subscriptions.size === 0) this.#unsubscribe(name);
    });
    subscriptions.add(subscription);
    return subscription;
  }

  /** @param {string} name */
  #unsubscribe(name) {
    const collection = this.#collections.get(name);
    if (!collection) return;
    this.#collections.delete(name);
    this.#environment.clearTimeout(collection.retry);
    collection.rows.stale();
    if (this.status === "online") this.#line.send({ method: "unsubscribe", id: collection.id });
    this.#settle();
  }

  #nextId() {
    this.#subscriptions += 1;
    return `s${this.#subscriptions}`;
  }

  /**
   * @param {string} modelname
   * @param {Collection} collection
   */
  #ask(modelname, { id, rows }) {
    rows.begin();
    const since = rows.cursor;
    this.#line.send({ method: "subscribe", id, modelname, since, since_seq: since && rows.reached });
  }

  #hello() {
    const ack = this.#welcomed ? this.#mutations.ack : undefined;
    this.#line.send({ method: "hello", client: this.#client, ack });
  }

  /** The server knows less of this client than it should: it gets another name. */
  #renew() {
    // Only a client that was welcomed can be forgotten; a server that says so of a new one is not hurried.
    const hurry = this.#welcomed;
    this.#client = uuid();
    this.#welcomed = false;
    this.#mutations.renew();
    this.#line.lost();
    if (hurry) this.#line.open();
  }

  /** @param {Status} status */
  #became(status) {
    if (status === "offline" || status === "closed") {
      this.#mutations.lost();
      for (const { rows, retry } of this.#collections.values()) {
        this.#environment.clearTimeout(retry);
        rows.stale();
      }
      this.#notify();
    }
    if (status === "closed") this.#mutations.close();
    for (const listener of [...this.#listeners]) guarded(() => listener(status));
  }

  /** @param {string} text */
  #receive(text) {
    const client = this.#client;
    try {
      const frame = JSON.parse(text);
      for (const message of Array.isArray(frame) ? frame : [frame]) {
        this.#apply(message);
        if (this.#client !== client || this.status === "closed") break;
      }
    } catch (error) {
      // Whatever was wrong with it, what it brought may be missing from now on: begin again from the cursor.
      this.#line.lost();
      throw error;
    }
    this.#notify();
    this.#settle();
  }

  /** @param {Message} message */
  #apply(message) {
    switch (message.method) {
      case "welcome":
        return this.#welcome(message);
      case "create":
      case "update":
      case "delete":
      case "remove":
        return this.#collections.get(message.modelname)?.rows.change(/** @type {any} */ (message));
      case "read":
        return this.#asked(message.id)?.rows.page(message.models, message.seqs);
      case "changes":
        return this.#asked(message.id)?.rows.catchUp(message.changes);
      case "reset":
        return this.#asked(message.id)?.rows.reset();
      case "live": {
        const collection = this.#asked(message.id);
        if (!collection) return;
        collection.error = undefined;
        return collection.rows.live(message.seq, message.cursor);
      }
      case "progress":
        for (const { rows } of this.#collections.values()) rows.progress(message.seq);
        return;
      case "confirm":
        return this.#mutations.decide(message);
      case "error":
        return this.#error(message);
    }
  }

  /** @param {Message} message */
  #welcome(message) {
    if (this.#epoch !== message.epoch) {
      this.#epoch = message.epoch;
      this.#mutations.forgetSeqs();
      for (const { rows } of this.#collections.values()) rows.forget();
    }
    this.#welcomed = true;
    if (!this.#mutations.welcome(message)) return this.#renew();
    for (const [name, collection] of this.#collections) this.#ask(name, collection);
    this.#line.welcomed(message.heartbeat_ms);
  }

  /** @param {Message} message */
  #error(message) {
    if (message.code === "client_unknown" || message.code === "id_gap") return this.#renew();
    const collection = this.#asked(message.id);
    if (!collection) {
      if (message.id === undefined) console.error(`sync: ${message.code}: ${message.message}`);
      return this.#mutations.decide(message);
    }
    collection.rows.stale();
    if (message.retry) {
      const delay = message.retry_after_ms ?? backoff(0, this.#environment.random);
      collection.retry = this.#environment.setTimeout(() => this.#ask(message.modelname, collection), delay);
    } else {
      collection.error = new SyncError(/** @type {any} */ (message));
      collection.rows.changed = true;
    }
  }

  /** @param {unknown} id */
  #asked(id) {
    for (const collection of this.#collections.values()) if (collection.id === id) return collection;
  }

  /** Tells the listeners of the rows what has changed. */
  #notify() {
    for (const { rows, subscriptions } of [...this.#collections.values()]) {
      if (!rows.changed) continue;
      rows.changed = false;
      for (const subscription of [...subscriptions]) guarded(() => subscription.changed());
    }
  }

  /** Ends the mutations that the rows show by now; where nobody looks at the rows, all that are confirmed. */
  #settle() {
    this.#mutations.settle((modelname, seq) => {
      const collection = this.#collections.get(modelname);
      if (!collection || collection.error) return true;
      return collection.rows.status === "live" && collection.rows.reached >= seq;
    });
  }
}

/** @returns {Environment} */
function surroundings() {
  return {
    WebSocket: globalThis.WebSocket,
    setTimeout: (run, milliseconds) => globalThis.setTimeout(run, milliseconds),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    random: Math.random,
    window: globalThis.window,
    document: globalThis.document,
  };
}

/** A listener's mistake is reported as any other and stops nothing here. @param {() => void} run */
function guarded(run) {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** `crypto.randomUUID` exists on secure origins only. */
function uuid() {
  const hex = randomHex(16).split("");
  hex[12] = "4";
  hex[16] = "89ab"[Number.parseInt(hex[16], 16) % 4];
  return hex.join("").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
