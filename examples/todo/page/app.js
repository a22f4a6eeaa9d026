// The page of the todo example: TodoMVC on a list that all browsers share.
//
// What is done here is shown at once, and marked until the server has confirmed it. It is kept in the browser meanwhile: offline, over
// a reload and after a crash.

import { connect } from "/sync/client.js";
import * as shared from "/page.js";

/** @typedef {shared.Todo} Todo */
/** @typedef {shared.Item} Item */
/** @typedef {number | import("/sync/client.js").Cid} Key what a todo is called here: the same before and after the server gives it its id */
/** @typedef {{row: Todo, insert: Omit<Todo, "id">, patch: Partial<Omit<Todo, "id">>, id: "id", indexed: "id"}} TodoTypes */

const { page } = shared;

/** @type {import("/sync/client.js").Database<{Todo: TodoTypes}>} */
const db = connect({ storage: "indexeddb" });
const model = db.model("Todo");
const todos = model.query();

/** @type {Map<Key, Item>} */
const items = new Map();
/** The todo that is being edited, and its title when that began. @type {{key: Key, before: string} | undefined} */
let editing;

todos.subscribe(render);
db.onstatus(render);
db.onpending(render);
db.onrejected((rejection) => shared.rejected(rejection, (id, text) => startEditing(model.key({ id }), text)));
shared.keepOpen(db);
addEventListener("hashchange", render);
shared.onNewTodo((title) => model.create({ title, completed: false }));
page.toggleAll.addEventListener("change", () => {
  const completed = page.toggleAll.checked;
  for (const todo of todos.rows) if (todo.completed !== completed) model.patch({ id: todo.id, completed });
});
page.clearCompleted.addEventListener("click", () => {
  for (const todo of todos.rows) if (todo.completed) model.delete(todo.id);
  page.newTodo.focus();
});
render();

// Editing.

/**
 * @param {Key} key
 * @param {string} [text] instead of its title
 * @returns {boolean} false if there is no such todo to be seen
 */
function startEditing(key, text) {
  const item = items.get(key);
  const todo = todos.rows.find((other) => model.key(other) === key);
  if (!item || !todo) return false;
  if (editing?.key !== key) editing = { key, before: todo.title };
  render();
  shared.focusEdit(item, text ?? todo.title);
  return true;
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
  shared.renderStatus(db, rows.length, todos.status === "loading", todos.error);
  shared.renderCount(rows);
  const passes = shared.renderFilter();
  // A todo that is being edited stays, whatever becomes of it elsewhere.
  const shown = rows.filter((todo) => passes(todo) || model.key(todo) === editing?.key);
  forget(new Set(shown.map((todo) => model.key(todo))));
  shared.renderOrder(shown.map(itemOf));
}

/** @param {Set<Key>} present the todos that are still to be seen */
function forget(present) {
  for (const [key, item] of items) {
    if (present.has(key)) continue;
    items.delete(key);
    if (editing?.key !== key) continue;
    const { before } = editing;
    editing = undefined;
    if (item.edit.value.trim() !== before) shared.problem("Deleted.", "Someone has deleted what you were editing.", item.edit.value);
  }
}

/** @param {Todo} todo */
function itemOf(todo) {
  const key = model.key(todo);
  const item = items.get(key) ?? makeItem(key);
  items.set(key, item);
  shared.renderItem(item, todo, { isEditing: key === editing?.key, isPending: model.pending(todo) > 0 });
  return item;
}

/** @param {Key} key */
function makeItem(key) {
  const item = shared.makeItem();
  const { li, toggle, label, rename, destroy, edit } = item;
  toggle.addEventListener("change", () => model.patch({ id: key, completed: toggle.checked }));
  label.addEventListener("dblclick", () => startEditing(key));
  rename.addEventListener("click", () => startEditing(key));
  destroy.addEventListener("click", () => model.delete(key));
  edit.addEventListener("blur", () => finishEditing("save"));
  edit.addEventListener("keydown", (event) => {
    const [enter, escape] = [shared.pressed(event, "Enter"), shared.pressed(event, "Escape")];
    if (!enter && !escape) return;
    finishEditing(enter ? "save" : "cancel");
    if (li.isConnected) toggle.focus();
  });
  return item;
}
