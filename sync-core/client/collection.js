/**
 * All that is known here of one model, shared by its queries.
 * @module
 */

import { Rows } from "./rows.js";
import { View } from "./view.js";

/** @typedef {import("./error.js").SyncError} SyncError */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./names.js").Names} Names */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Stored} Stored */
/** @typedef {import("./view.js").Change} Change */
/** @typedef {import("./query.js").Query<any>} Query */

/** How long the server goes on sending the rows when nobody asks for them any more: a page that changes its view comes back soon. */
const LINGER_MS = 5_000;

export class Collection {
  /** The subscription's id, for the server. @type {string | undefined} */
  id;
  /** Why the server does not send the rows, if it refused to. @type {SyncError | undefined} */
  error;
  /** Queries that have a listener. @type {Set<Query>} */
  queries = new Set();
  /** Settles once the rows that were stored have been read; undefined where there are none to read. @type {Promise<void> | undefined} */
  restored;
  /** Rows that have changed since they were last stored; empty where nothing is. @type {Set<Id>} */
  unsaved = new Set();
  /** Counts what has changed. */
  version = 0;
  /** The connection is closed for good: nothing more will change. */
  isOver = false;
  /** @type {any} timer */
  retry;
  #holders = 0;
  /** What must be decided before the rows that have come are shown. @type {readonly Mutation[]} */
  #creates = [];
  /** @type {any} */
  #linger;
  #database;

  /**
   * @param {string} name
   * @param {string} idName
   * @param {Names} names
   * @param {{environment: import("./line.js").Environment, ask: () => void, leave: () => void, touched: () => void, isStored: boolean}} database
   */
  constructor(name, idName, names, database) {
    this.name = name;
    this.idName = idName;
    this.names = names;
    this.#database = database;
    this.rows = new Rows(idName, (id) => this.#touch(id));
    this.view = new View(this.rows, names, idName);
  }

  /** Whether anybody asks for the rows, or did a moment ago. */
  get isHeld() {
    return this.#holders > 0 || this.#linger !== undefined;
  }

  hold() {
    this.#holders += 1;
    if (this.#holders > 1) return;
    if (this.#linger === undefined) this.#database.ask();
    this.#database.environment.clearTimeout(this.#linger);
    this.#linger = undefined;
  }

  release() {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    this.#linger = this.#database.environment.setTimeout(() => {
      this.#linger = undefined;
      this.#database.leave();
    }, LINGER_MS);
  }

  /** @param {SyncError | undefined} error */
  failed(error) {
    if (this.error === error) return;
    this.error = error;
    this.#touch();
  }

  /**
   * The server has sent all rows. They are shown when it is known which of them are those that were created here, and are shown already.
   * @param {number} seq
   * @param {string} cursor
   * @param {readonly Mutation[]} creates that are undecided
   */
  live(seq, cursor, creates) {
    this.rows.live(seq, cursor);
    this.#creates = creates;
    this.settle();
  }

  /** The line is lost, or the subscription ended. */
  left() {
    this.#database.environment.clearTimeout(this.retry);
    this.id = undefined;
    this.#creates = [];
    this.rows.stale();
  }

  /** The connection is closed for good. */
  end() {
    this.left();
    this.isOver = true;
    this.#touch();
  }

  /** Something may have been decided. */
  settle() {
    if (!this.#creates.every(({ isDecided }) => isDecided)) return;
    this.#creates = [];
    this.rows.show();
  }

  /** Brings what the queries have up to date; they tell their listeners when they are asked to. */
  flush() {
    const changes = this.view.flush();
    if (changes.length > 0) this.version += 1;
    for (const query of this.queries) query.apply(changes);
  }

  /** @param {Id} [id] */
  #touch(id) {
    if (id === undefined) this.version += 1;
    else {
      if (this.#database.isStored) this.unsaved.add(id);
      this.view.touch(id);
    }
    this.#database.touched();
  }
}
