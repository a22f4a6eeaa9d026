/**
 * The rows that were created here, by the name that each has in this browser: what stands for their id until the server has
 * given one, in the rows that are shown, in calls, and in the fields of other rows.
 *
 * The first half of the name is the `cid` that the row is created under. Everybody hears that with the row, the other half nobody: so
 * no text that others write is taken for a name.
 * @module
 */

/** @typedef {import("./rows.js").Id} Id */

/** Of the cid, in hexadecimal digits: 128 random bits. */
const CID = 32;

/** A name for a new row. @returns {string} */
export function newName() {
  return randomHex(CID);
}

/** The `cid` of a name. @param {string} name */
export function cidOf(name) {
  return name.slice(0, CID);
}

/** @param {number} length in bytes */
export function randomHex(length) {
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Names {
  /** In order of creation. @type {Map<string, {order: number, id: Id | undefined}>} */
  #names = new Map();
  /** By cid. @type {Map<unknown, string>} */
  #byCid = new Map();

  /** @param {string} name @param {Id} [id] where it was chosen by the creator */
  add(name, id) {
    if (this.#names.has(name)) return;
    this.#names.set(name, { order: this.#names.size, id });
    this.#byCid.set(cidOf(name), name);
  }

  /** @param {string} name @param {Id} id as the server says */
  settle(name, id) {
    const known = this.#names.get(name);
    if (known) known.id = id;
  }

  /** The row that was created here under a `cid`. @param {unknown} cid */
  of(cid) {
    return this.#byCid.get(cid);
  }

  /** Which one it is of those created here. @param {any} value */
  order(value) {
    return this.#names.get(value)?.order;
  }

  /** The id behind a name, once there is one; any other value is itself. @param {any} value */
  idOf(value) {
    const name = this.#names.get(value);
    return name ? name.id : value;
  }

  /** A value as it is shown: with ids where they are known. @param {any} value @returns {any} */
  shown(value) {
    return this.#map(value, (name) => this.idOf(name) ?? name);
  }

  /** A value as it is sent: the server replaces what is not known here yet. @param {any} value @returns {any} */
  wire(value) {
    return this.#map(value, (name) => this.idOf(name) ?? { $cid: cidOf(name) });
  }

  /** The names in a value that have no id yet. @param {any} value */
  unsettled(value) {
    /** @type {Set<string>} */
    const names = new Set();
    this.#map(value, (name) => (this.idOf(name) === undefined ? names.add(name) : undefined, name));
    return names;
  }

  /**
   * @param {any} value
   * @param {(name: string) => any} replace
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
