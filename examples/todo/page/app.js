// The page of the todo example: TodoMVC on a list that all browsers share.
//
// What is done here is shown at once, and marked until the server has confirmed it. It is kept in the browser meanwhile: offline, over
// a reload and after a crash.

import { connect } from "/sync/client.js";

/** @typedef {{id: number, title: string, completed: boolean}} Todo */
/** @typedef {import("/sync/client.js").Rejection} Rejection */
/** @typedef {number | import("/sync/client.js").Cid} Key what a todo is called here: the same before and after the server gives it its id */
/** @typedef {{row: Todo, insert: Omit<Todo, "id">, patch: Partial<Omit<Todo, "id">>, id: "id", indexed: "id"}} TodoTypes */

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
  unsaved: find(".unsaved", HTMLElement),
  footer: find(".footer", HTMLElement),
  count: find(".todo-count", HTMLElement),
  clearCompleted: find(".clear-completed", HTMLButtonElement),
};

/** @type {Map<string, (todo: Todo) => boolean>} */
const filters = new Map();
filters.set("#/", () => true);
filters.set("#/active", (todo) => !todo.completed);
filters.set("#/completed", (todo) => todo.completed);

/** @type {import("/sync/client.js").Database<{Todo: TodoTypes}>} */
const db = connect({ storage: "indexeddb" });
const model = db.model("Todo");
const todos = model.query();

/** @type {Map<Key, Item>} */
const items = new Map();
/** The todo that is being edited, and its title when that began. @type {{key: Key, before: string} | undefined} */
let editing;
/** Once connected, the time until the line is back is one state to the reader, whatever the client tries meanwhile. */
let wasOnline = false;

todos.subscribe(render);
db.onstatus(render);
db.onpending(render);
db.onrejected(rejected);
addEventListener("hashchange", render);
addEventListener("beforeunload", (event) => {
  if (db.pending > 0 && db.storage === "memory") event.preventDefault();
});
page.newTodo.addEventListener("keydown", (event) => {
  if (!pressed(event, "Enter")) return;
  const title = page.newTodo.value.trim();
  if (title === "") return;
  page.newTodo.value = "";
  page.problems.querySelector(".restored")?.remove();
  model.create({ title, completed: false });
});
page.toggleAll.addEventListener("change", () => {
  const completed = page.toggleAll.checked;
  for (const todo of todos.rows) if (todo.completed !== completed) model.patch({ id: todo.id, completed });
});
page.clearCompleted.addEventListener("click", () => {
  for (const todo of todos.rows) if (todo.completed) model.delete(todo.id);
  page.newTodo.focus();
});
render();

// What the server will not have.

/** @param {Rejection} rejection perhaps of something that was done on an earlier page */
function rejected({ method, model: { id, title }, error: { code, message } }) {
  if (method === "delete" && code === "not_found") return; // someone else was faster
  const reason =
    code === "unknown" ? "The connection was lost, and the server does not say whether this was saved."
    : code === "not_found" ? "Someone has deleted it."
    : message;
  if (method === "create" && page.newTodo.value === "") {
    page.newTodo.value = title;
    problem("Not added.", reason).classList.add("restored");
  } else if (method === "create") problem("Not added.", reason, title);
  else problem(method === "delete" ? "Not deleted." : "Not changed.", reason, title, model.key({ id }));
}

/**
 * Says what went wrong, and offers what was typed.
 * @param {string} heading
 * @param {string} reason
 * @param {string} [text]
 * @param {Key} [key] of the todo that the text was typed for
 */
function problem(heading, reason, text, key) {
  const element = make("div", "problem");
  element.append(make("strong", "", heading), " ", make("span", "reason", reason));
  if (text !== undefined) {
    const quote = make("q", "", text);
    quote.dir = "auto";
    element.append(quote, button("put-back", "Put back", () => (element.remove(), putBack(text, key))));
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
 * @param {Key} [key]
 */
function putBack(text, key) {
  const item = key === undefined ? undefined : items.get(key);
  if (key !== undefined && item) {
    startEditing(key);
    item.edit.value = text;
    return;
  }
  const typed = page.newTodo.value;
  page.newTodo.value = text;
  page.newTodo.focus();
  if (typed.trim() !== "") problem("Set aside.", "You were typing this.", typed);
}

// Editing.

/** @param {Key} key */
function startEditing(key) {
  const item = items.get(key);
  const todo = todos.rows.find((other) => model.key(other) === key);
  if (!item || !todo || editing?.key === key) return;
  editing = { key, before: todo.title };
  item.edit.value = todo.title;
  render();
  item.edit.focus();
  item.edit.setSelectionRange(todo.title.length, todo.title.length);
}

/** @param {"save" | "cancel"} how */
function finishEditing(how) {
  const item = editing && items.get(editing.key);
  if (!editing || !item) return;
  const { key, before } = editing;
  const title = item.edit.value.trim();
  editing = undefined;
  if (how === "save" && title === "") model.delete(key);
  else if (how === "save" && title !== before) model.patch({ id: key, title });
  render();
}

// Showing.

function render() {
  const { rows } = todos;
  renderStatus(rows.length);

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
  renderList(rows.filter((todo) => passes(todo) || model.key(todo) === editing?.key));
}

/** @param {number} rows how many there are */
function renderStatus(rows) {
  wasOnline ||= db.status === "online";
  const status = wasOnline && db.status === "connecting" ? "offline" : db.status;
  const texts = {
    connecting: "Connecting …",
    online: "In sync",
    offline: `Offline, trying again. ${db.storage === "memory" ? "Keep this page open: " : ""}${unsaved("what you change")} will be sent later.`,
    closed: "Disconnected. Reload the page.",
  };
  page.status.dataset.status = status;
  setText(page.status, texts[status]);
  page.unsaved.hidden = db.pending === 0;
  setText(page.unsaved, `Not saved yet: ${unsaved("nothing")}`);

  page.empty.hidden = rows > 0;
  const { error } = todos;
  if (error) setText(page.empty, `The list cannot be shown: ${error.message}`);
  else if (todos.status === "loading") setText(page.empty, status === "offline" ? "The list will be here once the server is." : "Loading …");
  else setText(page.empty, "Nothing here yet. What you add appears in every browser that has this page open.");
}

/** @param {string} none what to say where there is nothing */
function unsaved(none) {
  return db.pending === 0 ? none : db.pending === 1 ? "1 change" : `${db.pending} changes`;
}

/** @param {readonly Todo[]} rows the ones to be seen */
function renderList(rows) {
  const focused = [...items.values()].find(({ li }) => li.contains(document.activeElement));
  const after = focused?.li.nextElementSibling;
  const present = new Set(rows.map((todo) => model.key(todo)));
  for (const [key, item] of items) {
    if (present.has(key)) continue;
    items.delete(key);
    if (editing?.key === key) {
      const { before } = editing;
      editing = undefined;
      if (item.edit.value.trim() !== before) problem("Deleted.", "Someone has deleted what you were editing.", item.edit.value);
    }
    item.li.remove();
  }

  // Elements that are in their place are not touched: moving one would take its focus away.
  let next = page.list.firstElementChild;
  for (const todo of rows) {
    const key = model.key(todo);
    const item = items.get(key) ?? makeItem(key);
    items.set(key, item);
    renderItem(item, todo, key);
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
 * @param {Todo} todo
 * @param {Key} key
 */
function renderItem({ li, toggle, label, rename, destroy }, todo, key) {
  li.classList.toggle("completed", todo.completed);
  li.classList.toggle("editing", key === editing?.key);
  li.classList.toggle("pending", model.isPending(todo));
  toggle.checked = todo.completed;
  if (label.textContent === todo.title) return;
  setText(label, todo.title);
  toggle.setAttribute("aria-label", todo.title);
  rename.setAttribute("aria-label", `Edit ${todo.title}`);
  destroy.setAttribute("aria-label", `Delete ${todo.title}`);
}

/**
 * @param {Key} key
 * @returns {Item}
 */
function makeItem(key) {
  const li = make("li");
  const view = make("div", "view");
  const toggle = make("input", "toggle");
  const label = make("label");
  const rename = button("rename", "", () => startEditing(key));
  const destroy = button("destroy", "", () => model.delete(key));
  const edit = make("input", "edit");
  toggle.type = "checkbox";
  label.dir = edit.dir = "auto";
  edit.autocomplete = "off";
  edit.setAttribute("aria-label", "Title");
  toggle.addEventListener("change", () => model.patch({ id: key, completed: toggle.checked }));
  label.addEventListener("dblclick", () => startEditing(key));
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
