/**
 * Backbone models and collections that stay in sync: `syncedModel` and `syncedCollection`, as globals, for a page that has Underscore
 * and Backbone.
 *
 * ```html
 * <script src="/sync/vendor/underscore.js"></script>
 * <script src="/sync/vendor/backbone.js"></script>
 * <script src="/sync/backbone.js"></script>
 * <script>
 *   const Todo = syncedModel.extend({}, { modelname: "Todo" });
 *   const Todos = syncedCollection.extend({ model: Todo }, { modelname: "Todo" });
 *   const todos = new Todos();
 *   todos.on("add change remove", (todo, _, options) => console.log(todo.attributes, options.remote));
 *   todos.fetch();
 *   todos.create({ title: "milk" });
 * </script>
 * ```
 * All of Backbone's methods, callbacks and events are as Backbone has them. What changes elsewhere arrives as the same events, with
 * `options.remote` true. Modules import `backbone.mjs` instead.
 */

// A classic script: it can be loaded beside Backbone, so what is in it must stay in a function, and the client, a module, comes after it.
(() => {
  /** @typedef {import("./sync.js").Database<any>} Database */
  /** @typedef {import("./sync.js").Options} Options */
  /** @typedef {import("./view.js").Change} Change */

  /**
   * @param {any} Backbone
   * @param {(options?: Options) => Database | Promise<Database>} connect
   */
  function synced(Backbone, connect) {
    const { Model, Collection } = Backbone;

    // The connection.

    /** @type {Database | undefined} */
    let database;
    /** @type {Promise<Database> | undefined} */
    let connecting;

    /** @param {Options} [options] */
    function open(options) {
      if (connecting && options) throw new Error("syncedModel.connect: it is connected already; call it before the first model is used");
      if (connecting) return connecting;
      const given = connect(options);
      if (!("then" in given)) database = given;
      connecting = Promise.resolve(given).then((ready) => (database = ready));
      connecting.catch((error) => console.error("sync: the client cannot be loaded:", error));
      return connecting;
    }

    /**
     * In the order of the calls; at once, if there is a connection.
     * @param {(database: Database) => void} run
     * @param {(error: unknown) => void} [failed]
     */
    function connected(run, failed = () => {}) {
      const opening = open();
      if (database) run(database);
      else opening.then(run, failed);
    }

    // The rows of one model, for all that shows them.

    /** @type {Map<string, Table>} */
    const tables = new Map();

    /** @param {any} subject a model or a collection @returns {Table} */
    function tableOf(subject) {
      const prototype = subject.model?.prototype;
      const name = subject.constructor.modelname ?? subject.modelname ?? subject.model?.modelname;
      if (typeof name !== "string" || name === "") {
        throw new Error('a synced model or collection needs the name of its model: extend({...}, { modelname: "Todo" })');
      }
      const id = subject.idAttribute ?? prototype?.idAttribute ?? "id";
      let table = tables.get(name);
      if (!table) tables.set(name, (table = new Table(name, id)));
      if (table.idAttribute !== id) throw new Error(`${name}: its idAttribute was \`${table.idAttribute}\`, and is now \`${id}\``);
      return table;
    }

    class Table {
      /** @type {import("./model.js").Model<any> | undefined} */
      model;
      /** @type {import("./query.js").Query<any> | undefined} */
      query;
      collections = new Set();
      /** Models that are in no collection, or had no id when they came. @type {Map<any, Set<any>>} */
      #followed = new Map();
      #isLoading = true;
      /** @type {unknown} */
      #error;
      /** @type {(() => void)[]} */
      #waiting = [];

      /** @param {string} name @param {string} idAttribute */
      constructor(name, idAttribute) {
        this.idAttribute = idAttribute;
        connected((database) => {
          this.model = database.model(name, { id: idAttribute });
          this.query = this.model.query();
          this.query.subscribe((query, changes) => this.#apply(query, changes));
        });
      }

      /**
       * The rows, as soon as there are any.
       * @returns {Promise<any[]>}
       */
      rows() {
        return new Promise((resolve, reject) => {
          const look = () => {
            const { rows = [], status = "loading", error } = this.query ?? {};
            if (error) reject(error);
            else if (status === "loading") this.#waiting.push(look);
            else resolve([...rows]);
          };
          connected(look, reject);
        });
      }

      /** Whether an id is only what stands for one. @param {any} id */
      isUnnamed(id) {
        return this.model !== undefined && this.model.id(id) === undefined;
      }

      /** @param {any} key @param {any} model */
      follow(key, model) {
        if (model.syncKey !== undefined) this.#followed.get(model.syncKey)?.delete(model);
        model.syncKey = key;
        const models = this.#followed.get(key) ?? new Set();
        this.#followed.set(key, models.add(model));
      }

      /** @param {any} model */
      unfollow(model) {
        const models = this.#followed.get(model.syncKey);
        if (models?.delete(model) && models.size === 0) this.#followed.delete(model.syncKey);
      }

      /** The model of a row. @param {any} collection @param {any} id or what stands for it */
      find(collection, id) {
        if (!this.model || id === undefined || id === null) return;
        for (const model of this.#followed.get(this.model.key({ [this.idAttribute]: id })) ?? []) {
          if (collection._byId[model.cid] === model) return model;
        }
      }

      /** Brings a model to what is shown of its row. @param {any} model @param {object} options */
      refresh(model, options) {
        const row = this.model?.peek(model.syncKey ?? model.id);
        if (row) model.set(model.parse({ ...row }, options), options);
      }

      /**
       * @param {import("./query.js").Query<any>} query
       * @param {readonly Change[]} changes
       */
      #apply(query, changes) {
        // What was there before anybody looked is not news; who wants it fetches it.
        const isNews = !this.#isLoading;
        this.#isLoading = query.status === "loading";
        if (query.error && query.error !== this.#error) {
          console.error(`sync: ${query.error.message}`);
          for (const collection of this.collections) collection.trigger("error", collection, query.error, { remote: true });
        }
        this.#error = query.error;
        for (const { key, before, after } of changes) if (before && !after) this.#remove(key, before);
        const present = changes.filter(({ after }) => after);
        for (const collection of this.collections) this.#merge(collection, present, isNews);
        for (const change of present) this.#change(change);
        if (!this.#isLoading || query.error) for (const look of this.#waiting.splice(0)) look();
      }

      /** @param {any} key @param {any} row that is gone */
      #remove(key, row) {
        const models = new Set(this.#followed.get(key));
        for (const collection of this.collections) models.add(collection.get(row[this.idAttribute]));
        for (const model of models) {
          if (!model || model.syncWaits) continue;
          // One that was never there was not destroyed: it is as it was before it was saved.
          const isRejected = model.isNew();
          this.unfollow(model);
          if (!isRejected) model.trigger("destroy", model, model.collection, { remote: true });
          else for (const collection of this.collections) collection.remove(model, { remote: true });
          if (isRejected) model.syncKey = undefined;
        }
      }

      /**
       * One step of a collection: what changed in its models, and what is new.
       * @param {any} collection
       * @param {readonly Change[]} changes
       * @param {boolean} isNews
       */
      #merge(collection, changes, isNews) {
        /** @type {{own: any[], remote: any[]}} */
        const lists = { own: [], remote: [] };
        for (const { key, before, after } of changes) {
          const model = collection.get(after?.[this.idAttribute]) ?? this.find(collection, key);
          if (model?.syncWaits || collection.syncCreating.has(key)) continue;
          if (model) {
            const changed = this.#difference(model, before, after);
            // A row that gets its id was created on this page.
            const list = before && this.#isNamed(before, after) ? lists.own : lists.remote;
            if (changed) list.push({ ...changed, [this.idAttribute]: after?.[this.idAttribute] });
          } else if (!before && (isNews || this.isUnnamed(key))) {
            const fresh = new collection.model({ ...after }, { collection, parse: true, remote: true });
            lists.remote.push(fresh);
          }
        }
        if (lists.own.length > 0) collection.set(lists.own, { remove: false, parse: false });
        if (lists.remote.length > 0) collection.set(lists.remote, { remove: false, parse: false, remote: true });
      }

      /** Models that are in no collection. @param {Change} change */
      #change({ key, before, after }) {
        for (const model of this.#followed.get(key) ?? []) {
          if (model.syncWaits) continue;
          const options = before && this.#isNamed(before, after) ? {} : { remote: true };
          model.set(this.#difference(model, before, after) || {}, options);
        }
      }

      /** @param {any} before @param {any} after */
      #isNamed(before, after) {
        return before[this.idAttribute] !== after[this.idAttribute];
      }

      /**
       * What has changed of a row, as a model has it: what was set in the model meanwhile and not saved stays.
       * @param {any} model
       * @param {any} before
       * @param {any} after
       */
      #difference(model, before, after) {
        const options = { remote: true };
        const [was, is] = [before ? model.parse({ ...before }, options) : {}, model.parse({ ...after }, options)];
        const gone = Object.keys(was).map((name) => [name, undefined]);
        return differing(was, { ...Object.fromEntries(gone), ...is });
      }
    }

    // What Backbone asks of a server.

    /**
     * @param {"create" | "read" | "update" | "patch" | "delete"} method
     * @param {any} subject
     * @param {any} options
     */
    function sync(method, subject, options) {
      const table = tableOf(subject);
      // As it is now, not as it will be when the client is loaded.
      const attributes = method === "read" ? undefined : { ...(options.attrs ?? subject.toJSON(options)) };
      const isCollection = "models" in subject;
      const asked = isCollection ? table.rows() : request(table, method, subject, attributes, options);
      const promise = asked.then(
        (answer) => {
          guarded(() => options.success?.(answer));
          return answer;
        },
        (error) => {
          guarded(() => options.error?.(error));
          throw error;
        },
      );
      // Who does not look at the promise has the callbacks and the `error` event.
      promise.catch(() => {});
      subject.trigger("request", subject, promise, options);
      return promise;
    }

    /**
     * @param {Table} table
     * @param {string} method
     * @param {any} model
     * @param {any} attributes
     * @param {any} options
     * @returns {Promise<any>} of the row
     */
    function request(table, method, model, attributes, options) {
      // A second save before the first is confirmed changes the same row.
      const isFirst = method === "create" && !model.syncIsCreated;
      if (isFirst) model.syncIsCreated = true;
      const wait = Boolean(options.wait);
      if (wait) model.syncWaits = (model.syncWaits ?? 0) + 1;
      const done = () => {
        if (wait) model.syncWaits -= 1;
        options.syncCreating?.syncCreating.delete(model.syncKey);
        if (method === "delete") table.unfollow(model);
      };
      return new Promise((resolve, reject) => {
        connected(() => {
          const rows = /** @type {import("./model.js").Model<any>} */ (table.model);
          const { idAttribute } = table;
          const key = model.syncKey ?? model.id;
          /** @type {Promise<any>} */
          let answer;
          if (isFirst) {
            const creation = rows.create(attributes, { wait });
            table.follow(rows.key(creation.row), model);
            options.syncCreating?.syncCreating.add(model.syncKey);
            answer = creation.catch((error) => {
              model.syncIsCreated = false;
              throw error;
            });
          } else if (key === undefined) answer = Promise.reject(new Error(`a model without \`${idAttribute}\` cannot be fetched`));
          else if (method === "delete") answer = rows.delete(key, { wait });
          else if (method === "read") answer = rows.get(key).then((row) => row ?? Promise.reject(notFound()));
          else {
            // What differs from what is shown, so that others' changes of other attributes stay; all of it where the row is not here.
            const row = rows.peek(key);
            const changed = method === "patch" ? attributes : row && (differing(row, attributes) || {});
            answer = changed ? rows.patch({ ...changed, [idAttribute]: key }, { wait }) : rows.update({ ...attributes, [idAttribute]: key }, { wait });
          }
          if (method === "delete") {
            if (!wait) table.unfollow(model);
          } else if (model.syncKey === undefined && key !== undefined) table.follow(rows.key({ [idAttribute]: key }), model);
          answer.then((row) => {
            done();
            // What is pending on top of it is part of what is shown: nothing jumps back.
            resolve(method === "delete" ? row : { ...(rows.peek(model.syncKey ?? key) ?? row) });
          }, (error) => {
            done();
            if (wait && method !== "create") table.refresh(model, { remote: true });
            reject(error);
          });
        }, reject);
      });
    }

    /**
     * As Backbone compares attributes.
     * @param {object} before
     * @param {object} after
     * @returns {object | false}
     */
    function differing(before, after) {
      return Model.prototype.changedAttributes.call({ attributes: before }, after);
    }

    /** @param {any} attributes @param {string} name */
    function without(attributes, name) {
      return Object.fromEntries(Object.entries(attributes).filter(([other]) => other !== name));
    }

    /** A callback's mistake is reported as any other. @param {() => void} run */
    function guarded(run) {
      try {
        run();
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }

    function notFound() {
      return Object.assign(new Error("there is no such row"), { name: "SyncError", code: "not_found", fields: new Map() });
    }

    const syncedModel = Model.extend(
      {
        sync(/** @type {any} */ method, /** @type {any} */ model, /** @type {any} */ options) {
          return sync(method, model, options);
        },

        // A row that was created here may come before it has its id.
        set(/** @type {any} */ key, /** @type {any} */ value, /** @type {any} */ options) {
          if (key === null || key === undefined) return this;
          const isObject = typeof key === "object";
          const attributes = isObject ? key : { [key]: value };
          const table = tableOf(this);
          const id = attributes[table.idAttribute];
          const isUnnamed = id !== undefined && id !== null && table.isUnnamed(id);
          if (isUnnamed && this.syncKey === undefined) {
            this.syncIsCreated = true;
            table.follow(id, this);
          }
          return Model.prototype.set.call(this, isUnnamed ? without(attributes, table.idAttribute) : attributes, isObject ? value : options);
        },

        destroy(/** @type {any} */ options) {
          // New, and on its way all the same: it must be deleted after it was created.
          if (!this.isNew() || !this.syncIsCreated) return Model.prototype.destroy.call(this, options);
          this.isNew = () => false;
          const promise = Model.prototype.destroy.call(this, options);
          const settled = () => delete this.isNew;
          promise.then(settled, settled);
          return promise;
        },
      },
      {
        /**
         * Says how to connect, before the first model is used; without it they connect to where the page came from.
         *
         * ```js
         * syncedModel.connect({ storage: "indexeddb" }).then((db) => db.onstatus(show));
         * ```
         * @param {Options} [options]
         * @returns {Promise<Database>} the same each time
         */
        connect: (options) => open(options),
      },
    );

    const syncedCollection = Collection.extend({
      model: syncedModel,

      sync(/** @type {any} */ method, /** @type {any} */ collection, /** @type {any} */ options) {
        return sync(method, collection, options);
      },

      constructor(/** @type {any[]} */ ...given) {
        /** Keys of rows that come in by themselves, when their creation is confirmed. */
        this.syncCreating = new Set();
        Collection.apply(this, given);
        tableOf(this).collections.add(this);
      },

      get(/** @type {any} */ given) {
        const found = Collection.prototype.get.call(this, given);
        if (found || given === null || given === undefined) return found;
        const table = tableOf(this);
        return table.find(this, typeof given === "object" ? (given.attributes ?? given)[table.idAttribute] : given);
      },

      create(/** @type {any} */ model, /** @type {any} */ options) {
        return Collection.prototype.create.call(this, model, options?.wait ? { ...options, syncCreating: this } : options);
      },

      /** Hears no more of what changes. */
      leave() {
        tableOf(this).collections.delete(this);
        return this;
      },
    });

    return { syncedModel, syncedCollection };
  }

  const given = /** @type {any} */ (globalThis);
  given[Symbol.for("sync.backbone")] = synced;
  const { src } = /** @type {HTMLScriptElement} */ (globalThis.document?.currentScript ?? {});
  if (src === undefined) return; // a module has it
  if (!given.Backbone) throw new Error("/sync/backbone.js: load underscore.js and backbone.js before it");
  const client = () => import(new URL("client.js", src).href);
  Object.assign(given, synced(given.Backbone, (options) => client().then(({ connect }) => connect(options))));
})();
