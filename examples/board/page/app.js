// The page of the board example: cards that several people drag between columns at once.
//
// A card that is dropped gets a position between its new neighbours: one patch of one card. So whatever others do meanwhile, no card
// is lost or doubled, and their cards stay where they put them.

import { connect } from "/sync/client.js";
import { between } from "/sync/position.js";

/** @typedef {"todo" | "doing" | "done"} Column */
/** @typedef {{id: number, title: string, column: Column, position: string, done_at: number | null}} Card */
/** @typedef {{row: Card, insert: Omit<Card, "id" | "done_at">, patch: Partial<Omit<Card, "id" | "done_at">>, id: "id", indexed: "id" | "column" | "position"}} CardTypes */
/** @typedef {number | import("/sync/client.js").Cid} Key what a card is called here: the same before and after the server gives it its id */
/** @typedef {{li: HTMLLIElement, title: HTMLElement, card: Card}} Item */

/** @type {readonly [Column, string][]} */
const COLUMNS = [
  ["todo", "To do"],
  ["doing", "Doing"],
  ["done", "Done"],
];

/** @type {import("/sync/client.js").Database<{Card: CardTypes}>} */
const db = connect({ storage: "indexeddb" });
const cards = db.model("Card");
const status = /** @type {HTMLElement} */ (document.querySelector(".status"));
const unsaved = /** @type {HTMLElement} */ (document.querySelector(".unsaved"));
const problems = /** @type {HTMLElement} */ (document.querySelector(".problems"));

/** By the card's key, which stays the same when the server gives the card its id. @type {Map<Key, Item>} */
const items = new Map();
/** The card that is being dragged. @type {Key | undefined} */
let dragged;

const columns = COLUMNS.map(([column, name]) => makeColumn(column, name));
db.onstatus(renderStatus);
db.onpending(renderStatus);
db.onrejected(({ error }) => problem(error.message));
renderStatus();

// Columns.

/**
 * @param {Column} column
 * @param {string} name
 */
function makeColumn(column, name) {
  const section = /** @type {HTMLElement} */ (clone("column"));
  const list = /** @type {HTMLElement} */ (section.querySelector(".cards"));
  const count = /** @type {HTMLElement} */ (section.querySelector(".count"));
  const form = /** @type {HTMLFormElement} */ (section.querySelector(".add"));
  const input = /** @type {HTMLInputElement} */ (form.querySelector("input"));
  section.dataset.column = column;
  /** @type {HTMLElement} */ (section.querySelector(".name")).textContent = name;
  list.setAttribute("aria-label", name);
  input.setAttribute("aria-label", `Add a card to ${name}`);
  document.querySelector("main")?.append(section);

  const query = cards.query({ where: { column }, order: "position" });
  query.subscribe(() => {
    render();
    count.textContent = String(query.rows.length);
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const title = input.value.trim();
    if (!title) return;
    input.value = "";
    cards.create({ title, column, position: between(query.rows.at(-1)?.position, undefined) });
  });
  section.addEventListener("dragover", (event) => {
    if (dragged === undefined) return;
    event.preventDefault();
    section.classList.add("target");
    mark(list, placeUnder(list, event.clientY));
  });
  section.addEventListener("dragleave", (event) => {
    if (!section.contains(/** @type {Node | null} */ (event.relatedTarget))) unmark();
  });
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    unmark();
    if (dragged !== undefined) move(dragged, column, placeUnder(list, event.clientY));
    dragged = undefined;
  });

  function render() {
    /** @type {Element | null} */
    let before = list.firstElementChild;
    for (const card of query.rows) {
      const { li } = itemOf(card);
      if (li === before) before = before.nextElementSibling;
      else list.insertBefore(li, before);
    }
    // What is left is in another column by now, or gone.
    while (before) {
      const next = before.nextElementSibling;
      before.remove();
      before = next;
    }
    // Later: the other column of a card that moves may not have shown it yet.
    queueMicrotask(forget);
  }

  return { column, list, query };
}

/** Lets go of cards that are in no column any more. */
function forget() {
  for (const [key, { li }] of items) if (!li.isConnected && key !== dragged) items.delete(key);
}

/** @param {Column} column */
function rowsOf(column) {
  return columns.find((other) => other.column === column)?.query.rows ?? [];
}

/** Before which card of the list a point is; null: after all. @param {HTMLElement} list @param {number} y */
function placeUnder(list, y) {
  const others = /** @type {HTMLElement[]} */ ([...list.children]).filter((li) => dragged === undefined || li !== items.get(dragged)?.li);
  return others.find((li) => y < li.getBoundingClientRect().top + li.offsetHeight / 2) ?? null;
}

/** @param {HTMLElement} list @param {HTMLElement | null} before */
function mark(list, before) {
  unmark();
  list.parentElement?.classList.add("target");
  if (before) before.classList.add("before");
  else list.classList.add("end");
}

function unmark() {
  for (const element of document.querySelectorAll(".target, .before, .end")) element.classList.remove("target", "before", "end");
}

/**
 * Puts a card into a column, before another one or at the end.
 * @param {Key} key
 * @param {Column} column
 * @param {HTMLElement | null} before
 */
function move(key, column, before) {
  const item = items.get(key);
  if (!item) return;
  const others = rowsOf(column).filter((card) => cards.key(card) !== key);
  const index = before ? others.findIndex((card) => items.get(cards.key(card))?.li === before) : -1;
  const at = index < 0 ? others.length : index;
  const [left, right] = [others[at - 1], others[at]];
  if (item.card.column === column && left?.position < item.card.position && !(right?.position <= item.card.position)) return;
  cards.patch({ id: item.card.id, column, position: between(left?.position, right?.position) });
}

// Cards.

/** @param {Card} card */
function itemOf(card) {
  const key = cards.key(card);
  const item = items.get(key) ?? makeItem(key, card);
  items.set(key, item);
  item.card = card;
  if (item.title.textContent !== card.title && !item.title.isContentEditable) item.title.textContent = card.title;
  item.li.classList.toggle("pending", cards.pending(card) > 0);
  item.li.setAttribute("aria-label", card.title);
  return item;
}

/**
 * @param {Key} key
 * @param {Card} card
 * @returns {Item}
 */
function makeItem(key, card) {
  const li = /** @type {HTMLLIElement} */ (clone("card"));
  const title = /** @type {HTMLElement} */ (li.querySelector(".title"));
  const item = { li, title, card };
  li.addEventListener("dragstart", (event) => {
    dragged = key;
    li.classList.add("dragged");
    event.dataTransfer?.setData("text/plain", item.card.title);
    if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
  });
  li.addEventListener("dragend", () => {
    dragged = undefined;
    li.classList.remove("dragged");
    unmark();
  });
  li.querySelector(".remove")?.addEventListener("click", () => remove(key));
  li.addEventListener("dblclick", () => rename(item));
  li.addEventListener("keydown", (event) => {
    if (event.target !== li) return;
    if (event.key === "Enter") rename(item);
    else if (event.key === "Delete") remove(key);
    else if (event.altKey && event.key.startsWith("Arrow")) step(key, event.key);
    else return;
    event.preventDefault();
  });
  return item;
}

/** @param {Key} key */
function remove(key) {
  const item = items.get(key);
  if (item) cards.delete(item.card.id);
}

/** One step with the keyboard. @param {Key} key @param {string} arrow */
function step(key, arrow) {
  const item = /** @type {Item} */ (items.get(key));
  const { column } = item.card;
  const at = COLUMNS.findIndex(([name]) => name === column);
  const next = item.li.nextElementSibling;
  const place = /** @type {Record<string, () => [Column | undefined, Element | null | undefined]>} */ ({
    ArrowUp: () => [item.li.previousElementSibling ? column : undefined, item.li.previousElementSibling],
    ArrowDown: () => [next ? column : undefined, next?.nextElementSibling ?? null],
    ArrowLeft: () => [COLUMNS[at - 1]?.[0], null],
    ArrowRight: () => [COLUMNS[at + 1]?.[0], null],
  })[arrow]?.();
  if (!place?.[0]) return;
  move(key, place[0], /** @type {HTMLElement | null} */ (place[1]));
  requestAnimationFrame(() => item.li.focus());
}

/** @param {Item} item */
function rename({ li, title, card }) {
  if (title.isContentEditable) return;
  const before = card.title;
  li.draggable = false;
  title.contentEditable = "plaintext-only";
  title.focus();
  getSelection()?.selectAllChildren(title);
  const end = (/** @type {boolean} */ save) => {
    title.removeEventListener("keydown", pressed);
    title.removeEventListener("blur", blurred);
    title.contentEditable = "false";
    li.draggable = true;
    const text = (title.textContent ?? "").trim();
    if (save && text && text !== before) cards.patch({ id: card.id, title: text });
    else title.textContent = items.get(cards.key(card))?.card.title ?? before;
  };
  const blurred = () => end(true);
  const pressed = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter");
    li.focus();
  };
  title.addEventListener("keydown", pressed);
  title.addEventListener("blur", blurred);
}

// What there is to know.

function renderStatus() {
  const words = { connecting: "Connecting …", online: "In sync", offline: "Offline", closed: "Closed" };
  status.dataset.status = db.status;
  status.textContent = words[db.status];
  unsaved.hidden = db.pending === 0 || db.status === "online";
  unsaved.textContent = db.pending === 1 ? "1 change will be sent when there is a line." : `${db.pending} changes will be sent when there is a line.`;
}

/** @param {string} text */
function problem(text) {
  const p = document.createElement("p");
  p.className = "problem";
  p.textContent = text;
  p.addEventListener("click", () => p.remove());
  problems.append(p);
}

/** @param {string} id */
function clone(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  return /** @type {Element} */ (/** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild);
}
