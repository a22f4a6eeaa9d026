/**
 * The rows that were created here, by the `cid` they were created under: what stands for their id until the server has
 * given one, in the rows that are shown, in calls, and in the fields of other rows.
 * @module
 */

/** @typedef {import("./rows.js").Id} Id */

export class Names {
  /** In order of creation. @type {Map<string, {order: number, id: Id | undefined}>} */
  #names = new Map();

  /** @param {string} cid @param {Id} [id] where it was chosen by the creator */
  add(cid, id) {
    if (!this.#names.has(cid)) this.#names.set(cid, { order: this.#names.size, id });
  }

  /** @param {string} cid @param {Id} id as the server says */
  settle(cid, id) {
    const name = this.#names.get(cid);
    if (name) name.id = id;
  }

  /** @param {any} value */
  has(value) {
    return this.#names.has(value);
  }

  /** Which one it is of those created here. @param {any} value */
  order(value) {
    return this.#names.get(value)?.order;
  }

  /** The id behind a cid, once there is one; any other value is itself. @param {any} value */
  idOf(value) {
    const name = this.#names.get(value);
    return name ? name.id : value;
  }

  /** A value as it is shown: with ids where they are known. @param {any} value @returns {any} */
  shown(value) {
    return this.#map(value, (cid) => this.idOf(cid) ?? cid);
  }

  /** A value as it is sent: the server replaces what is not known here yet. @param {any} value @returns {any} */
  wire(value) {
    return this.#map(value, (cid) => this.idOf(cid) ?? { $cid: cid });
  }

  /** The cids in a value that have no id yet. @param {any} value */
  unsettled(value) {
    /** @type {Set<string>} */
    const cids = new Set();
    this.#map(value, (cid) => (this.idOf(cid) === undefined ? cids.add(cid) : undefined, cid));
    return cids;
  }

  /**
   * @param {any} value
   * @param {(cid: string) => any} replace
   * @returns {any} the value itself if there is nothing to replace
   */
  #map(value, replace) {
    if (this.#names.size === 0) return value;
    if (typeof value === "string") return this.#names.has(value) ? replace(value) : value;
    if (value === null || typeof value !== "object") return value;
    const entries = Object.entries(value).map(([name, inner]) => [name, this.#map(inner, replace)]);
    if (entries.every(([name, inner]) => inner === value[name])) return value;
    return Array.isArray(value) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries);
  }
}
