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
 *   todos.on("change", (todo, options) => console.log(todo.attributes, options.remote));
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
      if (connecting && options) throw new Error("syncedModel.connect: there is a connection already; call it before the first model is used");
      if (connecting) return connecting;
      const given = connect(options);
      if (!("then" in given)) database = given;
      connecting = Promise.resolve(given);
      // The first that hears of it: what waits already goes before what comes then.
      connecting.then((ready) => (database = ready)).catch((error) => console.error("sync: the client cannot be loaded:", error));
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
      const { constructor, model, collection } = subject;
      const name = constructor.modelname ?? model?.modelname ?? collection?.constructor.modelname;
      if (typeof name !== "string" || name === "") {
        throw new Error('a synced model or collection needs the name of its model: extend({...}, { modelname: "Todo" })');
      }
      const id = subject.idAttribute ?? model?.prototype?.idAttribute ?? "id";
      let table = tables.get(name);
      if (!table) tables.set(name, (table = new Table(name, id)));
      if (table.idAttribute !== id) throw new Error(`${name}: its idAttribute was \`${table.idAttribute}\`, and is now \`${id}\``);
      return table;
    }

    /** What is known of a model beside its attributes. */
    class Tie {
      /** What its row is called here, from its creation on. @type {any} */
      key;
      /** The row as the model last had all of it: what differs from it was set in the model and is not saved. @type {any} */
      row;
      /** It was created here, and has no place among the confirmed rows yet. */
      isCreating = false;
      /** It was not created: once the callbacks were called, it is as it was before. */
      isRefused = false;
      /** Its row was here. */
      isGone = false;
      /** Its writes whose callbacks were not called yet. */
      open = 0;
    }

    /** @type {WeakMap<any, Tie>} */
    const ties = new WeakMap();

    /**
     * What `Collection.set` is given for models that are there: each is filled in when its turn comes, as listeners of those before it may have
     * written, or removed it.
     * @type {WeakMap<object, () => any>}
     */
    const turns = new WeakMap();

    /** @param {any} model */
    function tieOf(model) {
      let tie = ties.get(model);
      if (!tie) ties.set(model, (tie = new Tie()));
      return tie;
    }

    class Table {
      /** Undefined until the client is loaded. @type {import("./model.js").Model<any> | undefined} */
      model;
      /** @type {import("./query.js").Query<any> | undefined} */
      query;
      collections = new Set();
      /** Models that were not made by a collection, and those that were saved, by key. @type {Map<any, Set<any>>} */
      #followed = new Map();
      /** Rows that collections lack because they came while a model of theirs had callbacks to be called. */
      #late = new Set();
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
       * Settles as soon as there are rows.
       * @returns {Promise<void>}
       */
      loaded() {
        return new Promise((resolve, reject) => {
          const look = () => {
            const { status = "loading", error } = this.query ?? {};
            const failed = error ?? (status === "loading" ? database?.reason : undefined);
            if (failed) reject(failed);
            else if (status === "loading") this.#waiting.push(look);
            else resolve();
          };
          connected(look, reject);
        });
      }

      /** @param {any} id or what stands for it */
      keyOf(id) {
        return this.model?.key({ [this.idAttribute]: id }) ?? id;
      }

      /** Whether an id is only what stands for one. @param {any} id */
      isUnnamed(id) {
        return this.model !== undefined && this.model.id(id) === undefined;
      }

      /** Whether a row that is not here is not there: where rows cannot be read, or are not here yet, their absence says nothing. */
      get isWhole() {
        return this.query?.status !== "loading" && !this.query?.error;
      }

      /**
       * Whether there is no such row, and was none a moment ago.
       * @param {any} id
       * @param {boolean} isSure nobody expects one
       */
      lacks(id, isSure) {
        return (isSure || this.isWhole) && this.model?.peek(id) === undefined && this.model?.pending({ [this.idAttribute]: id }) === 0;
      }

      /** @param {any} key @param {any} model */
      follow(key, model) {
        this.unfollow(model);
        tieOf(model).key = key;
        const models = this.#followed.get(key) ?? new Set();
        this.#followed.set(key, models.add(model));
      }

      /** @param {any} model */
      unfollow(model) {
        const { key } = tieOf(model);
        const models = this.#followed.get(key);
        if (models?.delete(model) && models.size === 0) this.#followed.delete(key);
      }

      /** The model of a row. @param {any} collection @param {any} id or what stands for it */
      find(collection, id) {
        if (id === undefined || id === null) return;
        for (const model of this.#followed.get(this.keyOf(id)) ?? []) {
          if (Collection.prototype.get.call(collection, model.cid) === model) return model;
        }
      }

      /**
       * The callbacks of a write were called: now the model hears what it did not know.
       * @param {any} model
       * @param {boolean} isMissing the server has no such row
       */
      told(model, isMissing) {
        const { key: known, isRefused } = tieOf(model);
        if (isRefused) return this.#gone(model);
        // Gone before its callbacks were called, and brought back by them.
        const isBack = known === undefined && model.id !== undefined && model.collection?.get(model) === model;
        const key = isBack ? this.keyOf(model.id) : known;
        if (this.#isUntold(model)) return;
        const isLate = this.#late.delete(key);
        const isFollowed = isBack || this.#followed.get(key)?.has(model);
        const after = isLate || isFollowed ? this.model?.peek(key) : undefined;
        if (after) this.#show([{ key, before: isLate ? undefined : after, after }], isLate);
        else if (isFollowed && (isMissing || this.isWhole)) this.#gone(model);
      }

      /**
       * A write of the model has ended, or does not show before it has: first its callbacks are called, as Backbone has it, and they see the
       * model as it was saved.
       * @param {any} model
       */
      #isUntold(model) {
        const { key, open } = tieOf(model);
        if (open === 0) return false;
        // Of which of the row's models what is pending is cannot be seen.
        const models = new Set(this.#followed.get(key)).add(model);
        const all = [...models].reduce((sum, other) => sum + tieOf(other).open, 0);
        return all > (this.model?.pending({ [this.idAttribute]: key }) ?? 0);
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
        for (const { key, before, after } of changes) {
          // Where the rows cannot be read their absence says nothing.
          if (after || !before || query.error) continue;
          const models = new Set(this.#followed.get(key));
          for (const collection of this.collections) models.add(this.#modelIn(collection, before[this.idAttribute]));
          models.delete(undefined);
          for (const model of models) if (!this.#isUntold(model)) this.#gone(model);
        }
        this.#show(changes.filter(({ after }) => after), isNews);
        if (!this.#isLoading || query.error || database?.reason) for (const look of this.#waiting.splice(0)) look();
      }

      /** The row of a model is there no more. @param {any} model */
      #gone(model) {
        const tie = tieOf(model);
        this.unfollow(model);
        tie.key = tie.row = undefined;
        if (tie.isCreating || tie.isRefused) {
          // It never was, and can be saved again.
          tie.isCreating = tie.isRefused = false;
        } else {
          tie.isGone = true;
          model.stopListening();
          model.trigger("destroy", model, model.collection, { remote: true });
        }
        for (const collection of new Set([...this.collections, model.collection])) {
          if (collection?.get(model) === model) collection.remove(model, { remote: true });
        }
      }

      /**
       * Brings all that shows these rows to what they are now.
       * @param {readonly Change[]} changes
       * @param {boolean} isNews whether rows that are new belong into the collections
       */
      #show(changes, isNews) {
        const seen = new Set();
        for (const collection of this.collections) {
          const list = changes.flatMap((change) => this.#step(collection, change, isNews, seen));
          if (list.length > 0) collection.set(list, { remove: false, parse: false, remote: true });
        }
        for (const change of changes) {
          for (const model of [...(this.#followed.get(change.key) ?? [])]) {
            const changed = !seen.has(model) && this.#catchUp(model, change, isNews);
            if (changed) model.set(changed, { remote: true });
          }
        }
      }

      /**
       * What a collection has to set.
       * @param {any} collection
       * @param {Change} change
       * @param {boolean} isNews
       * @param {Set<any>} seen models that are brought up to date already
       */
      #step(collection, { key, before, after }, isNews, seen) {
        const id = after?.[this.idAttribute];
        const model = this.#modelIn(collection, id);
        if (model) {
          if (seen.has(model)) return [];
          seen.add(model);
          const change = { key, before, after: this.model?.peek(key) ?? after };
          if (!this.#changed(model, change, isNews)) return this.#catchUp(model, change, isNews), [];
          const attributes = {};
          turns.set(attributes, () => {
            const changed = this.#modelIn(collection, id) === model && this.#catchUp(model, change, isNews);
            if (changed) Object.assign(attributes, changed, { [this.idAttribute]: id });
            return model;
          });
          return [attributes];
        }
        if (before || !(isNews || this.isUnnamed(key))) return [];
        for (const other of this.#followed.get(key) ?? []) {
          if (this.#isUntold(other)) return this.#late.add(key), [];
        }
        const fresh = collection._prepareModel(copy(after), { parse: true, remote: true });
        if (!fresh) return [];
        seen.add(fresh);
        tieOf(fresh).row = after;
        return [fresh];
      }

      /** @param {any} collection @param {any} id or what stands for it */
      #modelIn(collection, id) {
        if (collection.modelId === Collection.prototype.modelId) return collection.get(id);
        // What it calls them by is not what rows are called by.
        return this.find(collection, id) ?? collection.models.find((/** @type {any} */ model) => model.id === id);
      }

      /**
       * What a model has to set to be what its row is now.
       * @param {any} model
       * @param {Change} change
       * @param {boolean} isNews
       * @returns {object | false}
       */
      #catchUp(model, { key, before }, isNews) {
        const tie = tieOf(model);
        const after = this.model?.peek(key);
        if (!after || this.#isUntold(model)) return false;
        const changed = this.#changed(model, { key, before, after }, isNews);
        if (tie.row) tie.row = after;
        if (!this.isUnnamed(after[this.idAttribute])) tie.isCreating = false;
        return changed;
      }

      /**
       * What has changed of a row, as a model has it: what was set in the model meanwhile and not saved stays.
       * @param {any} model
       * @param {Change} change
       * @param {boolean} isNews
       * @returns {object | false}
       */
      #changed(model, { before, after }, isNews) {
        const known = tieOf(model).row ?? before;
        if (this.#isUntold(model) || (!known && !isNews)) return false;
        const options = { remote: true };
        const [was, is] = [known ? model.parse(copy(known), options) : {}, model.parse(copy(after), options)];
        const gone = Object.keys(was).map((name) => [name, undefined]);
        return differing(was, { ...Object.fromEntries(gone), ...is });
      }
    }

    // What Backbone asks of a server.

    /**
     * @param {"create" | "read" | "update" | "patch" | "delete"} method
     * @param {any} subject
     * @param {any} [options]
     */
    function sync(method, subject, options = {}) {
      const table = tableOf(subject);
      const isCollection = "models" in subject;
      const isWrite = !isCollection && method !== "read";
      if (isWrite) tieOf(subject).open += 1;
      const asked = isCollection ? table.loaded() : isWrite ? write(table, method, subject, options) : read(table, subject);
      const told = (/** @type {any} */ error) => {
        if (!isWrite) return;
        tieOf(subject).open -= 1;
        table.told(subject, error?.code === "not_found");
      };
      const promise = asked.then(
        (answer) => {
          // As it is now, with what is pending: nothing that came since it was asked jumps back, or is removed.
          let row = answer;
          if (isCollection) row = [...(table.query?.rows ?? [])];
          else if (method !== "delete") tieOf(subject).row = row = table.model?.peek(tieOf(subject).key) ?? answer;
          const response = copy(row);
          guarded(() => options.success?.(response));
          if (isCollection) tieAll(table, subject, row);
          told(undefined);
          return response;
        },
        (error) => {
          guarded(() => options.error?.(error));
          told(error);
          throw error;
        },
      );
      // Who does not look at the promise has the callbacks and the `error` event.
      promise.catch(() => {});
      options.xhr = promise;
      subject.trigger("request", subject, promise, options);
      return promise;
    }

    /** @param {Table} table @param {any} collection @param {readonly any[]} rows */
    function tieAll({ idAttribute }, collection, rows) {
      const byId = new Map(rows.map((row) => [row[idAttribute], row]));
      for (const model of collection.models) {
        const tie = tieOf(model);
        tie.row = byId.get(model.id ?? tie.key) ?? tie.row;
      }
    }

    /**
     * @param {Table} table
     * @param {any} model
     * @returns {Promise<any>} of the row
     */
    function read(table, model) {
      return handed((rows) => {
        const key = tieOf(model).key ?? model.id;
        if (key === undefined) throw new Error(`a model without \`${table.idAttribute}\` cannot be fetched`);
        table.follow(table.keyOf(key), model);
        return rows.get(key).then((row) => row ?? Promise.reject(notFound()));
      }, table);
    }

    /**
     * @param {Table} table
     * @param {string} method
     * @param {any} model
     * @param {any} options
     * @returns {Promise<any>} of the row
     */
    function write(table, method, model, options) {
      const { idAttribute } = table;
      const tie = tieOf(model);
      const wait = Boolean(options.wait);
      // As it is now, not as it will be when the client is loaded.
      const attributes = { ...(options.attrs ?? model.toJSON(options)) };
      const present = { ...model.attributes };
      // A second save before the first is confirmed changes the same row.
      let isFirst = method === "create" && !tie.isCreating;
      if (isFirst) Object.assign(tie, { isCreating: true, isRefused: false });
      const answered = handed((rows) => {
        /** @type {Promise<any>} */
        let answer;
        /** @type {any} */
        let key;
        // With an id of its own it is not new for Backbone.
        if (method === "update" && !tie.row && !tie.isGone && table.lacks(model.id, options.isCreate)) isFirst = tie.isCreating = true;
        if (isFirst) {
          const creation = rows.create(attributes, { wait });
          table.follow((key = rows.key(creation.row)), model);
          tie.row = wait ? undefined : creation.row;
          answer = creation;
        } else {
          key = tie.key ?? table.keyOf(model.id);
          if (method === "delete") {
            if (wait) table.follow(key, model);
            else table.unfollow(model);
            answer = rows.delete(key, { wait });
          } else {
            const row = tie.row ?? rows.peek(key);
            const changed = method === "patch" ? attributes : row && { ...unset(model, tie.row, present), ...differing(row, attributes) };
            for (const name of Object.keys(changed ?? {})) changed[name] ??= null;
            answer = changed ? rows.patch({ ...changed, [idAttribute]: key }, { wait }) : rows.update({ ...attributes, [idAttribute]: key }, { wait });
            if (!wait && tie.row) tie.row = { ...tie.row, ...copy(changed), [idAttribute]: tie.row[idAttribute] };
            table.follow(key, model);
          }
        }
        return method === "delete" ? answer.then(() => table.unfollow(model)) : answer;
      }, table);
      // Known before the callbacks are called: in them it may be saved again.
      return answered.then(
        (row) => {
          if (isFirst) tie.isCreating = false;
          return row;
        },
        (error) => {
          if (isFirst) {
            // One that has waited was not shown: there is nothing to take back, also where it was added before.
            table.unfollow(model);
            Object.assign(tie, { key: undefined, isCreating: false, isRefused: !wait });
          }
          throw error;
        },
      );
    }

    /**
     * @param {(rows: import("./model.js").Model<any>) => Promise<any>} run
     * @param {Table} table
     * @returns {Promise<any>}
     */
    function handed(run, table) {
      return new Promise((resolve, reject) => {
        connected(() => {
          try {
            run(/** @type {import("./model.js").Model<any>} */ (table.model)).then(resolve, reject);
          } catch (error) {
            reject(error);
          }
        }, reject);
      });
    }

    /**
     * What a model had of its row and has no more: there is no other way to say so than null.
     * @param {any} model
     * @param {any} row
     * @param {any} attributes
     */
    function unset(model, row, attributes) {
      const names = Object.keys(row ? model.parse(copy(row), {}) : {});
      return Object.fromEntries(names.filter((name) => name in row && row[name] !== null && attributes[name] === undefined).map((name) => [name, null]));
    }

    /**
     * As Backbone compares attributes.
     * @param {object} before
     * @param {object} after
     * @returns {any} false if nothing differs
     */
    function differing(before, after) {
      return Model.prototype.changedAttributes.call({ attributes: before }, after);
    }

    /** @param {any} attributes @param {string} name */
    function without(attributes, name) {
      return Object.fromEntries(Object.entries(attributes).filter(([other]) => other !== name));
    }

    /**
     * Rows are shared, and what an application has of one it may change in place.
     * @template T
     * @param {T} json
     * @returns {T}
     */
    function copy(json) {
      return json === undefined ? json : JSON.parse(JSON.stringify(json));
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

    /**
     * A listener's mistake does not keep others' changes from the rest of the page.
     * @param {any} Base
     */
    function trigger(Base) {
      /** @this {any} @param {any[]} given */
      return function (...given) {
        if (given.at(-1)?.remote !== true) return Base.prototype.trigger.apply(this, given);
        guarded(() => Base.prototype.trigger.apply(this, given));
        return this;
      };
    }

    function notFound() {
      return Object.assign(new Error("there is no such row"), { name: "SyncError", code: "not_found", fields: new Map() });
    }

    const syncedModel = Model.extend(
      {
        trigger: trigger(Model),

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
          if (id !== undefined && id !== null && tieOf(this).key === undefined && (isUnnamed || !(this.collection instanceof syncedCollection))) {
            tieOf(this).isCreating = isUnnamed;
            table.follow(table.keyOf(id), this);
          }
          return Model.prototype.set.call(this, isUnnamed ? without(attributes, table.idAttribute) : attributes, isObject ? value : options);
        },

        destroy(/** @type {any} */ options) {
          // New, and on its way all the same: it must be deleted after it was created.
          if (!this.isNew() || !tieOf(this).isCreating) return Model.prototype.destroy.call(this, options);
          this.isNew = () => false;
          const settled = () => delete this.isNew;
          try {
            const promise = Model.prototype.destroy.call(this, options);
            // An own `sync` may return anything.
            Promise.resolve(promise).then(settled, settled);
            return promise;
          } catch (error) {
            settled();
            throw error;
          }
        },

        /**
         * Hears no more of what others change: for a model in no collection that is thrown away.
         *
         * ```js
         * dialog.onclose = () => todo.leave();
         * ```
         */
        leave() {
          tableOf(this).unfollow(this);
          return this;
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

      trigger: trigger(Collection),

      sync(/** @type {any} */ method, /** @type {any} */ collection, /** @type {any} */ options) {
        return sync(method, collection, options);
      },

      // No method: it is called with `new`, by `class extends` too.
      constructor: function (/** @type {any[]} */ ...given) {
        Collection.apply(this, given);
        tableOf(this).collections.add(this);
      },

      // Ids come from others: `constructor` is one like any.
      _reset() {
        Collection.prototype._reset.call(this);
        this._byId = Object.create(null);
      },

      // Whether it is one cannot be told from the model, which may have an id, nor always from the rows, which may not be here yet.
      create(/** @type {any} */ model, /** @type {any} */ options) {
        return Collection.prototype.create.call(this, model, { ...options, isCreate: true });
      },

      get(/** @type {any} */ given) {
        const turn = turns.get(given);
        if (turn) return turn();
        const found = Collection.prototype.get.call(this, given);
        if (found || given === null || given === undefined) return found;
        const table = tableOf(this);
        // Models of a row that has no id yet are one row too.
        if (given instanceof Model) return table.find(this, given.id ?? tieOf(given).key);
        return table.find(this, typeof given === "object" ? given[table.idAttribute] : given);
      },

      /**
       * Hears no more of what others change: for a collection that is thrown away.
       *
       * ```js
       * dialog.onclose = () => todos.leave();
       * ```
       */
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
