/**
 * Keeps the rows of models in sync with the server, shows what is written here at once, and sends it when there is a line.
 *
 * ```js
 * import { connect } from "/sync/client.js";
 *
 * const db = connect();
 * const todos = db.model("Todo");
 * todos.query({ order: "title" }).subscribe(({ rows }) => console.log(rows));
 * await todos.create({ title: "milk" });
 * ```
 *
 * What a query shows is the rows as the server has confirmed them with the writes of this page replayed on top. Nothing that was
 * handed in is dropped while the page lives, and with `storage` not after it either: it is sent when there is a line, and again on
 * the next one until the server has decided it, which it does once.
 * @module
 */

import { Collection } from "./collection.js";
import { SyncError } from "./error.js";
import { backoff } from "./line.js";
import { Model } from "./model.js";
import { Names, newName } from "./names.js";
import { Query, guarded } from "./query.js";
import { Session } from "./session.js";
import { replay } from "./view.js";

export { Model, Query, SyncError };

/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./session.js").Token} Token */
/** @typedef {import("./model.js").ModelTypes} ModelTypes */
/** @typedef {import("./model.js").AnyModel} AnyModel */
/** @typedef {import("./model.js").Cid} Cid */
/** @typedef {{[modelname: string]: AnyModel}} AnyModels */

/**
 * @typedef {object} Options
 * @property {string | URL} [url] of the server's socket: by default `/sync` where the page came from
 * @property {Token} [token] says who is at the page: text, or a function that is asked before each connection, so that it can fetch a
 *   new one when the last has expired
 * @property {"memory" | "indexeddb" | `indexeddb:${string}`} [storage] where the rows and what is not sent yet are kept: `memory` (the
 *   default) forgets them with the page; `indexeddb` keeps them over a reload, a crash and a day without a network. What is kept can be read by whoever
 *   uses this browser: with several users give each a name of their own, `indexeddb:alice`
 * @property {Readonly<Record<string, string>>} [schema] the `schema` of the server's `models.js` that this program was built with; by
 *   default what the server says first
 */

/**
 * A write that was refused, for those who do not hold its promise: it may have been made on an earlier page.
 * @typedef {{modelname: string, method: string, model: any, error: SyncError}} Rejection
 */

/**
 * Connects to a server, by default to `/sync` where the page came from, and stays connected.
 *
 * ```js
 * const db = connect({ storage: "indexeddb" });
 * ```
 * With the types that the server emits (`/sync/models.d.ts`) every call is checked: `connect<Models>()`.
 * @template {{[M in keyof S]: ModelTypes}} [S=AnyModels]
 * @param {Options & Partial<Environment>} [options]
 * @returns {Database<S>}
 */
export function connect(options) {
  return new Database(options);
}

/** @template {{[M in keyof S]: ModelTypes}} [S=AnyModels] */
export class Database {
  #environment;
  #url;
  #token;
  #schema;
  #session;
  #names = new Names();
  /** @type {Map<string, Model<any>>} */
  #models = new Map();
  /** @type {Map<string, Collection>} */
  #collections = new Map();
  /** Single rows that were asked for. @type {Map<string, {ask: () => void, done: (message: Message) => void}>} */
  #reads = new Map();
  #requests = 0;
  /** @type {Set<(status: Status) => void>} */
  #statusListeners = new Set();
  /** @type {Set<(pending: number) => void>} */
  #pendingListeners = new Set();
  /** @type {Set<(rejection: Rejection) => void>} */
  #rejectionListeners = new Set();
  #pending = 0;
  #wasPending = 0;
  #isNotifying = false;
  /** @type {import("./storage.js").Keeper | undefined} */
  #keeper;
  /** Settles when what was stored has been taken over. @type {Promise<void> | undefined} */
  #opening;

  /** @param {Options & Partial<Environment>} [options] */
  constructor({ url = "/sync", token, storage = "memory", schema, ...environment } = {}) {
    if (!/^(memory|indexeddb(:.+)?)$/.test(storage)) throw new TypeError(`storage: \`${storage}\`; there are memory, indexeddb, indexeddb:NAME`);
    this.#environment = { ...surroundings(), ...environment };
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.#url = address.href;
    this.#token = token;
    this.#schema = schema;
    this.#session = this.#begin({
      welcomed: (welcome) => this.#welcomed(welcome),
      message: (message) => this.#apply(message),
      applied: () => this.#settle(),
      status: (status) => this.#became(status),
      added: (mutation) => this.#added(mutation),
      confirmed: (mutation) => this.#confirmed(mutation),
      ended: (mutation, error) => this.#ended(mutation, error),
    });
    if (storage === "memory") this.#session.open();
    else {
      const opening = this.#open(storage).catch((error) => this.#unkept(error));
      this.#opening = opening.then(() => {
        if (this.reason) this.#keeper?.close();
        else this.#session.open();
        this.#settle();
      });
    }
  }

  /** `connecting`, `online`, `offline` (it tries again), or `closed` for good. @returns {Status} */
  get status() {
    return this.#session.status;
  }

  /** Why the status is `closed`. */
  get reason() {
    return this.#session.reason;
  }

  /** Where rows and unsent writes are kept: `memory` also where the storage that was asked for cannot be had, or has failed. @type {"memory" | "indexeddb"} */
  get storage() {
    return this.#keeper?.isBroken === false ? "indexeddb" : "memory";
  }

  /** How many writes the queries here do not show as confirmed yet. */
  get pending() {
    return this.#pending;
  }

  /**
   * ```js
   * db.onstatus((status) => (banner.hidden = status === "online"));
   * ```
   * @param {(status: Status) => void} listener called whenever the status has changed
   * @returns {() => void} ends it
   */
  onstatus(listener) {
    return listen(this.#statusListeners, listener);
  }

  /**
   * ```js
   * db.onpending((pending) => (badge.textContent = pending ? `${pending} to be saved` : ""));
   * ```
   * @param {(pending: number) => void} listener called whenever `pending` has changed
   * @returns {() => void} ends it
   */
  onpending(listener) {
    return listen(this.#pendingListeners, listener);
  }

  /**
   * ```js
   * db.onrejected(({ modelname, model, error }) => toast(`${modelname}: ${error.message}`));
   * ```
   * @param {(rejection: Rejection) => void} listener called for every write that is rejected, also one of an earlier page. With one, promises of
   *   writes that nobody waits for are no unhandled rejections
   * @returns {() => void} ends it
   */
  onrejected(listener) {
    return listen(this.#rejectionListeners, listener);
  }

  /**
   * ```js
   * const todos = db.model("Todo");
   * const tags = db.model("Tag", { id: "slug" });
   * ```
   * @template {keyof S & string} M
   * @param {M} name
   * @param {{id?: string}} [options] `id`: the field that is the rows' id, where it is another than `id`
   * @returns {Model<S[M]>} the same one for the same name
   */
  model(name, { id = "id" } = {}) {
    let model = this.#models.get(name);
    if (!model) {
      const collection = () => this.#collection(name, id);
      const view = () => this.#collections.get(name)?.view;
      model = new Model(name, id, {
        create: (row, options) => this.#create(name, id, row, options),
        write: (method, row, options) => this.#write({ method, modelname: name, idName: id, key: row?.[id], model: row, ...options }),
        row: (key) => this.#shown(name, key),
        get: (key) => this.#get(name, id, key),
        key: (key) => view()?.keyOf(key) ?? key,
        id: (key) => this.#names.idOf(key),
        pending: (key) => view()?.pending(key) ?? 0,
        seq: (key) => this.#collections.get(name)?.rows.seqOf(this.#names.idOf(key)),
        collection,
      });
      this.#models.set(name, model);
    }
    if (model.idName !== id) throw new TypeError(`model ${name}: its id was said to be \`${model.idName}\``);
    return model;
  }

  /**
   * Ends the connection for good. What was not sent by now is rejected with `closed`; where there is a storage, it is kept there
   * for the next page.
   *
   * ```js
   * signOut.onclick = () => db.close();
   * ```
   */
  close() {
    this.#session.close(new SyncError({ code: "closed", message: "the connection was closed" }));
  }

  /** @param {Omit<import("./session.js").Handlers & Pick<import("./mutations.js").Handlers, "added" | "confirmed" | "ended">, "schema">} handlers */
  #begin(handlers) {
    return new Session(this.#url, this.#environment, this.#token, this.#names, { ...handlers, schema: () => this.#madeFor() });
  }

  /** What this page was made for, of the models that it uses. */
  #madeFor() {
    if (!this.#schema) return;
    return Object.fromEntries(Object.entries(this.#schema).filter(([name]) => this.#models.has(name)));
  }

  // Writes.

  /**
   * @param {string} modelname
   * @param {string} idName
   * @param {any} model
   * @param {import("./model.js").WriteOptions} [options]
   */
  #create(modelname, idName, model, options) {
    const name = newName();
    const key = model?.[idName] ?? name;
    return { key, promise: this.#write({ method: "create", modelname, idName, key, name, model, ...options }) };
  }

  /** @param {Parameters<import("./mutations.js").Mutations["add"]>[0]} content */
  #write(content) {
    const { reason } = this;
    const promise = reason ? Promise.reject(new SyncError({ code: "closed", message: reason.message })) : this.#session.mutations.add(content);
    if (this.#rejectionListeners.size > 0) promise.catch(() => {});
    return promise;
  }

  /** @param {Mutation} mutation */
  #added(mutation) {
    this.#pending += 1;
    if (!mutation.wait) this.#collections.get(mutation.modelname)?.view.add(mutation);
    this.#soon();
  }

  /** @param {Mutation} mutation */
  #confirmed({ modelname, name, key }) {
    if (name && key === name) this.#named(modelname, name);
  }

  /** A row that was created here has its id. @param {string} modelname @param {string} name */
  #named(modelname, name) {
    const id = this.#names.idOf(name);
    if (id === undefined) return;
    this.#collections.get(modelname)?.view.settle(name, id);
    // Pending rows may name it in their fields.
    for (const mutation of this.#session.mutations.naming(name)) this.#collections.get(mutation.modelname)?.view.touchPending(mutation);
  }

  /** @param {Mutation} mutation @param {Error} [error] */
  #ended(mutation, error) {
    this.#pending -= 1;
    this.#collections.get(mutation.modelname)?.view.remove(mutation);
    this.#rejected(mutation, error);
    this.#soon();
    const { isPartial, modelname, idName, row } = mutation;
    if (isPartial && row && mutation.resolve) mutation.row = this.#get(modelname, idName, row[idName]).catch(() => row);
  }

  /** @param {Mutation} mutation @param {Error} [error] */
  #rejected({ modelname, method, model }, error) {
    if (!(error instanceof SyncError)) return;
    const rejection = { modelname, method, model: this.#names.shown(model), error };
    for (const listener of [...this.#rejectionListeners]) guarded(() => listener(rejection));
  }

  /** Ends the mutations that the rows show by now; where nobody looks at the rows, all that are confirmed. */
  #settle() {
    for (const collection of this.#collections.values()) collection.settle();
    this.#session.mutations.settle(({ modelname, seq = 0 }) => {
      const collection = this.#collections.get(modelname);
      if (!collection?.isHeld || collection.error) return true;
      return collection.rows.epoch === this.#session.epoch && collection.rows.reached >= seq;
    });
    this.#notify();
  }

  // Rows.

  /** @param {string} name @param {string} idName */
  #collection(name, idName) {
    let collection = this.#collections.get(name);
    if (!collection) {
      const added = (collection = new Collection(name, idName, this.#names, {
        environment: this.#environment,
        ask: () => this.#ask(added),
        leave: () => this.#leave(added),
        touched: () => this.#soon(),
        isStored: this.#opening !== undefined,
      }));
      for (const mutation of this.#shownPending(name)) added.view.add(mutation);
      if (this.#opening) added.restored = this.#opening.then(() => this.#keeper?.restore(added, (created) => this.#created(created))).catch((error) => this.#unkept(error));
      this.#collections.set(name, added);
      if (this.reason) added.end();
    }
    return collection;
  }

  /** What is pending and shown on top of a model's rows. @param {string} name */
  #shownPending(name) {
    return this.#session.mutations.pending.filter(({ modelname, wait }) => modelname === name && !wait);
  }

  /** While a welcome is read the status is not `online` yet. */
  #isWelcome = false;

  /** @param {Collection} collection */
  async #ask(collection) {
    this.#environment.clearTimeout(collection.retry);
    if (collection.restored) await collection.restored;
    collection.restored = undefined;
    if (this.status !== "online" && !this.#isWelcome) return;
    if (!collection.isHeld || collection.id !== undefined) return;
    const { name, rows } = collection;
    collection.id = this.#request("s");
    rows.begin(this.#session.epoch);
    const since = rows.cursor;
    this.#session.send({ method: "subscribe", id: collection.id, modelname: name, since, since_seq: since && rows.reached });
  }

  /** @param {Collection} collection */
  #leave(collection) {
    const { id } = collection;
    if (id !== undefined && this.status === "online") this.#session.send({ method: "unsubscribe", id });
    collection.left();
    this.#settle();
  }

  /** @param {"s" | "r"} kind */
  #request(kind) {
    this.#requests += 1;
    return `${kind}${this.#requests}`;
  }

  /** @param {string} name @param {Id} key */
  #shown(name, key) {
    const collection = this.#collections.get(name);
    collection?.flush();
    return collection?.view.shown.get(collection.view.keyOf(key));
  }

  /** @param {string} modelname @param {string} idName @param {Id} id */
  async #get(modelname, idName, id) {
    const collection = this.#collections.get(modelname);
    if (collection?.restored) await collection.restored;
    if (collection && collection.rows.status !== "loading" && collection.isHeld) return this.#shown(modelname, id);
    const read = this.#request("r");
    const ask = () => this.#session.send({ method: "read", id: read, modelname, model: this.#names.wire({ [idName]: id }) });
    const answer = await new Promise((resolve, reject) => {
      if (this.reason) return reject(new SyncError({ code: "closed", message: this.reason.message }));
      this.#reads.set(read, { ask, done: (answer) => (answer instanceof SyncError ? reject(answer) : resolve(answer)) });
      if (this.status === "online") ask();
    });
    const pending = this.#shownPending(modelname).filter(({ key }) => this.#names.shown(key) === this.#names.shown(id));
    return replay(answer.model, pending, this.#names, idName);
  }

  // What the server says.

  /** @param {Message} welcome */
  #welcomed({ schema }) {
    this.#schema ??= schema;
    this.#keeper?.identify();
    this.#isWelcome = true;
    for (const collection of this.#collections.values()) this.#ask(collection);
    for (const { ask } of this.#reads.values()) ask();
    this.#isWelcome = false;
  }

  /** @param {Status} status */
  #became(status) {
    for (const collection of this.#collections.values()) {
      if (status === "offline") collection.left();
      else if (status === "closed") collection.end();
    }
    if (status === "closed") for (const { done } of this.#reads.values()) done(/** @type {any} */ (this.reason));
    for (const listener of [...this.#statusListeners]) guarded(() => listener(status));
    this.#notify();
    if (status === "closed") this.#keeper?.close();
  }

  /** @param {Message} message */
  #apply(message) {
    switch (message.method) {
      case "create":
        this.#created([message]);
      // falls through
      case "update":
      case "delete":
      case "remove":
        return this.#collections.get(message.modelname)?.rows.change(/** @type {any} */ (message));
      case "read":
        if (this.#reads.has(message.id)) return this.#answered(message);
        return this.#asked(message.id)?.rows.page(message.models, message.seqs);
      case "changes":
        this.#created(message.changes);
        return this.#asked(message.id)?.rows.catchUp(message.changes);
      case "reset":
        return this.#asked(message.id)?.rows.reset();
      case "live": {
        const collection = this.#asked(message.id);
        collection?.failed(undefined);
        return collection?.live(message.seq, message.cursor, this.#session.mutations.undecided(collection.name));
      }
      case "progress":
        for (const { rows } of this.#collections.values()) rows.progress(message.seq);
        return;
      case "error":
        return this.#error(message);
    }
  }

  /** A row that was created here may be heard of before its confirm. @param {readonly Message[]} messages */
  #created(messages) {
    for (const { modelname, cid, model } of messages) {
      const name = this.#names.of(cid);
      // Others hear the cid too: what they create under it later is not this row. Nor is a row called by its name that has an id of its own.
      if (name === undefined || this.#names.idOf(name) !== undefined) continue;
      this.#names.settle(name, model[this.#models.get(modelname)?.idName ?? "id"]);
      this.#session.mutations.heard(name, model);
      this.#named(modelname, name);
    }
  }

  /** @param {Message} message */
  #answered(message) {
    const read = this.#reads.get(message.id);
    this.#reads.delete(message.id);
    read?.done(message);
  }

  /** @param {Message} message */
  #error(message) {
    const error = new SyncError(/** @type {any} */ (message));
    const collection = this.#asked(message.id);
    const read = this.#reads.get(message.id);
    if (read && !message.retry) {
      this.#reads.delete(message.id);
      return read.done(message.code === "not_found" ? { method: "read" } : /** @type {any} */ (error));
    }
    if (!collection && !read) return console.error(`sync: ${message.code}: ${message.message}`);
    const delay = message.retry_after_ms ?? backoff(0, this.#environment.random);
    if (read) return void this.#environment.setTimeout(() => this.status === "online" && read.ask(), delay);
    if (!collection) return;
    if (!message.retry) {
      collection.rows.stale();
      return collection.failed(error);
    }
    collection.left();
    collection.retry = this.#environment.setTimeout(() => this.#ask(collection), delay);
  }

  /** @param {unknown} id */
  #asked(id) {
    for (const collection of this.#collections.values()) if (collection.id !== undefined && collection.id === id) return collection;
  }

  // Listeners.

  /** What is done here one after the other is told at once. */
  #soon() {
    if (this.#isNotifying) return;
    this.#isNotifying = true;
    queueMicrotask(() => this.#notify());
  }

  /** Tells the listeners what has changed. */
  #notify() {
    this.#isNotifying = true;
    for (const collection of this.#collections.values()) collection.flush();
    this.#isNotifying = false;
    for (const { queries } of [...this.#collections.values()]) for (const query of [...queries]) query.notify();
    if (this.#pending !== this.#wasPending) {
      this.#wasPending = this.#pending;
      for (const listener of [...this.#pendingListeners]) guarded(() => listener(this.#pending));
    }
    this.#keeper?.rows(this.#collections.values());
  }

  // Storage.

  /** @param {string} storage */
  async #open(storage) {
    const { open } = await import("./storage.js");
    const name = storage.slice("indexeddb:".length) || this.#url;
    const silent = { welcomed() {}, message() {}, applied() {}, status() {}, added() {}, confirmed() {} };
    this.#keeper = await open(name, this.#environment, this.#session, (handlers) =>
      this.#begin({ ...silent, ended: (mutation, error) => this.#rejected(mutation, error), ...handlers }),
    );
  }

  /** It goes on without. @param {unknown} error */
  #unkept(error) {
    console.warn("sync: what was stored cannot be had:", error);
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
    indexedDB: globalThis.indexedDB,
    locks: globalThis.navigator?.locks,
    BroadcastChannel: globalThis.BroadcastChannel,
  };
}

/**
 * @template T
 * @param {Set<(value: T) => void>} listeners
 * @param {(value: T) => void} listener
 * @returns {() => void}
 */
function listen(listeners, listener) {
  const call = (/** @type {T} */ value) => listener(value);
  listeners.add(call);
  return () => void listeners.delete(call);
}
