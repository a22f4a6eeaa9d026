/**
 * Keeps rows, cursors and what is not sent yet in IndexedDB, so that a page has them again after a reload or a crash.
 *
 * The requests of IndexedDB are wrapped in promises here, in a dozen lines, rather than by a package: these files are served as they
 * are, and there is no place to get one from.
 * @module
 */

import { SyncError } from "./error.js";
import { addressOf } from "./line.js";
import { Mutations } from "./mutations.js";
import { Tabs } from "./tabs.js";

/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./mutations.js").Content} Content */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./rows.js").Stored} Stored */
/** @typedef {import("./session.js").Handlers & Pick<import("./mutations.js").Handlers, "added" | "confirmed" | "ended">} SessionHandlers */
/** @typedef {import("./session.js").Identity} Identity */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./table.js").Abilities} Abilities */

/** Of the stores below. */
const VERSION = 1;
/** A page's client, by its slot. */
const SLOTS = "slots";
/** By slot and place in its queue. */
const MUTATIONS = "mutations";
/** How far the rows of a subscription are, by its name; and what the server could do. */
const MODELS = "models";
/** By subscription and id. */
const ROWS = "rows";
const ABILITIES = ["abilities"];
const STORES = [SLOTS, MUTATIONS, MODELS, ROWS];

/** How long changes are gathered that need not be kept at once. */
const GATHER_MS = 200;

/**
 * @param {string} storage as it was asked for
 * @param {string | (() => unknown)} url of the server
 * @param {Environment} surroundings
 * @param {Session} session
 * @param {(handlers: Partial<SessionHandlers>) => Session} begin another session, for what other pages have left
 * @returns {Promise<Keeper>}
 */
export async function open(storage, url, surroundings, session, begin) {
  const name = storage.slice("indexeddb:".length) || (typeof url === "string" ? url : addressOf("/sync"));
  const { BroadcastChannel, navigator } = globalThis;
  const environment = { indexedDB: globalThis.indexedDB, locks: navigator?.locks, BroadcastChannel, ...surroundings };
  const { indexedDB, locks } = environment;
  if (!indexedDB) throw new Error("there is no IndexedDB here");
  if (!locks) throw new Error("there are no Web Locks here: the page must be served over https, or from this machine");
  const request = indexedDB.open(`sync:${name}`, VERSION);
  request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store));
  const database = await done(request);
  // A page of a later version waits for it.
  database.onversionchange = () => database.close();
  const keeper = new Keeper(database, environment, new Tabs(`sync:${name}`, environment, locks), session, begin);
  await keeper.open();
  return keeper;
}

/** What one page keeps, and what it takes over from others. */
export class Keeper {
  #database;
  #environment;
  #tabs;
  #session;
  #begin;
  /** @type {Journal | undefined} */
  #journal;
  /** @type {Set<Session>} */
  #inherited = new Set();
  /** What the server could do the last time. @type {Abilities} */
  abilities = {};

  /**
   * @param {IDBDatabase} database
   * @param {Environment} environment
   * @param {Tabs} tabs
   * @param {Session} session
   * @param {(handlers: Partial<SessionHandlers>) => Session} begin
   */
  constructor(database, environment, tabs, session, begin) {
    this.#database = database;
    this.#environment = environment;
    this.#tabs = tabs;
    this.#session = session;
    this.#begin = begin;
  }

  async open() {
    this.abilities = (await done(this.#database.transaction(MODELS).objectStore(MODELS).get(ABILITIES))) ?? {};
    const slot = await this.#tabs.claim(await this.#slots());
    this.#journal = new Journal(this.#database, this.#environment, slot, this.#session);
    await this.#take(slot, this.#session, this.#journal);
    await this.#journal.saved();
    this.#tabs.announce(slot);
    this.#tabs.watch(slot, () => this.#slots(), (other) => this.#inherit(other));
  }

  /** Whether what happens from now on is not stored. */
  get isBroken() {
    return this.#journal?.isBroken ?? true;
  }

  /** The client's name has changed, or what the server knows of it, or can do. @param {Abilities} abilities */
  identify(abilities) {
    this.abilities = abilities;
    this.#journal?.learn(abilities);
    this.#journal?.soon();
  }

  /**
   * Reads the rows that are kept.
   * @param {Collection} collection
   * @param {(created: readonly import("./mutations.js").Message[]) => void} heard told before they are there
   */
  async restore(collection, heard) {
    const { name, rows, table } = collection;
    const transaction = this.#database.transaction([MODELS, ROWS]);
    const [state, kept] = await Promise.all([
      done(transaction.objectStore(MODELS).get(name)),
      done(transaction.objectStore(ROWS).getAll(ofModel(name))),
    ]);
    if (!state || rows.status !== "loading") return;
    heard(kept.map(({ row, cid }) => ({ method: "create", modelname: table.name, cid, model: row })));
    rows.restore({ ...state, rows: kept });
    this.#journal?.isKept(collection);
  }

  /** Rows may have changed. @param {Iterable<Collection>} collections */
  rows(collections) {
    this.#journal?.rows(collections);
  }

  /** The page is no client any more: another may go on with its slot. */
  close() {
    for (const session of this.#inherited) session.close(new SyncError({ code: "closed", message: "the connection was closed" }));
    this.#tabs.close(this.#journal?.close());
  }

  async #slots() {
    const store = this.#database.transaction(SLOTS).objectStore(SLOTS);
    return /** @type {string[]} */ (await done(store.getAllKeys()));
  }

  /**
   * Makes a session the client of a slot.
   * @param {string} slot
   * @param {Session} session
   * @param {Journal} journal
   */
  async #take(slot, session, journal) {
    const transaction = this.#database.transaction([SLOTS, MUTATIONS]);
    /** @type {[Identity | undefined, Content[]]} */
    const [known, contents] = await Promise.all([
      done(transaction.objectStore(SLOTS).get(slot)),
      done(transaction.objectStore(MUTATIONS).getAll(ofSlot(slot))),
    ]);
    if (known) session.become(known);
    session.begin(Mutations).restore(contents, known?.last ?? 0, journal);
    journal.soon();
  }

  /**
   * Finishes what a page has left that is gone: as its client, where the server may have decided something of it; else as this one.
   * @param {string} slot
   */
  async #inherit(slot) {
    const store = this.#database.transaction(MUTATIONS).objectStore(MUTATIONS);
    /** @type {Content[]} */
    const contents = await done(store.getAll(ofSlot(slot)));
    const undecided = contents.filter(({ seq }) => seq === undefined);
    if (!this.isBroken && undecided.every(({ id }) => id === undefined)) {
      // In one transaction: it is never there twice, nor not at all.
      this.#journal?.forget(slot);
      this.#session.mutations?.adopt(undecided.map((content) => ({ ...content })));
      return this.#journal?.saved();
    }
    await this.#finish(slot);
  }

  /** @param {string} slot */
  async #finish(slot) {
    await new Promise((resolve) => {
      const session = this.#begin({
        welcomed() {},
        message() {},
        added() {},
        confirmed() {},
        applied: () => {
          session.mutations?.settle(() => true);
          if (session.reason || !session.mutations?.isIdle) return;
          journal.forget(slot);
          session.close(new SyncError({ code: "closed" }));
        },
        became: (status) => {
          if (status !== "closed") return;
          this.#inherited.delete(session);
          // What is left, because the server would not have it now, is left for another time.
          journal.saved().then(resolve);
        },
      });
      const journal = new Journal(this.#database, this.#environment, slot, session);
      this.#inherited.add(session);
      this.#take(slot, session, journal).then(() => {
        const { reason } = this.#session;
        if (reason) session.close(reason);
        else session.open();
      }, resolve);
    });
  }
}

/** What one client writes to the storage. */
class Journal {
  #database;
  #environment;
  #slot;
  #session;
  /** What is to be written, the last of each. @type {Map<string, (transaction: IDBTransaction) => void>} */
  #changes = new Map();
  /** @type {Map<string, Collection>} */
  #collections = new Map();
  /** Up to here the storage has all of each model, and what is `unsaved` is all that has changed since. @type {Map<string, number>} */
  #base = new Map();
  /** @type {{promise: Promise<void>, resolve: () => void} | undefined} */
  #next;
  /** The transaction under way, or the last one. @type {Promise<void>} */
  #writing = Promise.resolve();
  #isWriting = false;
  #isSoon = false;
  /** Nothing more can be stored. */
  isBroken = false;
  /** @type {any} */
  #timer;

  /**
   * @param {IDBDatabase} database
   * @param {Environment} environment
   * @param {string} slot
   * @param {Session} session
   */
  constructor(database, environment, slot, session) {
    this.#database = database;
    this.#environment = environment;
    this.#slot = slot;
    this.#session = session;
  }

  /** @param {Mutation} mutation */
  put({ sent, told, doubtful, resolve, reject, parts, ...content }) {
    const kept = { ...content, parts: parts?.map(({ resolve, reject, ...part }) => part) };
    this.#change(`${content.n}`, (transaction) => transaction.objectStore(MUTATIONS).put(kept, [this.#slot, content.n]));
    this.soon();
  }

  /** @param {Mutation} mutation */
  remove({ n }) {
    this.#change(`${n}`, (transaction) => transaction.objectStore(MUTATIONS).delete([this.#slot, n]));
    this.#later();
  }

  /** @param {Abilities} abilities */
  learn(abilities) {
    this.#change("abilities", (transaction) => transaction.objectStore(MODELS).put(abilities, ABILITIES));
  }

  /** All of a slot goes. @param {string} slot */
  forget(slot) {
    this.#change(`slot ${slot}`, (transaction) => {
      transaction.objectStore(SLOTS).delete(slot);
      transaction.objectStore(MUTATIONS).delete(ofSlot(slot));
    });
    this.soon();
  }

  /** @param {Iterable<Collection>} collections */
  rows(collections) {
    for (const collection of collections) {
      if (collection.unsaved.size === 0 || collection.rows.status === "loading") continue;
      this.#collections.set(collection.name, collection);
      this.#later();
    }
  }

  /** The storage has what a collection has, or more. @param {Collection} collection */
  isKept({ name, rows, unsaved }) {
    this.#base.set(name, rows.reached);
    unsaved.clear();
  }

  /** Settles when all so far is kept; where that is not possible, at once. */
  saved() {
    if (this.isBroken) return Promise.resolve();
    return this.#next?.promise ?? this.#writing;
  }

  /** Writes what there is, and nothing after it. */
  async close() {
    this.soon();
    await this.saved();
    this.isBroken = true;
  }

  /** Writes before anything else happens. */
  soon() {
    this.#schedule();
    if (this.#isSoon) return;
    this.#isSoon = true;
    queueMicrotask(() => this.#write());
  }

  #later() {
    this.#schedule();
    this.#timer ??= this.#environment.setTimeout(() => this.soon(), GATHER_MS);
  }

  #schedule() {
    if (this.#next) return;
    /** @type {() => void} */
    let resolve = () => {};
    const promise = new Promise((/** @type {(value: void) => void} */ done) => (resolve = done));
    this.#next = { promise, resolve };
  }

  /** @param {string} name @param {(transaction: IDBTransaction) => void} change */
  #change(name, change) {
    this.#changes.set(name, change);
  }

  /** One transaction after the other: each has all that is known when it is written. */
  async #write() {
    if (this.#isWriting) return;
    this.#environment.clearTimeout(this.#timer);
    const [next, collections] = [this.#next, this.#collections];
    this.#timer = this.#next = undefined;
    this.#isSoon = false;
    this.#isWriting = true;
    this.#collections = new Map();
    if (next) this.#writing = next.promise;
    try {
      if (this.isBroken) return this.#changes.clear();
      // Written out when the system likes: it survives the page, and the browser, but perhaps not a power cut.
      const transaction = this.#database.transaction(STORES, "readwrite", { durability: "relaxed" });
      this.#writeQueue(transaction);
      for (const collection of collections.values()) this.#writeRows(transaction, collection);
      await completed(transaction);
    } catch (error) {
      this.isBroken = true;
      console.warn("sync: nothing more is stored:", error);
    } finally {
      this.#isWriting = false;
      next?.resolve();
    }
    if (this.#isSoon) this.#write();
  }

  /** @param {IDBTransaction} transaction */
  #writeQueue(transaction) {
    transaction.objectStore(SLOTS).put(this.#session.identity, this.#slot);
    for (const change of this.#changes.values()) change(transaction);
    this.#changes.clear();
  }

  /**
   * All pages of the origin share the rows. Each writes what it knows more than the storage: the storage is at any time as one of them was.
   * @param {IDBTransaction} transaction
   * @param {Collection} collection
   */
  #writeRows(transaction, collection) {
    const [models, kept] = [transaction.objectStore(MODELS), transaction.objectStore(ROWS)];
    const { name, rows, unsaved } = collection;
    const request = models.get(name);
    request.onsuccess = () => {
      const { cursor, reached, epoch } = rows;
      /** @type {Stored | undefined} */
      const state = request.result;
      const isSame = state !== undefined && state.epoch === epoch;
      if (isSame && state.reached >= reached) {
        // Of what the storage has from here, rows may be ahead that changed since: they are kept once all is here up to there.
        if (state.reached > reached || this.#base.get(name) !== reached) this.isKept(collection);
        return;
      }
      // The rows may have come further meanwhile; they must not be ahead of what is kept of the writes that made them.
      this.#writeQueue(transaction);
      const isFollowed = isSame && state.reached >= Math.max(rows.replaced, this.#base.get(name) ?? Infinity);
      if (!isFollowed) kept.delete(ofModel(name));
      for (const id of isFollowed ? unsaved : rows.rows.keys()) {
        const row = rows.stored(id);
        if (row) kept.put(row, [name, id]);
        else kept.delete([name, id]);
      }
      models.put({ cursor, reached, epoch }, name);
      this.isKept(collection);
    };
  }
}

/** @param {string} name */
function ofModel(name) {
  return IDBKeyRange.bound([name], [name, []]);
}

/** @param {string} slot */
function ofSlot(slot) {
  return IDBKeyRange.bound([slot], [slot, []]);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function completed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
