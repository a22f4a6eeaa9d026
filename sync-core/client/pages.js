/**
 * Queries that are read a page at a time: an endless list, all of which stays live.
 *
 * ```js
 * import { pages } from "/sync/pages.js";
 *
 * const feed = pages(messages.query({ where: { room: 7 }, order: "-sent_at", limit: 50 }));
 * feed.subscribe(({ rows, hasMore }) => render(rows, hasMore));
 * list.onscrollend = () => feed.more();
 * ```
 * Each page is a query. All but the last lie between two places and have all rows that are there, however many; the last has a `limit`, and
 * begins where the one before it ends. So no row is missing and none is there twice, whatever comes, goes or moves.
 * @module
 */

import "./narrow.js"; // at once: pages lie between places
import { Query, guarded } from "./query.js";
import { directions } from "./where.js";

/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./view.js").Change} Change */

/**
 * @template R
 * @typedef {import("./query.js").Snapshot<R> & {readonly hasMore: boolean}} PagesSnapshot `hasMore`: whether there may be rows behind the last one
 */

/** A list may have so many subscriptions: then its first pages become one. */
const MOST_PAGES = 16;

/**
 * The pages of a query, of which its `limit` is the size.
 *
 * ```js
 * const feed = pages(messages.query({ order: "-sent_at", limit: 50 }));
 * ```
 * @template R
 * @param {Query<R>} query
 * @returns {Pages<R>}
 * @throws {TypeError} if the query has no limit
 */
export function pages(query) {
  query.rest();
  const { table, options } = query.source;
  return new Pages(table, options);
}

/** @template R */
export class Pages {
  /** @type {Query<R>[]} */
  #pages;
  /** @type {Promise<void> | undefined} */
  #coming;
  /** @type {Set<(pages: Pages<R>, changes: readonly Change[]) => void>} */
  #listeners = new Set();
  /** End the subscriptions to the pages. @type {(() => void)[]} */
  #ends = [];
  /** Of the pages, that the snapshot is made of. @type {readonly import("./query.js").Snapshot<R>[]} */
  #parts = [];
  /** @type {PagesSnapshot<R> | undefined} */
  #snapshot;
  /** What the listeners were told last. @type {PagesSnapshot<R> | undefined} */
  #told;
  /** Rows that have changed since. @type {Set<Id>} */
  #touched = new Set();
  #isClosed = false;
  /** @type {Set<() => void>} */
  #wakers = new Set();

  /**
   * @param {Query<R>["source"]["table"]} table
   * @param {Query<R>["source"]["options"]} options
   */
  constructor(table, options) {
    if (!options.limit) throw new TypeError("pages: the query needs a limit");
    /** @internal */
    this.source = { table, options };
    this.#pages = [new Query(table, options)];
  }

  /** The rows of all pages, in order, with what is not confirmed yet. */
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

  /** Whether there may be rows behind the last one. */
  get hasMore() {
    return this.snapshot.hasMore;
  }

  /**
   * All of it at one moment: the same object until something changes.
   * @returns {PagesSnapshot<R>}
   */
  get snapshot() {
    const parts = this.#pages.map(({ snapshot }) => snapshot);
    if (this.#snapshot && parts.length === this.#parts.length && parts.every((part, index) => part === this.#parts[index])) return this.#snapshot;
    const error = parts.find(({ error }) => error)?.error;
    // Pages that are of different moments are not shown together: a row that has moved would be on both, or on none.
    if (this.#snapshot && !error && new Set(parts.map(({ status }) => status)).size > 1) return this.#snapshot;
    const status = /** @type {const} */ (["loading", "stale"]).find((status) => parts.some((part) => part.status === status)) ?? "live";
    const hasMore = this.#pages[this.#pages.length - 1].edge !== undefined;
    this.#parts = parts;
    this.#snapshot = Object.freeze({ rows: Object.freeze(parts.flatMap(({ rows }) => rows)), status, error, hasMore });
    return this.#snapshot;
  }

  /**
   * Shows more rows, behind those that are shown.
   *
   * ```js
   * while (feed.hasMore && list.scrollHeight < window.innerHeight) await feed.more();
   * ```
   * @param {number} [count] how many: by default as many as the query's limit
   * @returns {Promise<void>} settles when they are shown, which takes a line
   */
  more(count = this.source.options.limit) {
    this.#coming ??= this.#more(count).finally(() => (this.#coming = undefined));
    return this.#coming;
  }

  /**
   * Calls the listener soon, and then after every change, as a query does.
   *
   * ```js
   * const end = feed.subscribe(({ rows, status, hasMore }) => render(rows, status, hasMore));
   * ```
   * @param {(pages: Pages<R>, changes: readonly Change[]) => void} listener
   * @returns {() => void} ends it
   */
  subscribe(listener) {
    const call = (/** @type {Pages<R>} */ pages, /** @type {readonly Change[]} */ changes) => listener(pages, changes);
    this.#isClosed = false;
    this.#listeners.add(call);
    if (this.#listeners.size === 1) this.#listen();
    this.#told = this.snapshot;
    queueMicrotask(() => {
      if (this.#listeners.has(call) && (this.status !== "loading" || this.error)) guarded(() => call(this, []));
    });
    return () => {
      if (this.#listeners.delete(call)) this.rest();
    };
  }

  /** What the pages have, now and whenever it has changed, as of a query. */
  async *[Symbol.asyncIterator]() {
    let wake = () => {};
    const call = () => wake();
    const end = this.subscribe(call);
    this.#wakers.add(call);
    try {
      /** @type {PagesSnapshot<R> | undefined} */
      let seen;
      while (!this.#isClosed) {
        const { snapshot } = this;
        if (snapshot !== seen && (snapshot.status !== "loading" || snapshot.error)) yield (seen = snapshot);
        else if (this.#pages[0].isOver) return;
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
   * dialog.onclose = () => feed.close();
   * ```
   */
  close() {
    this.#isClosed = true;
    this.#listeners.clear();
    this.rest();
    for (const wake of this.#wakers) wake();
  }

  /** Lets go of the rows until it has a listener, if it has none. @internal */
  rest() {
    if (this.#listeners.size > 0) return;
    for (const end of this.#ends.splice(0)) end();
    for (const page of this.#pages) page.rest();
  }

  /** @param {number | undefined} count */
  async #more(count) {
    this.snapshot;
    const { table, options } = this.source;
    const { where, order } = options;
    const last = this.#pages[this.#pages.length - 1];
    const place = this.#placeOf(last);
    if (!place) return;
    const first = this.#pages.length > MOST_PAGES ? 0 : this.#pages.length - 1;
    const after = first === 0 ? undefined : last.source.options.after;
    /** @type {Query<R>[]} */
    const coming = [new Query(table, { where, order, after, until: place }), new Query(table, { where, order, after: place, limit: count })];
    try {
      await this.#arrived(coming, () => {
        const gone = this.#pages.splice(first, Infinity, ...coming);
        if (this.#listeners.size > 0) this.#listen();
        for (const page of gone) page.close();
        this.#tell();
      });
    } finally {
      for (const page of coming) if (!this.#pages.includes(page)) page.close();
    }
    this.rest();
  }

  /** Where a page ends: at the last of its rows that has a place on the server. @param {Query<R>} page @returns {any[] | undefined} */
  #placeOf({ edge, rows, isWindow }) {
    const { table, options } = this.source;
    if (!edge) return;
    const row = isWindow ? edge : /** @type {readonly Row[]} */ (rows).findLast((row) => table.pending(row[table.idName]) === 0);
    return row && [...directions(options.order).map(([field]) => row[field] ?? null), row[table.idName]];
  }

  /**
   * @param {readonly Query<R>[]} coming
   * @param {() => void} run called in the moment in which all are live
   * @returns {Promise<void>}
   */
  #arrived(coming, run) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const error = coming.find(({ error }) => error)?.error;
        if (!error && !coming.every(({ status }) => status === "live") && !coming[0].isOver) return;
        if (error) reject(error);
        else if (!coming[0].isOver) run();
        resolve();
        for (const end of ends.splice(0)) end();
      };
      const ends = coming.map((query) => query.subscribe(look));
      queueMicrotask(look);
    });
  }

  #listen() {
    const ends = this.#ends.splice(0);
    this.#ends = this.#pages.map((page) =>
      page.subscribe((_page, changes) => {
        for (const { key } of changes) this.#touched.add(key);
        this.#tell();
      }),
    );
    for (const end of ends) end();
  }

  /** All pages are up to date when the first of them tells. */
  #tell() {
    const [told, { snapshot }] = [this.#told, this];
    if (this.#listeners.size === 0 || snapshot === told) return;
    this.#told = snapshot;
    const { table } = this.source;
    const [before, after] = [told?.rows ?? [], snapshot.rows].map((rows) => new Map(/** @type {readonly Row[]} */ (rows).map((row) => [table.keyOf(row[table.idName]), row])));
    const keys = [...new Set([...before.keys(), ...after.keys()])].filter((key) => this.#touched.has(key) || before.get(key) !== after.get(key));
    this.#touched.clear();
    const changes = keys.map((key) => ({ key, before: before.get(key), after: after.get(key) }));
    for (const listener of [...this.#listeners]) guarded(() => listener(this, changes));
  }
}
