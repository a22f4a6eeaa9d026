// TodoMVC in Backbone, on the same todos as the page at `/`.
//
// Nothing in the classes below knows of other browsers: what happens there arrives as Backbone's own events.

import * as shared from "/page.js";

const { page } = shared;
/** Globals of the scripts before this one. @type {any} */
const { _, Backbone, syncedModel, syncedCollection } = window;

const WAITING =
  "This page waits for Backbone and Underscore. The example has npm fetch them when it starts. If nothing happens, its log says why, and:";

if (syncedModel) start();
else waitForPackages();

async function start() {
  const Todo = syncedModel.extend({ defaults: { title: "", completed: false } }, { modelname: "Todo" });

  const Todos = syncedCollection.extend(
    {
      model: Todo,
      // As the server numbers them; those that it has not seen yet come last, in the order in which they were made.
      comparator: (/** @type {any} */ todo) => (todo.isNew() ? Infinity : todo.id),
      initialize() {
        this.on("change:id", () => this.sort());
      },
      completed() {
        return this.where({ completed: true });
      },
    },
    { modelname: "Todo" },
  );

  const TodoView = nativeView().extend({
    tagName: "li",
    events: {
      "change .toggle": "toggle",
      "dblclick label": "open",
      "click .rename": "open",
      "click .destroy": "clear",
      "keydown .edit": "key",
      "blur .edit": "close",
    },

    initialize(/** @type {{app: any}} */ { app }) {
      this.app = app;
      this.item = shared.makeItem(this.el);
      this.listenTo(this.model, "change", this.render);
      this.listenTo(this.model, "remove", this.gone);
      this.render();
    },

    render() {
      const isPending = this.model.isNew() || db.model("Todo").pending({ id: this.model.id }) > 0;
      shared.renderItem(this.item, this.model.attributes, { isEditing: this.isEditing(), isPending });
      return this;
    },

    isEditing() {
      return this.before !== undefined;
    },

    toggle() {
      this.model.save({ completed: this.item.toggle.checked });
    },

    clear() {
      this.model.destroy();
    },

    open() {
      this.edit(this.model.get("title"));
    },

    edit(/** @type {string} */ text) {
      this.before ??= this.model.get("title");
      this.render();
      shared.focusEdit(this.item, text);
    },

    key(/** @type {KeyboardEvent} */ event) {
      const isEscape = shared.pressed(event, "Escape");
      if (!isEscape && !shared.pressed(event, "Enter")) return;
      if (isEscape) this.item.edit.value = this.before;
      this.close();
      if (this.el.isConnected) this.item.toggle.focus();
    },

    close() {
      if (!this.isEditing()) return;
      const { before } = this;
      const title = this.item.edit.value.trim();
      this.before = undefined;
      if (title === "") this.clear();
      else if (title !== before) this.model.save({ title });
      this.render();
      this.app.soon();
    },

    gone(/** @type {unknown} */ _model, /** @type {unknown} */ _todos, /** @type {{remote?: boolean}} */ { remote }) {
      const isTyped = this.isEditing() && this.item.edit.value.trim() !== this.before;
      this.before = undefined;
      if (isTyped && remote) shared.problem("Deleted.", "Someone has deleted what you were editing.", this.item.edit.value);
      this.stopListening();
    },
  });

  const AppView = nativeView().extend({
    el: ".todoapp",
    events: { "change .toggle-all": "toggleAll", "click .clear-completed": "clearCompleted" },

    initialize() {
      /** By the cid of their model: that is the same before and after the server gives it its id. */
      this.views = new Map();
      this.isLoading = true;
      this.listenTo(this.collection, "all", this.soon);
      this.listenTo(this.collection, "remove", (/** @type {any} */ { cid }) => this.views.delete(cid));
      this.collection.fetch({
        success: () => (this.isLoading = false),
        error: (/** @type {unknown} */ _todos, /** @type {Error} */ error) => (this.error = error),
      });
      // What is marked as pending may be on the disk by now.
      db.onpending(() => this.views.forEach((/** @type {any} */ view) => view.render()));
      db.onpending(() => this.soon());
      db.onstatus(() => this.soon());
      db.onrejected((rejection) => {
        shared.rejected(rejection, (id, text) => {
          const view = this.views.get(this.collection.get(id)?.cid);
          view?.edit(text);
          return view !== undefined;
        });
      });
      shared.onNewTodo((title) => this.collection.create({ title }));
      this.render();
    },

    /** Once for all that happens together. */
    soon() {
      if (!this.isSoon) queueMicrotask(() => this.render());
      this.isSoon = true;
    },

    render() {
      this.isSoon = false;
      const { collection } = this;
      shared.renderStatus(db, collection.length, this.isLoading, this.error);
      shared.renderCount(_.pluck(collection.models, "attributes"));
      const passes = shared.renderFilter();
      const views = collection.map((/** @type {any} */ todo) => this.viewOf(todo));
      // A todo that is being edited stays, whatever becomes of it elsewhere.
      shared.renderOrder(_.pluck(views.filter((/** @type {any} */ view) => view.isEditing() || passes(view.model.attributes)), "item"));
      return this;
    },

    viewOf(/** @type {any} */ todo) {
      if (!this.views.has(todo.cid)) this.views.set(todo.cid, new TodoView({ model: todo, app: this }));
      return this.views.get(todo.cid);
    },

    toggleAll() {
      const completed = page.toggleAll.checked;
      for (const todo of this.collection.where({ completed: !completed })) todo.save({ completed });
    },

    clearCompleted() {
      _.invoke(this.collection.completed(), "destroy");
      page.newTodo.focus();
    },
  });

  /** @type {import("/sync/client.js").Database<any>} */
  const db = await syncedModel.connect({ storage: "indexeddb" });
  shared.keepOpen(db);
  const app = new AppView({ collection: new Todos() });
  const Router = Backbone.Router.extend({ routes: { "*filter": () => app.render() } });
  new Router();
  Backbone.history.start();
}

/** Backbone's view without jQuery: the methods that Backbone names for this. */
function nativeView() {
  return Backbone.View.extend({
    _setElement(/** @type {string | Element} */ el) {
      this.el = typeof el === "string" ? shared.find(el, HTMLElement) : el;
    },

    _createElement: (/** @type {string} */ tag) => document.createElement(tag),

    _setAttributes(/** @type {Record<string, string>} */ attributes) {
      for (const [name, value] of Object.entries(attributes)) this.el.setAttribute(name, value);
    },

    _removeElement() {
      this.el.remove();
    },

    delegate(/** @type {string} */ event, /** @type {string} */ selector, /** @type {(event: Event, target: Element) => void} */ listener) {
      const handle = (/** @type {Event} */ given) => {
        const target = given.target instanceof Element && given.target.closest(selector);
        if (target && this.el.contains(target)) listener(given, target);
      };
      // `blur` does not bubble.
      this.el.addEventListener(event.split(".")[0], handle, { capture: true, signal: (this.delegated ??= new AbortController()).signal });
      return this;
    },

    undelegateEvents() {
      this.delegated?.abort();
      this.delegated = undefined;
      return this;
    },
  });
}

/** The server may be fetching them just now: says what is missing, and begins again when it is there. */
async function waitForPackages() {
  page.newTodo.disabled = true;
  const scripts = ["underscore", "backbone"].map((name) => `/sync/vendor/${name}.js`);
  for (;;) {
    const answers = await Promise.all(scripts.map((script) => fetch(script).catch(() => undefined)));
    if (answers.every((answer) => answer?.ok)) return location.reload();
    const missing = answers.find((answer) => answer && !answer.ok);
    if (missing) shared.setText(page.empty, `${WAITING}\n\n${await missing.text()}`);
    page.status.dataset.status = "offline";
    shared.setText(page.status, "Not ready");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}
