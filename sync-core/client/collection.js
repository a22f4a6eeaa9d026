/**
 * One subscription: rows of one model, shared by all queries that ask for them.
 * @module
 */

import { Rows } from "./rows.js";
import { View } from "./view.js";

/** @typedef {import("./error.js").SyncError} SyncError */
/** @typedef {import("./hub.js").Hub} Hub */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./mutations.js").Part} Part */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Stored} Stored */
/** @typedef {import("./view.js").Change} Change */
/** @typedef {import("./query.js").Query<any>} Query */
/** @typedef {import("./table.js").Table} Table */
/** @typedef {import("./table.js").Wanted} Wanted */

/** How long the server goes on sending the rows when nobody asks for them any more: a page that changes its view comes back soon. */
const LINGER_MS = 5_000;

export class Collection {
  /** The subscription's id, for the server. @type {string | undefined} */
  id;
  /** Why the server does not send the rows, if it refused to. @type {SyncError | undefined} */
  error;
  /** Those who hold it. @type {Set<Query>} */
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
  /** What must be decided before the rows that have come are shown. @type {readonly Part[]} */
  #creates = [];
  /** @type {any} */
  #linger;
  #hub;

  /**
   * @param {Table} table
   * @param {string} key another for all that is asked for otherwise
   * @param {Wanted} wanted what the server is asked for
   * @param {boolean} isLocal it is about rows of which the server does not know yet, and is not asked for
   * @param {Hub} hub
   */
  constructor(table, key, wanted, isLocal, hub) {
    this.table = table;
    this.key = key;
    this.wanted = wanted;
    this.isLocal = isLocal;
    this.#hub = hub;
    this.rows = new Rows(table.idName, (id) => this.#touch(id));
    this.#judge();
    this.view = new View(this, table);
    if (isLocal) this.rows.status = "stale";
  }

  /** What it is stored under. */
  get name() {
    return `${this.table.name}${this.key && ` ${this.key}`}`;
  }

  /** Whether anybody asks for the rows, or did a moment ago. */
  get isHeld() {
    return this.queries.size > 0 || this.#linger !== undefined;
  }

  /** @param {Query} query */
  hold(query) {
    this.queries.add(query);
    if (this.queries.size > 1) return;
    if (this.#linger === undefined) this.#hub.ask(this);
    this.#hub.environment.clearTimeout(this.#linger);
    this.#linger = undefined;
  }

  /** @param {Query} query @param {boolean} [isMoved] it will not come back */
  release(query, isMoved) {
    if (!this.queries.delete(query) || this.queries.size > 0) return;
    if (isMoved) return this.#hub.leave(this);
    this.#linger = this.#hub.environment.setTimeout(() => {
      this.#linger = undefined;
      this.#hub.leave(this);
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
   * @param {string | undefined} cursor
   * @param {readonly Part[]} creates that are undecided
   */
  live(seq, cursor, creates) {
    this.rows.live(seq, cursor);
    this.#creates = creates;
    this.show();
  }

  /** The server cannot judge which rows they are: it is asked for all, and they are found here. @returns {boolean} whether that helps */
  widen() {
    const isNarrow = Object.keys(this.wanted).length > 0;
    this.wanted = {};
    this.rows.cursor = undefined;
    this.#judge();
    return isNarrow;
  }

  #judge() {
    this.rows.holds = this.wanted.limit ? undefined : this.table.judge(this.wanted);
  }

  /** The line is lost, or the subscription ended. */
  left() {
    this.#hub.environment.clearTimeout(this.retry);
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
  show() {
    if (!this.#creates.every(({ isDecided }) => isDecided)) return;
    this.#creates = [];
    this.rows.show();
  }

  /** Whether what was confirmed is here, or will never be. @param {Mutation} mutation @param {string} [epoch] */
  shows({ seq = 0, told }, epoch) {
    return this.isLocal || told?.has(this) || (this.rows.epoch === epoch && this.rows.reached >= seq);
  }

  /** Brings what the queries have up to date; they tell their listeners when they are asked to. */
  flush() {
    const changes = this.view.flush();
    if (changes.length > 0) this.version += 1;
    for (const query of [...this.queries]) query.apply(changes);
  }

  /** @param {Id} [id] */
  #touch(id) {
    if (id === undefined) this.version += 1;
    else {
      if (this.#hub.opening) this.unsaved.add(id);
      this.view.touch(id);
    }
    this.table.touched(id);
  }
}
