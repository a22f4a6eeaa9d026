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

import { SyncError } from "./error.js";
import { addressOf, backoff } from "./line.js";
import { Model } from "./model.js";
import { partsOf } from "./mutations.js";
import { Names } from "./names.js";
import { Query, guarded } from "./query.js";
import { Session } from "./session.js";
import { Table } from "./table.js";

export { Model, Query, SyncError };

/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./line.js").Address} Address */
/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./mutations.js").Part} Part */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./session.js").Token} Token */
/** @typedef {import("./model.js").ModelTypes} ModelTypes */
/** @typedef {import("./model.js").AnyModel} AnyModel */
/** @typedef {import("./model.js").Cid} Cid */
/** @typedef {{[modelname: string]: AnyModel}} AnyModels */

/**
 * @typedef {object} Options
 * @property {Address} [url] of the server's socket: by default `/sync` where the page came from. A function is asked before each connection, so
 *   that it can fetch a ticket; where it fails it is asked again after a while, and `db.error` says why
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
  /** @type {Map<string, Table>} */
  #tables = new Map();
  /** @type {WeakMap<Table, Model<any>>} */
  #models = new WeakMap();
  /** What the server, or that of the last time, can do. @type {import("./table.js").Abilities} */
  #abilities = {};
  /** What is written at once. @type {Part[] | undefined} */
  #batch;
  /** Who hears what is said to a request that is no subscription. @type {Map<unknown, (message: Message) => void>} */
  #answers = new Map();
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
  /** Settles when `narrow.js` is here, or cannot be had. @type {Promise<void> | undefined} */
  #narrowing;

  /** @param {Options & Partial<Environment>} [options] */
  constructor({ url = "/sync", token, storage = "memory", schema, ...environment } = {}) {
    if (!/^(memory|indexeddb(:.+)?)$/.test(storage)) throw new TypeError(`storage: \`${storage}\`; there are memory, indexeddb, indexeddb:NAME`);
    this.#environment = { ...surroundings(), ...environment };
    this.#url = typeof url === "function" ? url : addressOf(url);
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
      const opening = this.#open(storage).catch(unhad);
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

  /** Why there is no connection, where that is known: code `url` or `token`, when the function that was to give one failed. */
  get error() {
    return this.#session.error;
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
    const table = this.#table(name, id);
    if (table.idName !== id) throw new TypeError(`model ${name}: its id was said to be \`${table.idName}\``);
    let model = this.#models.get(table);
    if (!model) this.#models.set(table, (model = new Model(table, { write: (part) => this.#write(part), get: (table, id) => this.#get(table, id) })));
    return model;
  }

  /**
   * Writes several rows at once, of one model or of several: all of it is done, or nothing. What the function writes is shown at once, confirmed
   * together, and taken back together where any of it is refused; a row that it creates can be used in the rest of it.
   *
   * ```js
   * await db.batch(() => {
   *   const list = lists.create({ name: "home" });
   *   for (const title of ["milk", "tea"]) todos.create({ title, list: list.row.id });
   * });
   * ```
   * @param {() => void} write does so before it returns
   * @returns {Promise<any[]>} what each write comes to, in order; a `SyncError` says with its `index` which one was refused
   */
  batch(write) {
    if (this.#batch) throw new TypeError("batch: within another");
    /** @type {Part[]} */
    const parts = (this.#batch = []);
    try {
      write();
    } catch (error) {
      for (const { reject } of parts) reject?.(/** @type {Error} */ (error));
      throw error;
    } finally {
      this.#batch = undefined;
    }
    if (parts.length === 0) return Promise.resolve([]);
    return this.#write({ method: "batch", modelname: "", idName: "", key: "", model: undefined }, parts);
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
    return Object.fromEntries(Object.entries(this.#schema).filter(([name]) => this.#tables.has(name)));
  }

  // Writes.

  /** @param {Omit<Part, "n">} write @param {Part[]} [parts] */
  #write(write, parts) {
    const { reason } = this;
    const batch = this.#batch;
    const promise = new Promise((resolve, reject) => {
      if (reason) throw new SyncError({ code: "closed", message: reason.message });
      // A copy: what is sent again must be what was sent, whatever became of the caller's object.
      const model = parts ? undefined : this.#names.shown(JSON.parse(JSON.stringify(write.model)));
      const mutation = { ...write, model, key: this.#names.shown(write.key), n: 0, parts, resolve, reject };
      if (batch) batch.push(mutation);
      else this.#session.mutations.adopt([mutation]);
    });
    if (batch || this.#rejectionListeners.size > 0) promise.catch(() => {});
    return promise;
  }

  /** @param {Mutation} mutation */
  #added(mutation) {
    this.#pending += 1;
    this.#show(mutation);
    this.#soon();
  }

  /** What is pending is shown by all that have the model's rows, or could. @param {Mutation} mutation @param {Iterable<Collection>} [collections] */
  #show(mutation, collections) {
    for (const part of partsOf(mutation)) {
      if (part.wait || part.action) continue;
      for (const collection of collections ?? this.#of(part.modelname)) if (collection.table.name === part.modelname) collection.view.add(part);
    }
  }

  /** @param {Mutation} mutation */
  #confirmed(mutation) {
    for (const { modelname, name, key } of partsOf(mutation)) if (name && key === name) this.#named(modelname, name);
    const tells = (/** @type {Collection} */ { table, rows }) =>
      partsOf(mutation).every((part) => part.modelname !== table.name || part.action || rows.tells(/** @type {Id} */ (this.#names.idOf(part.key)), part.row, part.rowSeq ?? 0));
    mutation.told = new Set(this.#all().filter(tells));
  }

  /** A row that was created here has its id. @param {string} modelname @param {string} name */
  #named(modelname, name) {
    const id = this.#names.idOf(name);
    if (id === undefined) return;
    this.#tables.get(modelname)?.named(name, id);
    for (const part of this.#session.mutations.naming(name).flatMap(partsOf)) {
      // Pending rows may name it in their fields.
      for (const { view } of this.#of(part.modelname)) view.nudge(part.key);
    }
    this.#rebind(({ isLocal }) => isLocal);
  }

  /** @param {Mutation} mutation @param {Error} [error] */
  #ended(mutation, error) {
    this.#pending -= 1;
    this.#hide(mutation, () => true);
    this.#rejected(mutation, error);
    this.#soon();
    for (const part of partsOf(mutation)) {
      const { isPartial, modelname, idName, row } = part;
      if (isPartial && row && mutation.resolve) part.row = this.#get(this.#table(modelname, idName), row[idName]).catch(() => row);
    }
  }

  /** @param {Mutation} mutation @param {(collection: Collection) => boolean} from */
  #hide(mutation, from) {
    for (const part of partsOf(mutation)) for (const collection of this.#of(part.modelname)) if (from(collection)) collection.view.remove(part);
  }

  /** @param {Mutation} mutation @param {Error} [error] */
  #rejected(mutation, error) {
    if (!(error instanceof SyncError)) return;
    const parts = partsOf(mutation);
    const { modelname } = parts[error.index ?? 0] ?? mutation;
    const model = this.#names.shown(mutation.parts ? parts.map(({ model }) => model) : mutation.model);
    const rejection = { modelname, method: mutation.method, model, error };
    tell(this.#rejectionListeners, rejection);
  }

  /** Ends the mutations that the rows show by now; where nobody looks at the rows, all that are confirmed. */
  #settle() {
    for (const collection of this.#all()) collection.show();
    const { epoch, mutations } = this.#session;
    for (const mutation of mutations.confirmed) this.#hide(mutation, (collection) => collection.shows(mutation, epoch));
    mutations.settle((mutation) =>
      partsOf(mutation).every(({ modelname }) =>
        this.#of(modelname).every((collection) => !collection.isHeld || collection.error || collection.shows(mutation, epoch)),
      ),
    );
    this.#notify();
  }

  // Rows.

  /** @param {string} name @param {string} idName */
  #table(name, idName) {
    let table = this.#tables.get(name);
    if (!table) {
      table = new Table(name, idName, this.#names, {
        environment: this.#environment,
        abilities: () => this.#abilities,
        opened: (collection) => this.#opened(collection),
        narrow: () => this.#narrow(),
        ask: (collection) => this.#ask(collection),
        leave: (collection) => this.#leave(collection),
        touched: () => this.#soon(),
        isStored: this.#opening !== undefined,
      });
      this.#tables.set(name, table);
    }
    return table;
  }

  /** All subscriptions. */
  #all() {
    return [...this.#tables.values()].flatMap(({ collections }) => [...collections.values()]);
  }

  /** Those to a model's rows. @param {string} modelname */
  #of(modelname) {
    return [...(this.#tables.get(modelname)?.collections.values() ?? [])];
  }

  /** @param {Collection} collection that is new */
  #opened(collection) {
    for (const mutation of this.#session.mutations.pending) this.#show(mutation, [collection]);
    if (this.#opening) {
      const restored = this.#opening.then(() => this.#keeper?.restore(collection, (created) => this.#created(created)));
      collection.restored = restored.catch(unhad);
    }
    if (this.reason) collection.end();
  }

  /** The server can do other things than it was thought to. @param {import("./table.js").Abilities} abilities */
  #learn({ features, indexed }) {
    const before = JSON.stringify(this.#abilities);
    this.#abilities = { features, indexed };
    if (JSON.stringify(this.#abilities) !== before) this.#rebind(() => true);
  }

  /** @param {(collection: Collection) => boolean} from whose queries may have to ask for other rows */
  #rebind(from) {
    for (const collection of this.#all()) if (from(collection)) for (const query of [...collection.queries]) query.rebind();
  }

  /** There is a query that needs not have all rows of its model: nothing is asked for until that can be said. */
  #narrow() {
    this.#narrowing ??= import("./narrow.js").catch(unhad).then(() => {
      this.#narrowing = undefined;
      this.#rebind(() => true);
    });
  }

  /** While a welcome is read the status is not `online` yet. */
  #isWelcome = false;

  /** @param {Collection} collection */
  async #ask(collection) {
    this.#environment.clearTimeout(collection.retry);
    if (collection.restored || this.#narrowing) await Promise.all([collection.restored, this.#narrowing]);
    collection.restored = undefined;
    if (this.status !== "online" && !this.#isWelcome) return;
    if (!collection.isHeld || collection.id !== undefined || collection.isLocal) return;
    const { table, rows, wanted } = collection;
    collection.id = this.#request("s");
    rows.begin(this.#session.epoch);
    const since = rows.cursor;
    this.#session.send({ method: "subscribe", id: collection.id, modelname: table.name, ...wanted, since, since_seq: since && rows.reached });
  }

  /** @param {Collection} collection */
  #leave(collection) {
    const { id, table } = collection;
    if (id !== undefined && this.status === "online") this.#session.send({ method: "unsubscribe", id });
    collection.left();
    table.left(collection);
    this.#settle();
  }

  /** @param {"s" | "r"} kind */
  #request(kind) {
    this.#requests += 1;
    return `${kind}${this.#requests}`;
  }

  /** @param {Table} table @param {Id} id */
  async #get(table, id) {
    for (const { restored } of this.#of(table.name)) if (restored) await restored;
    const shown = table.shown(id);
    if (shown || table.isWhole) return shown;
    const { read } = await import("./reads.js");
    return read(this, this.#session, this.#environment, this.#answers, this.#request("r"), table, id);
  }

  // What the server says.

  /** @param {Message} welcome */
  #welcomed(welcome) {
    this.#schema ??= welcome.schema;
    this.#learn(/** @type {any} */ (welcome));
    this.#keeper?.identify(this.#abilities);
    this.#isWelcome = true;
    for (const collection of this.#all()) this.#ask(collection);
    this.#isWelcome = false;
  }

  /** @param {Status} status */
  #became(status) {
    for (const collection of this.#all()) {
      if (status === "offline") collection.left();
      else if (status === "closed") collection.end();
    }
    tell(this.#statusListeners, status);
    this.#notify();
    if (status === "closed") this.#keeper?.close();
  }

  /** @param {any} message */
  #apply(message) {
    const { method, id, modelname } = message;
    const answer = this.#answers.get(id);
    if (answer) return answer(message);
    const rows = this.#asked(id)?.rows;
    switch (method) {
      case "create":
        this.#created([message]);
      // falls through
      case "update":
      case "delete":
      case "remove":
        for (const collection of this.#of(modelname)) collection.rows.change(message);
        return;
      case "window":
        this.#created(message.in.map((/** @type {any} */ model, /** @type {number} */ index) => ({ modelname, model, cid: message.cids?.[index] })));
        return this.#asked(message.query)?.rows.window(message);
      case "read":
        return rows?.page(message.models, message.seqs);
      case "changes":
        this.#created(message.changes);
        return rows?.catchUp(message.changes);
      case "reset":
        return rows?.reset();
      case "live": {
        const collection = this.#asked(id);
        collection?.failed(undefined);
        return collection?.live(message.seq, message.cursor, this.#session.mutations.undecided(collection.table.name));
      }
      case "progress":
        for (const { rows } of this.#all()) rows.progress(message.seq);
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
      this.#names.settle(name, model[this.#tables.get(modelname)?.idName ?? "id"]);
      this.#session.mutations.heard(name, model);
      this.#named(modelname, name);
    }
  }

  /** @param {Message} message */
  #error(message) {
    const collection = this.#asked(message.id);
    if (!collection) return console.error(`sync: ${message.code}: ${message.message}`);
    collection.left();
    if (message.code === "bad_request" && collection.widen()) return void this.#ask(collection);
    if (!message.retry || message.limit === "subscriptions") collection.failed(new SyncError(/** @type {any} */ (message)));
    const delay = message.retry_after_ms ?? backoff(0, this.#environment.random);
    if (message.retry) collection.retry = this.#environment.setTimeout(() => this.#ask(collection), delay);
  }

  /** @param {unknown} id */
  #asked(id) {
    return id === undefined ? undefined : this.#all().find((collection) => collection.id === id);
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
    const collections = this.#all();
    for (const collection of collections) collection.flush();
    this.#isNotifying = false;
    for (const query of new Set(collections.flatMap(({ queries }) => [...queries]))) query.notify();
    if (this.#pending !== this.#wasPending) {
      this.#wasPending = this.#pending;
      tell(this.#pendingListeners, this.#pending);
    }
    this.#keeper?.rows(collections);
  }

  // Storage.

  /** @param {string} storage */
  async #open(storage) {
    const { open } = await import("./storage.js");
    const ended = (/** @type {Mutation} */ mutation, /** @type {Error | undefined} */ error) => this.#rejected(mutation, error);
    this.#keeper = await open(storage, this.#url, this.#environment, this.#session, (handlers) => this.#begin(/** @type {any} */ ({ ended, ...handlers })));
    this.#learn(this.#keeper.abilities);
  }
}

/** It goes on without. @param {unknown} error */
function unhad(error) {
  console.warn("sync: what was stored cannot be had:", error);
}

/** @returns {Environment} */
function surroundings() {
  const { WebSocket, window, document } = globalThis;
  return {
    WebSocket,
    setTimeout: (run, milliseconds) => globalThis.setTimeout(run, milliseconds),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    random: Math.random,
    window,
    document,
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

/**
 * @template T
 * @param {Set<(value: T) => void>} listeners
 * @param {T} value
 */
function tell(listeners, value) {
  for (const listener of [...listeners]) guarded(() => listener(value));
}
