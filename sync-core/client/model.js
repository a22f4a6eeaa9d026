/**
 * What an application holds of a model: its writes, and its queries.
 * @module
 */

import { newName } from "./names.js";
import { Query } from "./query.js";

/** @typedef {import("./mutations.js").Part} Part */
/** @typedef {import("./rows.js").Id} Id */

/**
 * The types of one model, as the server's `/sync/models.d.ts` has them.
 * @typedef {object} ModelTypes
 * @property {any} row what is shown
 * @property {any} insert what `create` takes
 * @property {any} patch the fields that may be changed
 * @property {string} id the name of the field that is the id
 * @property {string} indexed the fields that `where` and `order` may use
 * @property {{[action: string]: {args: object, result: any}}} [actions] what else the server does at a word, by name:
 *   `{clear_completed: {args: {list: string}, result: number}}`
 */

/** @typedef {{row: any, insert: any, patch: any, id: string, indexed: string, actions: any}} AnyModel */

/**
 * The actions of a model: none, where its types have none.
 * @template {ModelTypes} T
 * @typedef {T extends {actions: infer A} ? A : {}} ActionsOf
 */

/**
 * What an action is called with: nothing, where all its arguments may be left out.
 * @template A
 * @typedef {{} extends A ? [args?: A] : [args: A]} ArgsOf
 */

/**
 * What stands for the id of a row that was created here, before and after the server has assigned one.
 * @typedef {string & {readonly cid: never}} Cid
 */

/**
 * @template {ModelTypes} T
 * @typedef {T["row"][T["id"]] | Cid} IdOf
 */

/**
 * @template {ModelTypes} T
 * @typedef {T["indexed"] | `-${T["indexed"]}`} Order
 */

/**
 * A write that is under way: it ends once, with the row as the server has it, when the queries here show it too; or with a
 * `SyncError`. There is no row if the client may not see it.
 * @template R
 * @typedef {Promise<R> & {readonly row: Readonly<R>}} Creation `row` is the new row as it is shown until then: usable at once, under a
 *   client's id where the server assigns ids
 */

/**
 * Writes to one model and queries of it.
 *
 * ```js
 * const todos = db.model("Todo");
 * const milk = todos.create({ title: "milk" }); // shown at once
 * todos.patch({ id: milk.row.id, completed: true }); // needs not wait
 * await milk; // on the server's disk
 * ```
 * @template {ModelTypes} [T=AnyModel]
 */
export class Model {
  #table;
  #hub;

  /**
   * @param {import("./table.js").Table} table
   * @param {import("./hub.js").Hub} hub
   */
  constructor(table, hub) {
    /** The model's name on the server. */
    this.name = table.name;
    /** The name of the field that is the id. */
    this.idName = table.idName;
    this.#table = table;
    this.#hub = hub;
  }

  /** @param {Pick<Part, "method" | "model"> & Partial<Part>} part */
  #write(part) {
    const { name, idName } = this;
    return this.#hub.write({ modelname: name, idName, key: part.model?.[idName], ...part });
  }

  /**
   * Adds a row.
   *
   * ```js
   * const { row } = todos.create({ title: "milk" });
   * comments.create({ todo: row.id, text: "two litres" }); // the server puts the right id in
   * ```
   * @param {T["insert"]} model
   * @param {Pick<WriteOptions, "wait">} [options]
   * @returns {Creation<T["row"]>}
   */
  create(model, options) {
    const name = newName();
    const key = /** @type {any} */ (model)?.[this.idName] ?? name;
    const promise = this.#write({ method: "create", key, name, model, ...options });
    return Object.assign(promise, { row: /** @type {any} */ (this.#table.shown(key) ?? { ...model, [this.idName]: key }) });
  }

  /**
   * Replaces a row; a field with a default may be left out, and then has it.
   *
   * ```js
   * await todos.update({ id: 7, title: "tea", completed: false });
   * ```
   * @param {T["insert"] & {[F in T["id"]]: IdOf<T>}} model the whole row
   * @param {WriteOptions} [options]
   * @returns {Promise<T["row"]>} as for `create`
   */
  update(model, options) {
    return this.#write({ method: "update", model, ...options });
  }

  /**
   * Changes fields of a row. Two who change different fields at the same time both have their way; of two who change the
   * same one, the last.
   *
   * ```js
   * await todos.patch({ id: 7, completed: true });
   * ```
   * @param {T["patch"] & {[F in T["id"]]: IdOf<T>}} model the row's id and the fields to change
   * @param {WriteOptions} [options]
   * @returns {Promise<T["row"]>} as for `create`
   */
  patch(model, options) {
    return this.#write({ method: "patch", model, ...options });
  }

  /**
   * ```js
   * await todos.delete(7);
   * ```
   * @param {IdOf<T>} id
   * @param {WriteOptions} [options]
   * @returns {Promise<void>}
   */
  delete(id, options) {
    return this.#write({ method: "delete", model: { [this.idName]: id }, ...options });
  }

  /**
   * Has the server do one of the model's actions: once, in order with all that is written here, and after a time without a line too. What it changes is
   * shown once it is done.
   *
   * ```js
   * const cleared = await todos.action("clear_completed", { list: "home" });
   * ```
   * @template {keyof ActionsOf<T> & string} A
   * @param {A} name
   * @param {ArgsOf<ActionsOf<T>[A] extends {args: infer G} ? G : any>} args by parameter
   * @returns {Promise<ActionsOf<T>[A] extends {result: infer R} ? R : any>} what it returns; else as for `create`
   */
  action(name, ...[args]) {
    return this.#write({ method: "action", action: name, key: "", model: args ?? {} });
  }

  /**
   * One row, with what is not confirmed yet: from the rows that are here, if a query has them, else from the server.
   *
   * ```js
   * const milk = await todos.get(7);
   * ```
   * @param {IdOf<T>} id
   * @returns {Promise<Readonly<T["row"]> | undefined>} undefined if there is none that the client may see
   */
  get(id) {
    return this.#hub.get(this.#table, id);
  }

  /**
   * One row as the queries here show it now.
   *
   * ```js
   * const title = todos.peek(7)?.title ?? "";
   * ```
   * @param {IdOf<T>} id
   * @returns {Readonly<T["row"]> | undefined} undefined if there is none, or no query that has it
   */
  peek(id) {
    return /** @type {any} */ (this.#table.shown(id));
  }

  /**
   * The rows that a `where` holds for, in an order, live.
   *
   * ```js
   * const open = todos.query({ where: { completed: false, title: { prefix: "m" } }, order: ["-priority", "title"], limit: 10 });
   * ```
   * Conditions: a value, or `eq`, `ne`, `lt`, `lte`, `gt`, `gte`, `in`, `prefix`; joined by `and`, `or`, `not`.
   * @param {import("./query.js").QueryOptions<T>} [options]
   * @returns {Query<T["row"]>}
   * @throws {TypeError} if the options cannot be understood
   */
  query(options = {}) {
    return new Query(this.#table, options);
  }

  /**
   * A name for a row that stays the same when the server gives it its id: what to call its element in a list.
   *
   * ```js
   * const element = elements.get(todos.key(row));
   * ```
   * @param {{readonly [F in T["id"]]: any}} row
   * @returns {IdOf<T>} takes the id's place in every call
   */
  key(row) {
    return /** @type {any} */ (this.#table.keyOf(/** @type {any} */ (row)[this.idName]));
  }

  /**
   * The id behind a row's key.
   *
   * ```js
   * const { row } = todos.create({ title: "milk" });
   * todos.id(row.id); // undefined, and 7 once the server has said so
   * ```
   * @param {IdOf<T>} key
   * @returns {T["row"][T["id"]] | undefined} undefined until the server has assigned one
   */
  id(key) {
    return this.#table.names.idOf(key);
  }

  /**
   * How many writes to a row are shown and not confirmed yet.
   *
   * ```js
   * element.classList.toggle("pending", todos.pending(row) > 0);
   * ```
   * @param {{readonly [F in T["id"]]: any}} row
   * @returns {number}
   */
  pending(row) {
    return this.#table.pending(/** @type {any} */ (row)[this.idName]);
  }

  /**
   * The seq of the row's last confirmed change, for `ifSeq`; undefined where no query has the row.
   *
   * ```js
   * const seen = todos.seq(row);
   * // the user thinks about it
   * await todos.patch({ id: row.id, title }, { ifSeq: seen }); // `conflict`, with the row as `current`, if it was changed meanwhile
   * ```
   * @param {T["row"]} row
   * @returns {number | undefined}
   */
  seq(row) {
    return this.#table.seqOf(this.#table.names.idOf(row[this.idName]));
  }
}

/**
 * @typedef {object} WriteOptions
 * @property {number} [ifSeq] only if this is still the row's seq, else `conflict`
 * @property {boolean} [wait] show it only once it is confirmed
 */
