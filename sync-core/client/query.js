/**
 * A live query.
 * @module
 */

import { Table } from "./table.js";

/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./error.js").SyncError} SyncError */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./table.js").Wanted} Wanted */
/** @typedef {import("./view.js").Change} Change */

/**
 * What a query has at one moment. The same object until something changes.
 * @template R
 * @typedef {object} Snapshot
 * @property {readonly Readonly<R>[]} rows
 * @property {"loading" | "live" | "stale"} status `loading` until there are rows, `stale` while they may be behind the server's
 * @property {SyncError | undefined} error why the server does not send the rows, if it refused to
 */

/**
 * @template {import("./model.js").ModelTypes} T
 * @typedef {object} QueryOptions
 * @property {import("./where.js").Where<T>} [where] which rows: all by default
 * @property {import("./model.js").Order<T> | readonly import("./model.js").Order<T>[]} [order] the fields to sort by, with a `-` where the largest comes
 *   first; rows that are equal in them, and without an order all, go by their id, and those without one yet last
 * @property {number} [limit] how many rows at most
 */

/**
 * The rows of a model that a `where` holds for, kept up to date until it is closed.
 *
 * ```js
 * const open = db.model("Todo").query({ where: { completed: false }, order: "-priority", limit: 20 });
 * const end = open.subscribe(({ rows, status }) => render(rows, status));
 * // later
 * end(); // or open.close()
 * ```
 * @template R
 */
export class Query {
  /** @type {Collection} */
  #collection;
  /** @type {(row: Row) => boolean} */
  #holds;
  #compare;
  #limit;
  #isHeld = false;
  #isClosed = false;
  /** @type {Set<(query: Query<R>, changes: readonly Change[]) => void>} */
  #listeners = new Set();
  /** Iterators that wait. @type {Set<() => void>} */
  #wakers = new Set();
  /** All rows that belong here, in order. @type {Row[]} */
  #rows = [];
  /** Of the collection, that they are of. */
  #version = -1;
  /** @type {Snapshot<R> | undefined} */
  #snapshot;
  /** What the listeners were not told yet, by key; undefined: nothing at all has changed. @type {Map<import("./rows.js").Id, Change> | undefined} */
  #untold;

  /**
   * @param {Table} table
   * @param {Wanted} options
   */
  constructor(table, options) {
    const { order, limit = Infinity } = options;
    if (!(limit >= 0)) throw new TypeError("limit: must be a number from 0");
    /** @internal */
    this.source = { table, options };
    this.#limit = limit;
    this.#compare = table.comparison(order);
    this.#holds = table.judge(options);
    this.#collection = table.collection(options);
    this.#hold();
  }

  /** The rows now, with what is not confirmed yet. Frozen: a row that changes is another object, one that does not is the same. */
  get rows() {
    return this.snapshot.rows;
  }

  /** `loading` until there are rows; `stale` while they may be behind the server's. */
  get status() {
    return this.snapshot.status;
  }

  /** Why the server does not send the rows, if it refused to. */
  get error() {
    return this.snapshot.error;
  }

  /** Nothing will change any more. @internal */
  get isOver() {
    return this.#collection.isOver;
  }

  /** Whether the server says which rows are the first. @internal */
  get isWindow() {
    return this.#collection.wanted.limit !== undefined;
  }

  /**
   * The last of the rows, if there may be others behind it.
   * @internal
   * @returns {Row | undefined}
   */
  get edge() {
    return this.isWindow ? this.#edge() : this.#rows[this.#limit] && this.#rows[this.#limit - 1];
  }

  /**
   * All of it at one moment: the same object until something changes.
   * @returns {Snapshot<R>}
   */
  get snapshot() {
    this.#collection.flush();
    const { rows, error, version } = this.#collection;
    if (!this.#snapshot || this.#version !== version) {
      if (this.#version !== version) this.#build(version);
      const shown = /** @type {R[]} */ (this.#rows.slice(0, this.#limit));
      this.#snapshot = Object.freeze({ rows: Object.freeze(shown), status: rows.status, error });
    }
    return this.#snapshot;
  }

  /**
   * Calls the listener soon, and then after every change: once for all that came at one time, so that it never sees half a
   * transaction. A query that was left by its last listener rests until it has one again.
   *
   * ```js
   * const end = query.subscribe(({ rows, status }) => render(rows, status));
   * ```
   * @param {(query: Query<R>, changes: readonly Change[]) => void} listener
   * @returns {() => void} ends it
   */
  subscribe(listener) {
    const call = (/** @type {Query<R>} */ query, /** @type {readonly Change[]} */ changes) => listener(query, changes);
    this.#isClosed = false;
    this.#hold();
    this.snapshot;
    this.#listeners.add(call);
    queueMicrotask(() => {
      if (this.#listeners.has(call) && (this.status !== "loading" || this.error)) call(this, []);
    });
    return () => {
      if (this.#listeners.delete(call) && this.#listeners.size === 0) this.#release();
    };
  }

  /**
   * What the query has, now and whenever it has changed; what came between is left out for one who is slow. It ends with the query, and
   * with the connection.
   *
   * ```js
   * for await (const { rows } of todos.query()) render(rows);
   * ```
   */
  async *[Symbol.asyncIterator]() {
    let wake = () => {};
    const call = () => wake();
    const end = this.subscribe(call);
    this.#wakers.add(call);
    try {
      /** @type {Snapshot<R> | undefined} */
      let seen;
      while (!this.#isClosed) {
        const snapshot = this.snapshot;
        if (snapshot !== seen && (snapshot.status !== "loading" || snapshot.error)) {
          seen = snapshot;
          yield snapshot;
        } else if (this.isOver) return;
        else await new Promise((resolve) => (wake = () => resolve(undefined)));
      }
    } finally {
      this.#wakers.delete(call);
      end();
    }
  }

  /**
   * Ends it: its listeners hear nothing more, and its iterators end.
   *
   * ```js
   * dialog.onclose = () => query.close();
   * ```
   */
  close() {
    this.#isClosed = true;
    this.#listeners.clear();
    this.#release();
    for (const wake of this.#wakers) wake();
  }

  /** Lets go of the rows until it has a listener, if it has none. @internal */
  rest() {
    if (this.#listeners.size === 0) this.#release();
  }

  /** What it asks for is to be had elsewhere. @internal */
  rebind() {
    const { table, options } = this.source;
    const [old, collection] = [this.#collection, table.collection(options)];
    this.#holds = table.judge(options);
    this.#collection = collection;
    if (old === collection) return;
    // Of rows that refer to one that has just been created all is known that there is.
    if (old.isLocal && collection.rows.status === "loading") collection.rows.status = "stale";
    if (this.#isHeld) {
      collection.hold(this);
      old.release(this, true);
    }
    this.#version = -1;
    this.#untold ??= new Map();
    table.touched();
  }

  /** @internal @param {readonly Change[]} changes of the collection's rows */
  apply(changes) {
    const { version, rows, error } = this.#collection;
    if (this.#version === version || this.#listeners.size === 0) return;
    const isOther = (/** @type {Row | undefined} */ row) => !row || !this.#holds(row);
    const isSame = this.#snapshot?.status === rows.status && this.#snapshot.error === error;
    if (this.isWindow || !isSame || !changes.every(({ before, after }) => isOther(before) && isOther(after))) this.#snapshot = undefined;
    if (this.isWindow || this.#version < 0 || (changes.length > 64 && changes.length > this.#rows.length / 8)) this.#build(version);
    else for (const { before, after } of changes) this.#replace(before, after);
    this.#version = version;
    this.#untold ??= new Map();
    for (const change of changes) {
      const earlier = this.#untold.get(change.key);
      this.#untold.set(change.key, earlier ? { ...change, before: earlier.before } : change);
    }
  }

  /** @internal */
  notify() {
    if (!this.#untold) return;
    const changes = [...this.#untold.values()].filter(({ before, after }) => before || after);
    this.#untold = undefined;
    for (const listener of [...this.#listeners]) guarded(() => listener(this, changes));
  }

  /** Of a window that is full, the last row. */
  #edge() {
    return Table.narrowing?.edge(this.#collection, this.#compare);
  }

  /** @param {number} version */
  #build(version) {
    const edge = this.#edge();
    const isShown = (/** @type {Row} */ row) => this.#holds(row) && !(edge && this.#compare(row, edge) > 0);
    this.#rows = [...this.#collection.view.shown.values()].filter(isShown).sort(this.#compare);
    this.#version = version;
  }

  /**
   * @param {Row | undefined} before
   * @param {Row | undefined} after
   */
  #replace(before, after) {
    if (before === after) return;
    const from = before && this.#holds(before) ? this.#place(before) : -1;
    if (after && this.#holds(after)) {
      if (from >= 0 && this.#compare(/** @type {Row} */ (before), after) === 0) this.#rows[from] = after;
      else {
        if (from >= 0) this.#rows.splice(from, 1);
        this.#rows.splice(this.#place(after), 0, after);
      }
    } else if (from >= 0) this.#rows.splice(from, 1);
  }

  /** Where a row stands, or would. @param {Row} row */
  #place(row) {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(this.#rows[middle], row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #hold() {
    if (this.#isHeld) return;
    this.#isHeld = true;
    this.#collection.hold(this);
  }

  #release() {
    // The next listener begins with all there is then.
    this.#untold = undefined;
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#collection.release(this);
  }
}

/** A listener's mistake is reported as any other and stops nothing here. @param {() => void} run */
export function guarded(run) {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
