// What both pages have in common, however they keep their todos: the elements around the list, and what is said there.

/** @typedef {{id: number, title: string, completed: boolean}} Todo */
/** @typedef {import("/sync/client.js").Rejection} Rejection */
/** @typedef {Pick<import("/sync/client.js").Database, "status" | "pending" | "storage">} Connection */

export const page = {
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

/** @type {Map<string, (todo: Pick<Todo, "completed">) => boolean>} */
const filters = new Map();
filters.set("#/", () => true);
filters.set("#/active", (todo) => !todo.completed);
filters.set("#/completed", (todo) => todo.completed);

/** Once connected, the time until the line is back is one state to the reader, whatever the client tries meanwhile. */
let wasOnline = false;

/**
 * Calls back with each title that is entered.
 * @param {(title: string) => void} add
 */
export function onNewTodo(add) {
  page.newTodo.addEventListener("keydown", (event) => {
    if (!pressed(event, "Enter")) return;
    const title = page.newTodo.value.trim();
    if (title === "") return;
    page.newTodo.value = "";
    page.problems.querySelector(".restored")?.remove();
    add(title);
  });
}

/** Asks before the page is left with changes that only it has. @param {Connection} db */
export function keepOpen(db) {
  addEventListener("beforeunload", (event) => {
    if (db.pending > 0 && db.storage === "memory") event.preventDefault();
  });
}

/** Marks the filter that the address names. @returns {(todo: Pick<Todo, "completed">) => boolean} which todos it shows */
export function renderFilter() {
  const hash = filters.has(location.hash) ? location.hash : "#/";
  for (const link of document.querySelectorAll(".filters a")) {
    const selected = link.getAttribute("href") === hash;
    link.classList.toggle("selected", selected);
    if (selected) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  return filters.get(hash) ?? (() => true);
}

/** @param {readonly Pick<Todo, "completed">[]} todos all of them */
export function renderCount(todos) {
  page.main.hidden = page.footer.hidden = todos.length === 0;
  const active = todos.filter(({ completed }) => !completed).length;
  page.toggleAll.checked = todos.length > 0 && active === 0;
  page.clearCompleted.hidden = active === todos.length;
  page.count.replaceChildren(make("strong", "", String(active)), active === 1 ? " item left" : " items left");
}

/**
 * @param {Connection} db
 * @param {number} count how many todos there are
 * @param {boolean} isLoading
 * @param {Error} [error] why there are none
 */
export function renderStatus(db, count, isLoading, error) {
  wasOnline ||= db.status === "online";
  const status = wasOnline && db.status === "connecting" ? "offline" : db.status;
  const unsaved = db.pending === 0 ? "" : db.pending === 1 ? "1 change" : `${db.pending} changes`;
  const texts = {
    connecting: "Connecting …",
    online: "In sync",
    offline: `Offline, trying again. ${db.storage === "memory" ? "Keep this page open: " : ""}${unsaved || "what you change"} will be sent later.`,
    closed: "Disconnected. Reload the page.",
  };
  page.status.dataset.status = status;
  setText(page.status, texts[status]);
  page.unsaved.hidden = unsaved === "";
  setText(page.unsaved, `Not saved yet: ${unsaved}`);

  page.empty.hidden = count > 0;
  if (error) setText(page.empty, `The list cannot be shown: ${error.message}`);
  else if (isLoading) setText(page.empty, status === "offline" ? "The list will be here once the server is." : "Loading …");
  else setText(page.empty, "Nothing here yet. What you add appears in every browser that has this page open.");
}

// What the server will not have.

/**
 * Says what the server has refused, perhaps of something that was done on an earlier page.
 * @param {Rejection} rejection
 * @param {(id: number, text: string) => boolean} edit opens a todo for editing with a text, if it is there
 */
export function rejected({ method, model: { id, title }, error: { code, message } }, edit) {
  if (method === "delete" && code === "not_found") return; // someone else was faster
  const reason =
    code === "unknown" ? "The connection was lost, and the server does not say whether this was saved."
    : code === "not_found" ? "Someone has deleted it."
    : message;
  if (method === "create" && page.newTodo.value === "") {
    page.newTodo.value = title;
    problem("Not added.", reason).classList.add("restored");
  } else if (method === "create") problem("Not added.", reason, title);
  else problem(method === "delete" ? "Not deleted." : "Not changed.", reason, title, (text) => edit(id, text));
}

/**
 * Says what went wrong, and offers what was typed.
 * @param {string} heading
 * @param {string} reason
 * @param {string} [text]
 * @param {(text: string) => boolean} [edit] puts the text back where it was, if that is possible
 */
export function problem(heading, reason, text, edit = () => false) {
  const element = make("div", "problem");
  element.append(make("strong", "", heading), " ", make("span", "reason", reason));
  if (text !== undefined) {
    const quote = make("q", "", text);
    quote.dir = "auto";
    const putBack = () => {
      element.remove();
      if (!edit(text)) becomeNew(text);
    };
    element.append(quote, button("put-back", "Put back", putBack));
  }
  const dismiss = button("dismiss", "Dismiss", () => {
    element.remove();
    page.newTodo.focus();
  });
  element.append(dismiss);
  page.problems.append(element);
  return element;
}

/** The text becomes that of a new todo. What is being typed there is offered in turn. @param {string} text */
function becomeNew(text) {
  const typed = page.newTodo.value;
  page.newTodo.value = text;
  page.newTodo.focus();
  if (typed.trim() !== "") problem("Set aside.", "You were typing this.", typed);
}

// Small things.

/**
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} type
 */
export function find(selector, type) {
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
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * @param {string} className
 * @param {string} text
 * @param {() => void} [click]
 */
export function button(className, text, click) {
  const element = make("button", className, text);
  element.type = "button";
  if (click) element.addEventListener("click", click);
  return element;
}

/** A live region speaks whenever its text is set. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether a key was meant for the page, and not for the input method. @param {KeyboardEvent} event @param {string} key */
export function pressed(event, key) {
  return event.key === key && !event.isComposing;
}

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

/**
 * @param {HTMLLIElement} [li]
 * @returns {Item}
 */
export function makeItem(li = make("li")) {
  const view = make("div", "view");
  const item = { li, toggle: make("input", "toggle"), label: make("label"), rename: button("rename", ""), destroy: button("destroy", ""), edit: make("input", "edit") };
  const { toggle, label, rename, destroy, edit } = item;
  toggle.type = "checkbox";
  label.dir = edit.dir = "auto";
  edit.autocomplete = "off";
  edit.setAttribute("aria-label", "Title");
  view.append(toggle, label, rename, destroy);
  li.append(view, edit);
  return item;
}

/**
 * @param {Item} item
 * @param {Pick<Todo, "title" | "completed">} todo
 * @param {{isEditing: boolean, isPending: boolean}} state
 */
export function renderItem({ li, toggle, label, rename, destroy }, { title, completed }, { isEditing, isPending }) {
  li.classList.toggle("completed", completed);
  li.classList.toggle("editing", isEditing);
  li.classList.toggle("pending", isPending);
  toggle.checked = completed;
  if (label.textContent === title) return;
  setText(label, title);
  toggle.setAttribute("aria-label", title);
  rename.setAttribute("aria-label", `Edit ${title}`);
  destroy.setAttribute("aria-label", `Delete ${title}`);
}

/** Opens an item's input, with the cursor behind the text. @param {Item} item @param {string} text */
export function focusEdit({ edit }, text) {
  edit.value = text;
  edit.focus();
  edit.setSelectionRange(text.length, text.length);
}

/**
 * Puts the elements of the list in order. Those that are in their place are not touched: moving one would take its focus away.
 * @param {readonly Item[]} items the ones to be seen
 */
export function renderOrder(items) {
  const { list } = page;
  const active = document.activeElement;
  const focused = [...list.children].find((li) => li.contains(active));
  const neighbours = focused ? [focused.nextElementSibling, focused.previousElementSibling] : [];
  const present = new Set(items.map(({ li }) => /** @type {Element} */ (li)));
  for (const li of [...list.children]) if (!present.has(li)) li.remove();
  let next = list.firstElementChild;
  for (const { li } of items) {
    if (li === next) next = next.nextElementSibling;
    else list.insertBefore(li, next);
  }
  if (!focused || focused.isConnected) return;
  const neighbour = neighbours.find((li) => li?.isConnected)?.querySelector(".toggle");
  (neighbour instanceof HTMLElement ? neighbour : page.newTodo).focus();
}
