/**
 * Keeps the rows of models in sync with the server, shows what is written here at once, and sends it when there is a line.
 *
 * ```js
 * import { connect } from "/sync/client.js";
 *
 * const db = connect();
 * const todos = db.model("Todo");
 * todos.query({ order: "title" }).subscribe(({ rows }) => console.log(rows));
 * await todos.create({ title: "milk" });
 * ```
 *
 * What a query shows is the rows as the server has confirmed them with the writes of this page replayed on top. Nothing that was
 * handed in is dropped while the page lives, and with `storage` not after it either: it is sent when there is a line, and again on
 * the next one until the server has decided it, which it does once.
 * @module
 */

import { SyncError } from "./error.js";
import { Hub } from "./hub.js";
import { Model } from "./model.js";
import { Query } from "./query.js";

export { Model, Query, SyncError };

/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./collection.js").Collection} Collection */
/** @typedef {import("./line.js").Address} Address */
/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./mutations.js").Part} Part */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./session.js").Token} Token */
/** @typedef {import("./model.js").ModelTypes} ModelTypes */
/** @typedef {import("./model.js").AnyModel} AnyModel */
/** @typedef {import("./model.js").Cid} Cid */
/** @typedef {{[modelname: string]: AnyModel}} AnyModels */

/**
 * @typedef {object} Options
 * @property {Address} [url] of the server's socket: by default `/sync` where the page came from. A function is asked before each connection, so
 *   that it can fetch a ticket; where it fails it is asked again after a while, and `db.error` says why
 * @property {Token} [token] says who is at the page: text, or a function that is asked before each connection, so that it can fetch a
 *   new one when the last has expired
 * @property {"memory" | "indexeddb" | `indexeddb:${string}`} [storage] where the rows and what is not sent yet are kept: `memory` (the
 *   default) forgets them with the page; `indexeddb` keeps them over a reload, a crash and a day without a network. What is kept can be read by whoever
 *   uses this browser: with several users give each a name of their own, `indexeddb:alice`
 * @property {Readonly<Record<string, string>>} [schema] the `schema` of the server's `models.js` that this program was built with; by
 *   default what the server says first
 */

/**
 * A write that was refused, for those who do not hold its promise: it may have been made on an earlier page.
 * @typedef {{modelname: string, method: string, model: any, error: SyncError}} Rejection
 */

/**
 * Connects to a server, by default to `/sync` where the page came from, and stays connected.
 *
 * ```js
 * const db = connect({ storage: "indexeddb" });
 * ```
 * With the types that the server emits (`/sync/models.d.ts`) every call is checked: `connect<Models>()`.
 * @template {{[M in keyof S]: ModelTypes}} [S=AnyModels]
 * @param {Options & Partial<Environment>} [options]
 * @returns {Database<S>}
 */
export function connect(options) {
  return new Database(options);
}

/** @template {{[M in keyof S]: ModelTypes}} [S=AnyModels] */
export class Database {
  #hub;
  /** @type {Map<string, Model<any>>} */
  #models = new Map();

  /** @param {Options & Partial<Environment>} [options] */
  constructor(options) {
    this.#hub = new Hub(options);
  }

  /** `connecting`, `online`, `offline` (it tries again), or `closed` for good. @returns {Status} */
  get status() {
    return this.#hub.session.status;
  }

  /** Why the status is `closed`. */
  get reason() {
    return this.#hub.session.reason;
  }

  /** Why there is no connection, where that is known: code `url` or `token`, when the function that was to give one failed. */
  get error() {
    return this.#hub.session.error;
  }

  /** Where rows and unsent writes are kept: `memory` also where the storage that was asked for cannot be had, or has failed. @type {"memory" | "indexeddb"} */
  get storage() {
    return this.#hub.keeper?.isBroken === false ? "indexeddb" : "memory";
  }

  /** How many writes the queries here do not show as confirmed yet. */
  get pending() {
    return this.#hub.pending;
  }

  /**
   * ```js
   * db.onstatus((status) => (banner.hidden = status === "online"));
   * ```
   * @param {(status: Status) => void} listener called whenever the status has changed
   * @returns {() => void} ends it
   */
  onstatus(listener) {
    return this.#hub.listen("status", listener);
  }

  /**
   * ```js
   * db.onpending((pending) => (badge.textContent = pending ? `${pending} to be saved` : ""));
   * ```
   * @param {(pending: number) => void} listener called whenever `pending` has changed
   * @returns {() => void} ends it
   */
  onpending(listener) {
    return this.#hub.listen("pending", listener);
  }

  /**
   * ```js
   * db.onrejected(({ modelname, model, error }) => toast(`${modelname}: ${error.message}`));
   * ```
   * @param {(rejection: Rejection) => void} listener called for every write that is rejected, also one of an earlier page. With one, promises of
   *   writes that nobody waits for are no unhandled rejections
   * @returns {() => void} ends it
   */
  onrejected(listener) {
    return this.#hub.listen("rejected", listener);
  }

  /**
   * ```js
   * const todos = db.model("Todo");
   * const tags = db.model("Tag", { id: "slug" });
   * ```
   * @template {keyof S & string} M
   * @param {M} name
   * @param {{id?: string}} [options] `id`: the field that is the rows' id, where it is another than `id`
   * @returns {Model<S[M]>} the same one for the same name
   */
  model(name, { id = "id" } = {}) {
    let model = this.#models.get(name);
    if (!model) this.#models.set(name, (model = new Model(this.#hub.table(name, id), this.#hub)));
    if (model.idName !== id) throw new TypeError(`model ${name}: its id was said to be \`${model.idName}\``);
    return model;
  }

  /**
   * Writes several rows at once, of one model or of several: all of it is done, or nothing. What the function writes is shown at once, confirmed
   * together, and taken back together where any of it is refused; a row that it creates can be used in the rest of it.
   *
   * ```js
   * await db.batch(() => {
   *   const list = lists.create({ name: "home" });
   *   for (const title of ["milk", "tea"]) todos.create({ title, list: list.row.id });
   * });
   * ```
   * @param {() => void} write does so before it returns
   * @returns {Promise<any[]>} what each write comes to, in order; a `SyncError` says with its `index` which one was refused
   */
  batch(write) {
    return this.#hub.batch(write);
  }

  /**
   * Ends the connection for good. What was not sent by now is rejected with `closed`; where there is a storage, it is kept there
   * for the next page.
   *
   * ```js
   * signOut.onclick = () => db.close();
   * ```
   */
  close() {
    this.#hub.session.close(new SyncError({ code: "closed", message: "the connection was closed" }));
  }
}
