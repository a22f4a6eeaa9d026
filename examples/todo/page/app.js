// The page of the todo example: TodoMVC on a list that all browsers share.
//
// The rows are the server's, as it has confirmed them. What was done here and is not confirmed yet is kept in `writes`,
// shown on top of them, and marked.

import { connect } from "/sync/client.js";

/** @typedef {{id: number, title: string, completed: boolean}} Todo */
/** @typedef {import("/sync/client.js").SyncError} SyncError */

/**
 * Something done on this page that the server has not confirmed yet: `text` is what was typed for it.
 * @typedef {{what: "add" | "change" | "delete", id?: number, changes?: Partial<Todo>, text?: string}} Write
 */

/**
 * The elements of one todo.
 * @typedef {object} Item
 * @property {HTMLLIElement} li
 * @property {HTMLInputElement} toggle
 * @property {HTMLLabelElement} label
 * @property {HTMLButtonElement} rename
 * @property {HTMLButtonElement} destroy
 * @property {HTMLInputElement} edit
 */

const page = {
  status: find(".status", HTMLElement),
  newTodo: find(".new-todo", HTMLInputElement),
  problems: find(".problems", HTMLElement),
  empty: find(".empty", HTMLElement),
  main: find(".main", HTMLElement),
  toggleAll: find(".toggle-all", HTMLInputElement),
  list: find(".todo-list", HTMLUListElement),
  unsent: find(".unsent", HTMLElement),
  unsentCount: find(".unsent h2", HTMLElement),
  unsentList: find(".unsent ul", HTMLUListElement),
  footer: find(".footer", HTMLElement),
  count: find(".todo-count", HTMLElement),
  clearCompleted: find(".clear-completed", HTMLButtonElement),
};

/** @type {Map<string, (todo: Todo) => boolean>} */
const filters = new Map();
filters.set("#/", () => true);
filters.set("#/active", (todo) => !todo.completed);
filters.set("#/completed", (todo) => todo.completed);

const db = connect();
/** @type {import("/sync/client.js").Model<Todo>} */
const model = db.model("Todo");
const todos = model.subscribe(render);

/** @type {Set<Write>} */
const writes = new Set();
/** @type {Map<number, Item>} */
const items = new Map();
/** The todo that is being edited, and its title when that began. @type {{id: number, before: string} | undefined} */
let editing;
/** Once connected, the time until the line is back is one state to the reader, whatever the client tries meanwhile. */
let wasOnline = false;

db.onstatus(render);
addEventListener("hashchange", render);
addEventListener("beforeunload", (event) => {
  if (writes.size > 0) event.preventDefault();
});
page.newTodo.addEventListener("keydown", (event) => {
  if (!pressed(event, "Enter")) return;
  const title = page.newTodo.value.trim();
  if (title === "") return;
  page.newTodo.value = "";
  page.problems.querySelector(".restored")?.remove();
  add(title);
});
page.toggleAll.addEventListener("change", () => {
  const completed = page.toggleAll.checked;
  for (const todo of shown()) if (todo.completed !== completed) change(todo.id, { completed });
});
page.clearCompleted.addEventListener("click", () => {
  for (const todo of shown()) if (todo.completed) remove(todo.id);
  page.newTodo.focus();
});
render();

// What can be done.

/** @param {string} title */
function add(title) {
  track({ what: "add", text: title }, model.create({ title, completed: false }));
}

/**
 * @param {number} id
 * @param {Partial<Todo>} changes
 */
function change(id, changes) {
  track({ what: "change", id, changes, text: changes.title }, model.patch({ id, ...changes }));
}

/** @param {number} id */
function remove(id) {
  track({ what: "delete", id }, model.delete(id));
}

/**
 * @param {Write} write
 * @param {Promise<unknown>} promise
 */
async function track(write, promise) {
  writes.add(write);
  render();
  try {
    await promise;
  } catch (error) {
    refused(write, /** @type {SyncError} */ (error));
  }
  writes.delete(write);
  render();
}

/**
 * @param {Write} write
 * @param {SyncError} error
 */
function refused({ what, id, text }, { code, message }) {
  if (what === "delete" && code === "not_found") return; // someone else was faster
  const reason =
    code === "unknown" ? "The connection was lost, and the server does not say whether this was saved."
    : code === "not_found" ? "Someone has deleted it."
    : message;
  const heading = { add: "Not added.", change: "Not changed.", delete: "Not deleted." }[what];
  if (what === "add" && text !== undefined && page.newTodo.value === "") {
    page.newTodo.value = text;
    problem(heading, reason).classList.add("restored");
  } else problem(heading, reason, text, id);
}

/**
 * Says what went wrong, and offers what was typed.
 * @param {string} heading
 * @param {string} reason
 * @param {string} [text]
 * @param {number} [id] of the todo that the text was typed for
 */
function problem(heading, reason, text, id) {
  const element = make("div", "problem");
  element.append(make("strong", "", heading), " ", make("span", "reason", reason));
  if (text !== undefined) {
    const quote = make("q", "", text);
    quote.dir = "auto";
    element.append(quote, button("put-back", "Put back", () => (element.remove(), putBack(text, id))));
  }
  const dismiss = button("dismiss", "Dismiss", () => {
    element.remove();
    page.newTodo.focus();
  });
  element.append(dismiss);
  page.problems.append(element);
  return element;
}

/**
 * Opens the todo for editing with the text again; where that is not possible the text becomes that of a new one. If
 * something is being typed there, that is offered in turn.
 * @param {string} text
 * @param {number} [id]
 */
function putBack(text, id) {
  const item = id === undefined ? undefined : items.get(id);
  if (id !== undefined && item) {
    startEditing(id);
    item.edit.value = text;
    return;
  }
  const typed = page.newTodo.value;
  page.newTodo.value = text;
  page.newTodo.focus();
  if (typed.trim() !== "") problem("Set aside.", "You were typing this.", typed);
}

// Editing.

/** @param {number} id */
function startEditing(id) {
  const item = items.get(id);
  const todo = shown().find((other) => other.id === id);
  if (!item || !todo || editing?.id === id) return;
  editing = { id, before: todo.title };
  item.edit.value = todo.title;
  render();
  item.edit.focus();
  item.edit.setSelectionRange(todo.title.length, todo.title.length);
}

/** @param {"save" | "cancel"} how */
function finishEditing(how) {
  const item = editing && items.get(editing.id);
  if (!editing || !item) return;
  const { id, before } = editing;
  const title = item.edit.value.trim();
  editing = undefined;
  if (how === "save" && title === "") remove(id);
  else if (how === "save" && title !== before) change(id, { title });
  else render();
}

// Showing.

/** The todos in order, with what is not confirmed yet on top. */
function shown() {
  const rows = new Map([...todos.rows].map(([id, row]) => [id, { ...row, pending: false, deleting: false }]));
  for (const { what, id, changes } of writes) {
    const row = id === undefined ? undefined : rows.get(id);
    if (row) Object.assign(row, changes, { pending: true, deleting: row.deleting || what === "delete" });
  }
  return [...rows.values()].sort((a, b) => a.id - b.id);
}

function render() {
  const rows = shown();
  renderStatus(rows.length);
  renderUnsent();

  const hash = filters.has(location.hash) ? location.hash : "#/";
  const passes = filters.get(hash) ?? (() => true);
  for (const link of document.querySelectorAll(".filters a")) {
    const selected = link.getAttribute("href") === hash;
    link.classList.toggle("selected", selected);
    if (selected) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }

  page.main.hidden = page.footer.hidden = rows.length === 0;
  const active = rows.filter(({ completed }) => !completed).length;
  page.toggleAll.checked = rows.length > 0 && active === 0;
  page.clearCompleted.hidden = active === rows.length;
  page.count.replaceChildren(make("strong", "", String(active)), active === 1 ? " item left" : " items left");
  // A todo that is being edited stays, whatever becomes of it elsewhere.
  renderList(rows.filter((todo) => passes(todo) || todo.id === editing?.id));
}

/** @param {number} rows how many there are */
function renderStatus(rows) {
  wasOnline ||= db.status === "online";
  const status = wasOnline && db.status === "connecting" ? "offline" : db.status;
  const texts = {
    connecting: "Connecting …",
    online: "In sync",
    offline: `Offline, trying again. Keep this page open: ${unsaved("what you change")} will be sent later.`,
    closed: "Disconnected. Reload the page.",
  };
  page.status.dataset.status = status;
  setText(page.status, texts[status]);

  page.empty.hidden = rows > 0;
  const { error } = todos;
  if (error) setText(page.empty, `The list cannot be shown: ${error.message}`);
  else if (todos.status === "loading") setText(page.empty, status === "offline" ? "The list will be here once the server is." : "Loading …");
  else setText(page.empty, "Nothing here yet. What you add appears in every browser that has this page open.");
}

/** @param {string} none what to say where there is nothing */
function unsaved(none) {
  return writes.size === 0 ? none : writes.size === 1 ? "1 change" : `${writes.size} changes`;
}

/** What is on its way, where it takes long enough to be seen. */
function renderUnsent() {
  page.unsent.hidden = writes.size === 0;
  setText(page.unsentCount, `Not saved yet: ${unsaved("nothing")}`);
  const added = [...writes].filter(({ what }) => what === "add");
  page.unsentList.replaceChildren(
    ...added.map(({ text }) => {
      const li = make("li", "", text);
      li.dir = "auto";
      return li;
    }),
  );
}

/** @param {ReturnType<typeof shown>} rows the ones to be seen */
function renderList(rows) {
  const focused = [...items.values()].find(({ li }) => li.contains(document.activeElement));
  const after = focused?.li.nextElementSibling;
  const present = new Set(rows.map(({ id }) => id));
  for (const [id, item] of items) {
    if (present.has(id)) continue;
    items.delete(id);
    if (editing?.id === id) {
      const { before } = editing;
      editing = undefined;
      if (item.edit.value.trim() !== before) problem("Deleted.", "Someone has deleted what you were editing.", item.edit.value);
    }
    item.li.remove();
  }

  // Elements that are in their place are not touched: moving one would take its focus away.
  let next = page.list.firstElementChild;
  for (const todo of rows) {
    const item = items.get(todo.id) ?? makeItem(todo.id);
    items.set(todo.id, item);
    renderItem(item, todo);
    if (item.li === next) next = next.nextElementSibling;
    else page.list.insertBefore(item.li, next);
  }

  if (focused && !focused.li.isConnected) {
    const neighbour = [...items.values()].find(({ li }) => li === after) ?? [...items.values()].at(-1);
    (neighbour?.toggle ?? page.newTodo).focus();
  }
}

/**
 * @param {Item} item
 * @param {ReturnType<typeof shown>[number]} todo
 */
function renderItem({ li, toggle, label, rename, destroy }, todo) {
  li.classList.toggle("completed", todo.completed);
  li.classList.toggle("editing", todo.id === editing?.id);
  li.classList.toggle("pending", todo.pending);
  li.classList.toggle("deleting", todo.deleting);
  toggle.checked = todo.completed;
  if (label.textContent === todo.title) return;
  setText(label, todo.title);
  toggle.setAttribute("aria-label", todo.title);
  rename.setAttribute("aria-label", `Edit ${todo.title}`);
  destroy.setAttribute("aria-label", `Delete ${todo.title}`);
}

/**
 * @param {number} id
 * @returns {Item}
 */
function makeItem(id) {
  const li = make("li");
  const view = make("div", "view");
  const toggle = make("input", "toggle");
  const label = make("label");
  const rename = button("rename", "", () => startEditing(id));
  const destroy = button("destroy", "", () => remove(id));
  const edit = make("input", "edit");
  toggle.type = "checkbox";
  label.dir = edit.dir = "auto";
  edit.autocomplete = "off";
  edit.setAttribute("aria-label", "Title");
  toggle.addEventListener("change", () => change(id, { completed: toggle.checked }));
  label.addEventListener("dblclick", () => startEditing(id));
  edit.addEventListener("blur", () => finishEditing("save"));
  edit.addEventListener("keydown", (event) => {
    const [enter, escape] = [pressed(event, "Enter"), pressed(event, "Escape")];
    if (!enter && !escape) return;
    finishEditing(enter ? "save" : "cancel");
    if (li.isConnected) toggle.focus();
  });
  view.append(toggle, label, rename, destroy);
  li.append(view, edit);
  return { li, toggle, label, rename, destroy, edit };
}

// Small things.

/**
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} type
 */
function find(selector, type) {
  const element = document.querySelector(selector);
  if (element instanceof type) return element;
  throw new Error(`the page has no ${selector}`);
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {string} [text]
 */
function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * @param {string} className
 * @param {string} text
 * @param {() => void} click
 */
function button(className, text, click) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", click);
  return element;
}

/** A live region speaks whenever its text is set. @param {Element} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether a key was meant for the page, and not for the input method. @param {KeyboardEvent} event @param {string} key */
function pressed(event, key) {
  return event.key === key && !event.isComposing;
}
