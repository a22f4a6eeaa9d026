/**
 * What an application holds of a model: its four writes, and its rows.
 * @module
 */

/** @typedef {import("./mutations.js").SyncError} SyncError */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Rows} Rows */

/**
 * What is known of one model on the wire, shared by all of its subscriptions here.
 * @typedef {object} Collection
 * @property {string} id the subscription's, for the server
 * @property {Rows} rows
 * @property {Set<Subscription<any>>} subscriptions
 * @property {SyncError} [error]
 * @property {any} [retry] timer
 */

/**
 * Writes to one model and reads its rows.
 * @template {Row} [T=Row]
 */
export class Model {
  #id;
  #mutate;
  #subscribe;

  /**
   * @param {string} name
   * @param {string} id the field that is the rows' id
   * @param {(method: string, model: object, cid?: string) => Promise<any>} mutate
   * @param {(listener?: (subscription: Subscription<T>) => void) => Subscription<T>} subscribe
   */
  constructor(name, id, mutate, subscribe) {
    this.name = name;
    this.#id = id;
    this.#mutate = mutate;
    this.#subscribe = subscribe;
  }

  /**
   * Each of the four ends once: with the row as the server has it, when the rows of a subscription here show it too;
   * or with a `SyncError`. There is no row if the client may not see it.
   * @param {Partial<T>} model
   * @returns {Promise<T>}
   */
  create(model) {
    return this.#mutate("create", model, randomHex(16));
  }

  /**
   * @param {Partial<T>} model the whole row
   * @returns {Promise<T>}
   */
  update(model) {
    return this.#mutate("update", model);
  }

  /**
   * @param {Partial<T>} model the row's id and the fields to change
   * @returns {Promise<T>}
   */
  patch(model) {
    return this.#mutate("patch", model);
  }

  /**
   * @param {Id} id
   * @returns {Promise<void>}
   */
  delete(id) {
    return this.#mutate("delete", { [this.#id]: id });
  }

  /**
   * @param {(subscription: Subscription<T>) => void} [listener] called after each frame that changed rows or status
   */
  subscribe(listener) {
    return this.#subscribe(listener);
  }
}

/**
 * The rows of a model, kept up to date until it is closed.
 * @template {Row} [T=Row]
 */
export class Subscription {
  #collection;
  #listener;
  #close;

  /**
   * @param {Collection} collection
   * @param {((subscription: Subscription<T>) => void) | undefined} listener
   * @param {() => void} close
   */
  constructor(collection, listener, close) {
    this.#collection = collection;
    this.#listener = listener;
    this.#close = close;
  }

  /** To be read only: all subscriptions of the model share it. @returns {ReadonlyMap<Id, Readonly<T>>} */
  get rows() {
    return /** @type {Map<Id, T>} */ (this.#collection.rows.rows);
  }

  /** `loading` until there are rows; `stale` while they may be behind the server's. */
  get status() {
    return this.#collection.rows.status;
  }

  /** Why the server does not send the rows, if it refused to. */
  get error() {
    return this.#collection.error;
  }

  close() {
    this.#listener = undefined;
    this.#close();
  }

  /** @internal */
  changed() {
    this.#listener?.(this);
  }
}

/** @param {number} length in bytes */
export function randomHex(length) {
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
