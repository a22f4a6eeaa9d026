/**
 * All that is known here of one model: its collections, each of which is one subscription, and what its queries ask for.
 * @module
 */

import { Collection } from "./collection.js";
import { compare, comparison, conditions, predicate } from "./where.js";

/** @typedef {import("./hub.js").Hub} Hub */
/** @typedef {import("./names.js").Names} Names */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./mutations.js").Part} Part */

/** What the server can do with `where`, and with which fields of which model. @typedef {{features?: string[], indexed?: Record<string, string[]>}} Abilities */

/**
 * What is to be had.
 * @typedef {object} Wanted
 * @property {object} [where]
 * @property {string | readonly string[]} [order]
 * @property {number} [limit]
 * @property {readonly any[]} [after] a place: only rows that come behind it
 * @property {readonly any[]} [until] a place: only rows that come before it, or are there
 */

/** How many subscriptions that nobody holds any more are remembered with their rows, for one who comes back. */
const REMEMBERED = 16;

export class Table {
  /** What asks for less than all rows, once it is loaded. @type {typeof import("./narrow.js").narrowing | undefined} */
  static narrowing;
  /** By what they are subscriptions to. @type {Map<string, Collection>} */
  collections = new Map();
  #hub;
  /** @type {Map<Id, string>} */
  #namesById = new Map();

  /**
   * @param {string} name
   * @param {string} idName
   * @param {Names} names
   * @param {Hub} hub
   */
  constructor(name, idName, names, hub) {
    this.name = name;
    this.idName = idName;
    this.names = names;
    this.#hub = hub;
  }

  /** @param {Id} id of a row, or the name that stands for it */
  keyOf(id) {
    const known = this.names.idOf(id) ?? id;
    return this.#namesById.get(known) ?? known;
  }

  /** A row that was created here has its id. @param {string} name @param {Id} id */
  named(name, id) {
    this.#namesById.set(id, name);
    for (const { view } of this.collections.values()) view.settle(name, id);
  }

  /** A row as the queries here show it. @param {Id} id @returns {Row | undefined} */
  shown(id) {
    const held = this.#latest(({ isHeld }) => isHeld);
    for (const collection of held) collection.flush();
    return held.map(({ view }) => view.shown.get(this.keyOf(id))).find(Boolean);
  }

  /**
   * A row as it is confirmed elsewhere: where it may come from when what is pending brings it into a collection.
   * @param {Id} id
   * @param {Collection} collection
   * @returns {Row | undefined}
   */
  elsewhere(id, { rows: { status, holds } }) {
    // What is not live may have rows that are not there any more.
    const [best] = this.#latest(({ rows }) => rows.rows.has(id) && (rows.status === "live" || status !== "live"));
    const row = best?.rows.rows.get(id);
    // One that belongs where it is not is gone.
    return row && !(status !== "loading" && holds?.(row)) ? row : undefined;
  }

  /** The seq of a row's last change. @param {Id} id @returns {number | undefined} */
  seqOf(id) {
    const [best] = this.#latest(({ rows }) => rows.rows.has(id));
    return best?.rows.seqOf(id);
  }

  /** How many writes to a row are shown and not confirmed. @param {Id} id */
  pending(id) {
    const key = this.keyOf(id);
    let pending = 0;
    for (const { view } of this.collections.values()) pending = Math.max(pending, view.pending(key));
    return pending;
  }

  /** What is pending of a row has changed in one of the collections, and so for all that show it. @param {Id} id */
  stir(id) {
    const key = this.keyOf(id);
    for (const { view } of this.collections.values()) view.stir(key);
  }

  /** Whether all rows that may be seen are here. */
  get isWhole() {
    const all = this.collections.get("");
    return all?.isHeld && all.rows.status !== "loading";
  }

  /** @param {(collection: Collection) => boolean} isOne */
  #latest(isOne) {
    return [...this.collections.values()].filter(isOne).sort((a, b) => b.rows.reached - a.rows.reached);
  }

  /** A row of a collection has changed, or its status: others may show the row too, with what is pending. @param {Id} [id] */
  touched(id) {
    if (this.collections.size > 1) for (const { view } of this.collections.values()) view.nudge(id);
    this.#hub.touched();
  }

  /**
   * The subscription that has what is wanted, and perhaps more: what of it the server can judge it does.
   * @param {Wanted} options
   */
  collection(options) {
    const { narrowing } = Table;
    if (!narrowing && (options.limit || conditions(options.where).length > 0)) this.#hub.narrow();
    const where = this.names.shown(options.where ?? {});
    // Of rows that refer to one without an id the server has none.
    const isLocal = this.names.unsettled(where).size > 0;
    const { wanted, key } = isLocal
      ? { wanted: { where }, key: `? ${JSON.stringify(where)}` }
      : (narrowing?.plan({ ...options, where }, this, this.#hub.abilities) ?? { wanted: {}, key: "" });
    let collection = this.collections.get(key);
    if (!collection) {
      collection = new Collection(this, key, wanted, isLocal, this.#hub);
      this.collections.set(key, collection);
      this.#hub.opened(collection);
    }
    return collection;
  }

  /** Whether a row is one of those that are wanted. @param {Wanted} wanted @returns {(row: Row) => boolean} */
  judge(wanted) {
    const holds = predicate(this.names.shown(wanted.where));
    return (wanted.after || wanted.until) && Table.narrowing ? Table.narrowing.between(wanted, this, holds) : holds;
  }

  /** @param {string | readonly string[] | undefined} order */
  comparison(order) {
    const { idName, names } = this;
    return comparison(order, ({ [idName]: a }, { [idName]: b }) => {
      const [x, y] = [names.order(a) ?? -1, names.order(b) ?? -1];
      return x - y || compare(a, b);
    });
  }

  /** Nobody holds a collection any more. @param {Collection} left */
  left(left) {
    this.collections.delete(left.key);
    this.collections.set(left.key, left);
    const idle = [...this.collections.values()].filter(({ isHeld }) => !isHeld);
    for (const { key } of idle.slice(0, -REMEMBERED)) this.collections.delete(key);
  }
}
