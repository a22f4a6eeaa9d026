/**
 * The rows of one subscription as they are shown: those that are confirmed, with what is pending replayed on top, in order.
 *
 * A row is known here by its *key*: its name where it was created here, for good, else the id. So a row that gets its id
 * stays the same row.
 * @module
 */

import { equal } from "./where.js";

/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./mutations.js").Part} Part */
/** @typedef {import("./names.js").Names} Names */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./table.js").Table} Table */
/** @typedef {{key: Id, before: Row | undefined, after: Row | undefined}} Change what became of a row as it is shown */

export class View {
  /** By key. Rows are frozen, and stay the same objects as long as nothing in them changes. @type {Map<Id, Row>} */
  shown = new Map();
  #collection;
  #table;
  /** By key, in the order in which they were handed in. @type {Map<Id, Part[]>} */
  #pending = new Map();
  /** Rows that are not confirmed to be created, but of which the server has already told. @type {Set<Id>} */
  #landed = new Set();
  /** What was pending when it was last brought up to date. @type {Set<Id>} */
  #wasPending = new Set();
  /** @type {Set<Id>} */
  #dirty = new Set();

  /**
   * @param {Collection} collection
   * @param {Table} table
   */
  constructor(collection, table) {
    this.#collection = collection;
    this.#table = table;
  }

  /** How many writes to a row are shown here and not confirmed. @param {Id} key */
  pending(key) {
    return this.#pending.get(key)?.length ?? 0;
  }

  /** @param {Part} part */
  add(part) {
    const key = this.#table.keyOf(part.key);
    const pending = this.#pending.get(key) ?? [];
    this.#pending.set(key, [...pending, part].sort((a, b) => a.n - b.n));
    this.#dirty.add(key);
  }

  /** @param {Part} part that is pending no more @returns {boolean} whether it was here */
  remove(part) {
    const key = this.#table.keyOf(part.key);
    const pending = this.#pending.get(key);
    if (!pending?.includes(part)) return false;
    if (pending.length > 1) this.#pending.set(key, pending.filter((other) => other !== part));
    else this.#pending.delete(key);
    if (part.method === "create") this.#landed.delete(key);
    this.#dirty.add(key);
    return true;
  }

  /** What is pending of a row has changed in one of the model's views: it is pending as long as it is in any of them. @param {Id} key */
  stir(key) {
    if (this.shown.has(key)) this.#dirty.add(key);
  }

  /** A row that was created here has its id. @param {string} name @param {Id} id */
  settle(name, id) {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.#dirty.add(id);
    this.#dirty.add(name);
    for (const part of pending ?? []) this.add(part);
  }

  /** The confirmed row has changed, or is gone. @param {Id} id */
  touch(id) {
    const key = this.#table.keyOf(id);
    // From now on the confirmed rows say whether it is there: someone else may delete it before this page hears of its confirm.
    if (this.#pending.get(key)?.[0].method === "create") this.#landed.add(key);
    this.#dirty.add(key);
  }

  /** What is pending of a row, or of any, may show otherwise: it names one that has its id by now, or the row has changed elsewhere. @param {Id} [id] */
  nudge(id) {
    if (this.#pending.size === 0) return;
    const key = id === undefined ? undefined : this.#table.keyOf(id);
    for (const pending of key === undefined ? this.#pending.keys() : [key]) if (this.#pending.has(pending)) this.#dirty.add(pending);
  }

  /**
   * Brings what is shown up to date.
   * @returns {Change[]} the rows that changed, or whose change is not, or no longer, confirmed
   */
  flush() {
    /** @type {Change[]} */
    const changes = [];
    for (const key of this.#dirty) {
      const before = this.shown.get(key);
      const row = this.#replay(key);
      const after = equal(before, row) ? before : row && Object.freeze(row);
      if (after) this.shown.set(key, after);
      else this.shown.delete(key);
      const isPending = this.#table.pending(key) > 0;
      if (before !== after || (after && isPending !== this.#wasPending.has(key))) changes.push({ key, before, after });
      if (isPending) this.#wasPending.add(key);
      else this.#wasPending.delete(key);
    }
    this.#dirty.clear();
    return changes;
  }

  /** @param {Id} key */
  #replay(key) {
    const { names, idName } = this.#table;
    const id = names.idOf(key);
    if (id !== undefined && this.#table.keyOf(id) !== key) return; // it is shown under its other name
    const all = this.#pending.get(key) ?? [];
    const pending = this.#landed.has(key) ? all.slice(1) : all;
    let row = id === undefined ? undefined : this.#collection.rows.rows.get(id);
    // It may come into this subscription by what is pending.
    if (!row && id !== undefined && pending.length > 0 && pending[0].method !== "create") row = this.#table.elsewhere(id, this.#collection);
    return replay(row, pending, names, idName);
  }
}

/**
 * @param {Row | undefined} row as it is confirmed
 * @param {readonly Part[]} pending
 * @param {Names} names
 * @param {string} idName
 */
export function replay(row, pending, names, idName) {
  for (const { method, key, model } of pending) {
    if (method === "create") row ??= { ...names.shown(model), [idName]: names.idOf(key) ?? key };
    else if (method === "delete") row = undefined;
    else if (row) row = { ...row, ...names.shown(model), [idName]: row[idName] };
  }
  return row;
}
