/**
 * The rows of one model as they are shown: those that are confirmed, with what is pending replayed on top, in order.
 *
 * A row is known here by its *key*: its name where it was created here, for good, else the id. So a row that gets its id
 * stays the same row.
 * @module
 */

import { equal } from "./where.js";

/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./names.js").Names} Names */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Rows} Rows */
/** @typedef {{key: Id, before: Row | undefined, after: Row | undefined}} Change what became of a row as it is shown */

export class View {
  /** By key. Rows are frozen, and stay the same objects as long as nothing in them changes. @type {Map<Id, Row>} */
  shown = new Map();
  #rows;
  #names;
  #idName;
  /** By key, in the order in which they were handed in. @type {Map<Id, Mutation[]>} */
  #pending = new Map();
  /** @type {Map<Id, string>} */
  #namesById = new Map();
  /** Rows that are not confirmed to be created, but of which the server has already told. @type {Set<Id>} */
  #landed = new Set();
  /** What was pending when it was last brought up to date. @type {Set<Id>} */
  #wasPending = new Set();
  /** @type {Set<Id>} */
  #dirty = new Set();

  /**
   * @param {Rows} rows
   * @param {Names} names
   * @param {string} idName
   */
  constructor(rows, names, idName) {
    this.#rows = rows;
    this.#names = names;
    this.#idName = idName;
  }

  /** @param {Id} id of a row, or the name that stands for it: a row that came before this view was there goes by its id */
  keyOf(id) {
    const known = this.#names.idOf(id) ?? id;
    return this.#namesById.get(known) ?? known;
  }

  /** How many writes to a row are shown and not confirmed. @param {Id} id */
  pending(id) {
    return this.#pending.get(this.keyOf(id))?.length ?? 0;
  }

  /** @param {Mutation} mutation */
  add(mutation) {
    const key = this.keyOf(mutation.key);
    const pending = this.#pending.get(key) ?? [];
    this.#pending.set(key, [...pending, mutation].sort((a, b) => a.n - b.n));
    this.#dirty.add(key);
  }

  /** @param {Mutation} mutation that is pending no more */
  remove(mutation) {
    const key = this.keyOf(mutation.key);
    const rest = (this.#pending.get(key) ?? []).filter((other) => other !== mutation);
    if (rest.length > 0) this.#pending.set(key, rest);
    else this.#pending.delete(key);
    if (mutation.method === "create") this.#landed.delete(key);
    this.#dirty.add(key);
  }

  /** A row that was created here has its id. @param {string} name @param {Id} id */
  settle(name, id) {
    this.#namesById.set(id, name);
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    this.#dirty.add(id);
    this.#dirty.add(name);
    for (const mutation of pending ?? []) this.add(mutation);
  }

  /** The confirmed row has changed, or is gone. @param {Id} id */
  touch(id) {
    const key = this.keyOf(id);
    // From now on the confirmed rows say whether it is there: someone else may delete it before this page hears of its confirm.
    if (this.#pending.get(key)?.[0].method === "create") this.#landed.add(key);
    this.#dirty.add(key);
  }

  /** It names a row that has its id by now. @param {Mutation} mutation */
  touchPending(mutation) {
    this.#dirty.add(this.keyOf(mutation.key));
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
      const isPending = this.#pending.has(key);
      if (before !== after || (after && isPending !== this.#wasPending.has(key))) changes.push({ key, before, after });
      if (isPending) this.#wasPending.add(key);
      else this.#wasPending.delete(key);
    }
    this.#dirty.clear();
    return changes;
  }

  /** @param {Id} key */
  #replay(key) {
    const id = this.#names.idOf(key);
    if (this.keyOf(id) !== key && id !== undefined) return; // it is shown under its other name
    const row = id === undefined ? undefined : this.#rows.rows.get(id);
    const pending = this.#pending.get(key) ?? [];
    return replay(row, this.#landed.has(key) ? pending.slice(1) : pending, this.#names, this.#idName);
  }
}

/**
 * @param {Row | undefined} row as it is confirmed
 * @param {readonly Mutation[]} pending
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
