/**
 * What a database does: it tells the subscriptions what the server says and what is pending, and the listeners what has changed.
 * @module
 */

import { SyncError } from "./error.js";
import { addressOf, backoff } from "./line.js";
import { modelOf, partsOf } from "./parts.js";
import { Names } from "./names.js";
import { guarded } from "./query.js";
import { Session } from "./session.js";
import { Table } from "./table.js";

/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./mutations.js").Part} Part */
/** @typedef {import("./rows.js").Id} Id */

export class Hub {
  environment;
  session;
  names = new Names();
  /** What the server, or that of the last time, can do. @type {import("./table.js").Abilities} */
  abilities = {};
  /** How many writes are not shown as confirmed yet. */
  pending = 0;
  /** Who hears what is said to a request that is no subscription. @type {Map<unknown, (message: Message) => void>} */
  answers = new Map();
  /** @type {import("./storage.js").Keeper | undefined} */
  keeper;
  /** Settles when what was stored has been taken over. @type {Promise<void> | undefined} */
  opening;
  /** Settles when `narrow.js` is here, or cannot be had. @type {Promise<void> | undefined} */
  #narrowing;
  #url;
  #token;
  #schema;
  /** @type {Map<string, Table>} */
  #tables = new Map();
  /** What is written at once. @type {Part[] | undefined} */
  #batch;
  #requests = 0;
  #listeners = { status: new Set(), pending: new Set(), rejected: new Set() };
  #wasPending = 0;
  #isNotifying = false;
  /** While a welcome is read the status is not `online` yet. */
  #isWelcome = false;

  /** @param {import("./sync.js").Options & Partial<Environment>} [options] */
  constructor({ url = "/sync", token, storage = "memory", schema, ...environment } = {}) {
    if (!/^(memory|indexeddb(:.+)?)$/.test(storage)) throw new TypeError(`storage: \`${storage}\`; there are memory, indexeddb, indexeddb:NAME`);
    this.environment = { ...surroundings(), ...environment };
    this.#url = typeof url === "function" ? url : addressOf(url);
    this.#token = token;
    this.#schema = schema;
    this.session = new Session(this.#url, this.environment, token, this.names, this);
    if (storage === "memory") this.session.open();
    else {
      this.opening = this.#open(storage)
        .catch(unhad)
        .then(() => {
          if (this.session.reason) this.keeper?.close();
          else this.session.open();
          this.applied();
        });
    }
  }

  /** What this page was made for, of the models that it uses. */
  schema() {
    return this.#schema && Object.fromEntries(Object.entries(this.#schema).filter(([name]) => this.#tables.has(name)));
  }

  // Writes.

  /** @param {Omit<Part, "n">} write @param {Part[]} [parts] */
  write(write, parts) {
    const { reason } = this.session;
    const batch = this.#batch;
    const promise = new Promise((resolve, reject) => {
      if (reason) throw new SyncError({ code: "closed", message: reason.message });
      // A copy: what is sent again must be what was sent, whatever became of the caller's object.
      const model = parts ? undefined : this.names.shown(JSON.parse(JSON.stringify(write.model)));
      const mutation = { ...write, model, key: this.names.shown(write.key), n: 0, parts, resolve, reject };
      if (batch) batch.push(mutation);
      else this.session.write(mutation);
    });
    if (batch || this.#listeners.rejected.size > 0) promise.catch(() => {});
    return promise;
  }

  /** @param {() => void} write does what is to be done at once @returns {Promise<any[]>} */
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
    return this.write({ method: "batch", modelname: "", idName: "", key: "", model: undefined }, parts);
  }

  /** @param {Mutation} mutation */
  added(mutation) {
    this.pending += 1;
    this.#show(mutation);
    this.touched();
  }

  /** What is pending is shown by all that have the model's rows, or could. @param {Mutation} mutation @param {Iterable<Collection>} [collections] */
  #show(mutation, collections) {
    for (const part of partsOf(mutation)) {
      if (part.wait || part.action) continue;
      for (const collection of collections ?? this.#of(part.modelname)) if (collection.table.name === part.modelname) collection.view.add(part);
      this.#tables.get(part.modelname)?.stir(part.key);
    }
  }

  /** @param {Mutation} mutation */
  confirmed(mutation) {
    for (const { modelname, name, key } of partsOf(mutation)) if (name && key === name) this.#named(modelname, name);
    const tells = (/** @type {Collection} */ { table, rows }) =>
      partsOf(mutation).every((part) => part.modelname !== table.name || part.action || rows.tells(/** @type {Id} */ (this.names.idOf(part.key)), part.row, part.rowSeq ?? 0));
    mutation.told = new Set(this.#all().filter(tells));
  }

  /** A row that was created here has its id. @param {string} modelname @param {string} name */
  #named(modelname, name) {
    const id = this.names.idOf(name);
    if (id === undefined) return;
    this.#tables.get(modelname)?.named(name, id);
    for (const part of this.session.mutations?.naming(name).flatMap(partsOf) ?? []) {
      // Pending rows may name it in their fields.
      for (const { view } of this.#of(part.modelname)) view.nudge(part.key);
    }
    this.#rebind(({ isLocal }) => isLocal);
  }

  /** @param {Mutation} mutation @param {Error} [error] */
  ended(mutation, error) {
    this.pending -= 1;
    this.#hide(mutation, () => true);
    this.#rejected(mutation, error);
    this.touched();
    for (const part of partsOf(mutation)) {
      const { isPartial, modelname, idName, row } = part;
      if (isPartial && row && mutation.resolve) part.row = this.get(this.table(modelname, idName), row[idName]).catch(() => row);
    }
  }

  /** @param {Mutation} mutation @param {(collection: Collection) => boolean} from */
  #hide(mutation, from) {
    for (const part of partsOf(mutation)) {
      const left = this.#of(part.modelname).filter((collection) => from(collection) && collection.view.remove(part));
      if (left.length > 0) this.#tables.get(part.modelname)?.stir(part.key);
    }
  }

  /** @param {Mutation} mutation @param {Error} [error] */
  #rejected(mutation, error) {
    if (!(error instanceof SyncError)) return;
    const parts = partsOf(mutation);
    const { modelname } = parts[error.index ?? 0] ?? mutation;
    const model = this.names.shown(modelOf(mutation));
    const rejection = { modelname, method: mutation.method, model, error };
    this.#tell("rejected", rejection);
  }

  /** Ends the mutations that the rows show by now; where nobody looks at the rows, all that are confirmed. */
  applied() {
    for (const collection of this.#all()) collection.show();
    const { epoch, mutations } = this.session;
    for (const mutation of mutations?.confirmed ?? []) this.#hide(mutation, (collection) => collection.shows(mutation, epoch));
    mutations?.settle((mutation) =>
      partsOf(mutation).every(({ modelname }) =>
        this.#of(modelname).every((collection) => !collection.isHeld || collection.error || collection.shows(mutation, epoch)),
      ),
    );
    this.#notify();
  }

  // Rows.

  /** @param {string} name @param {string} idName */
  table(name, idName) {
    let table = this.#tables.get(name);
    if (!table) {
      table = new Table(name, idName, this.names, this);
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
  opened(collection) {
    for (const mutation of this.session.pending) this.#show(mutation, [collection]);
    if (this.opening) {
      const restored = this.opening.then(() => this.keeper?.restore(collection, (created) => this.#created(created)));
      collection.restored = restored.catch(unhad);
    }
    if (this.session.reason) collection.end();
  }

  /** The server can do other things than it was thought to. @param {import("./table.js").Abilities} abilities */
  #learn({ features, indexed }) {
    const before = JSON.stringify(this.abilities);
    this.abilities = { features, indexed };
    if (JSON.stringify(this.abilities) !== before) this.#rebind(() => true);
  }

  /** @param {(collection: Collection) => boolean} from whose queries may have to ask for other rows */
  #rebind(from) {
    for (const collection of this.#all()) if (from(collection)) for (const query of [...collection.queries]) query.rebind();
  }

  /** There is a query that needs not have all rows of its model: nothing is asked for until that can be said. */
  narrow() {
    this.#narrowing ??= import("./narrow.js").catch(unhad).then(() => {
      this.#narrowing = undefined;
      this.#rebind(() => true);
    });
  }

  /** @param {Collection} collection */
  async ask(collection) {
    this.environment.clearTimeout(collection.retry);
    if (collection.restored || this.#narrowing) await Promise.all([collection.restored, this.#narrowing]);
    collection.restored = undefined;
    if (this.session.status !== "online" && !this.#isWelcome) return;
    if (!collection.isHeld || collection.id !== undefined || collection.isLocal) return;
    const { table, rows, wanted } = collection;
    collection.id = this.request("s");
    rows.begin(this.session.epoch);
    const since = rows.cursor;
    this.session.send({ method: "subscribe", id: collection.id, modelname: table.name, ...wanted, since, since_seq: since && rows.reached });
  }

  /** @param {Collection} collection */
  leave(collection) {
    const { id, table } = collection;
    if (id !== undefined && this.session.status === "online") this.session.send({ method: "unsubscribe", id });
    collection.left();
    table.left(collection);
    this.applied();
  }

  /** @param {"s" | "r"} kind */
  request(kind) {
    this.#requests += 1;
    return `${kind}${this.#requests}`;
  }

  /** @param {Table} table @param {Id} id */
  async get(table, id) {
    for (const { restored } of this.#of(table.name)) if (restored) await restored;
    const shown = table.shown(id);
    if (shown || table.isWhole) return shown;
    const { read } = await import("./reads.js");
    return read(this, table, id);
  }

  // What the server says.

  /** @param {Message} welcome */
  welcomed(welcome) {
    this.#schema ??= welcome.schema;
    this.#learn(/** @type {any} */ (welcome));
    this.keeper?.identify(this.abilities);
    this.#isWelcome = true;
    for (const collection of this.#all()) this.ask(collection);
    this.#isWelcome = false;
  }

  /** @param {Status} status */
  became(status) {
    for (const collection of this.#all()) {
      if (status === "offline") collection.left();
      else if (status === "closed") collection.end();
    }
    this.#tell("status", status);
    this.#notify();
    if (status === "closed") this.keeper?.close();
  }

  /** @param {any} message */
  message(message) {
    const { method, id, modelname } = message;
    const answer = this.answers.get(id);
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
      case "behind":
        return rows?.stale();
      case "reset":
        return rows?.reset();
      case "live": {
        const collection = this.#asked(id);
        collection?.failed(undefined);
        return collection?.live(message.seq, message.cursor, this.session.mutations?.undecided(collection.table.name) ?? []);
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
      const name = this.names.of(cid);
      // Others hear the cid too: what they create under it later is not this row. Nor is a row called by its name that has an id of its own.
      if (name === undefined || this.names.idOf(name) !== undefined) continue;
      this.names.settle(name, model[this.#tables.get(modelname)?.idName ?? "id"]);
      this.session.mutations?.heard(name, model);
      this.#named(modelname, name);
    }
  }

  /** @param {Message} message */
  #error(message) {
    const collection = this.#asked(message.id);
    if (!collection) return console.error(`sync: ${message.code}: ${message.message}`);
    collection.left();
    if (message.code === "bad_request" && collection.widen()) return void this.ask(collection);
    if (!message.retry || message.limit === "subscriptions") collection.failed(new SyncError(/** @type {any} */ (message)));
    const delay = message.retry_after_ms ?? backoff(0, this.environment.random);
    if (message.retry) collection.retry = this.environment.setTimeout(() => this.ask(collection), delay);
  }

  /** @param {unknown} id */
  #asked(id) {
    return id === undefined ? undefined : this.#all().find((collection) => collection.id === id);
  }

  // Listeners.

  /**
   * @param {"status" | "pending" | "rejected"} event
   * @param {(value: any) => void} listener
   * @returns {() => void} ends it
   */
  listen(event, listener) {
    const call = (/** @type {any} */ value) => listener(value);
    this.#listeners[event].add(call);
    return () => void this.#listeners[event].delete(call);
  }

  /** @param {"status" | "pending" | "rejected"} event @param {any} value */
  #tell(event, value) {
    for (const listener of [...this.#listeners[event]]) guarded(() => listener(value));
  }

  /** What is done here one after the other is told at once. */
  touched() {
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
    if (this.pending !== this.#wasPending) {
      this.#wasPending = this.pending;
      this.#tell("pending", this.pending);
    }
    this.keeper?.rows(collections);
  }

  // Storage.

  /** @param {string} storage */
  async #open(storage) {
    const { open } = await import("./storage.js");
    const begin = (/** @type {any} */ handlers) =>
      new Session(this.#url, this.environment, this.#token, this.names, { schema: () => this.schema(), ended: (mutation, error) => this.#rejected(mutation, error), ...handlers });
    this.keeper = await open(storage, this.#url, this.environment, this.session, begin);
    this.#learn(this.keeper.abilities);
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
