// The page of the chat example: rooms, their members, and messages as a window that one scrolls back in without end.
//
// Who is asking is known by a cookie, which comes with the connection by itself. What one may not see is not sent: the page asks for
// the messages of a room, and gets them only as a member.

import { connect } from "/sync/client.js";
import { pages } from "/sync/pages.js";

/** @typedef {{id: number, name: string}} Person */
/** @typedef {{id: number, name: string}} Room */
/** @typedef {{id: string, room: number, person: number, moderator: boolean, unread: number}} Member */
/** @typedef {{id: number, room: number, text: string, author: number | null, sent_at: number}} Message */

/**
 * @template R, I, [A={}]
 * @typedef {{row: R, insert: I, patch: never, id: "id", indexed: "id" | keyof R & string, actions: A}} Types
 */
/**
 * @typedef {{
 *   Person: Types<Person, never>,
 *   Room: Types<Room, never, Record<"join" | "leave" | "mark_read", {args: {room: number}, result: null}>
 *     & {open: {args: {name: string}, result: number}, remove: {args: {room: number, person: number}, result: null}}>,
 *   Member: Types<Member, never>,
 *   Message: Types<Message, {room: number, text: string}>,
 * }} Models
 */

/** @type {import("/sync/client.js").Database<Models>} */
const db = connect();
const [people, rooms, members, messages] = [db.model("Person"), db.model("Room"), db.model("Member"), db.model("Message")];

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);
const page = {
  signIn: find(".sign-in"),
  chat: find(".chat"),
  status: find(".status"),
  rooms: find(".room-list"),
  noRooms: find(".no-rooms"),
  openRoom: find(".open-room"),
  me: find(".me"),
  roomName: find(".room-name"),
  leave: find(".leave"),
  problems: find(".problems"),
  scroll: find(".scroll"),
  beginning: find(".beginning"),
  messages: find(".messages"),
  say: find(".say"),
  join: find(".join"),
  members: find(".members"),
  memberList: find(".member-list"),
};

/** How many messages come at a time. */
const PAGE = 40;

/** Who I am. @type {number | undefined} */
let me;
/** The room that is open. @type {number | undefined} */
let current;
/** Its messages, the newest first. @type {any} */
let feed;
/** Whether the server is being told that I have read all. */
let isMarking = false;
/** Whether the newest message is in view: then it stays so. */
let isAtEnd = true;

const everybody = people.query();
const allRooms = rooms.query({ order: "name" });
const memberships = members.query();

start();

async function start() {
  const answer = await fetch("/me");
  if (answer.status === 401) {
    db.close();
    page.signIn.hidden = false;
    page.signIn.querySelector("input").focus();
    return;
  }
  me = (await answer.json()).id;
  page.chat.hidden = false;
  for (const query of [everybody, allRooms, memberships]) query.subscribe(render);
  db.onstatus(renderStatus);
  db.onrejected(({ error }) => problem(error.message));
  renderStatus();
  addEventListener("hashchange", follow);
  follow();
}

// Rooms.

/** The room of the address is the one that is shown. */
function follow() {
  const id = Number(location.hash.slice(2)) || undefined;
  if (id === current) return;
  current = id;
  feed?.close();
  feed = undefined;
  page.messages.replaceChildren();
  isAtEnd = true;
  render();
}

page.openRoom.addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  const input = page.openRoom.querySelector("input");
  const name = input.value.trim();
  if (!name) return;
  input.value = "";
  const id = await rooms.action("open", { name }).catch(() => (input.value ||= name) && undefined);
  if (id) location.hash = `#/${id}`;
});
page.join.querySelector("button").addEventListener("click", () => current && rooms.action("join", { room: current }));
page.leave.addEventListener("click", () => current && rooms.action("leave", { room: current }));

/** @param {number | undefined} room @param {number | undefined} [person] @returns {Member | undefined} */
function membership(room, person = me) {
  return memberships.rows.find((member) => member.room === room && member.person === person);
}

/** @param {number | null} id */
function nameOf(id) {
  return id === null ? "Announcement" : (everybody.rows.find((person) => person.id === id)?.name ?? "Somebody");
}

// Messages.

page.say.addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const input = page.say.querySelector("input");
  const text = input.value.trim();
  if (!text || !current) return;
  input.value = "";
  isAtEnd = true;
  messages.create({ room: current, text });
});
page.scroll.addEventListener("scroll", () => {
  isAtEnd = page.scroll.scrollHeight - page.scroll.scrollTop - page.scroll.clientHeight < 40;
  if (page.scroll.scrollTop < 300 && feed?.hasMore) feed.more();
});

/** Opens the messages of a room that I am a member of, and closes them when I am no more. */
function openFeed() {
  const isMember = membership(current) !== undefined;
  if (isMember && !feed) {
    feed = pages(messages.query({ where: { room: current }, order: "-id", limit: PAGE }));
    feed.subscribe(renderMessages);
  } else if (!isMember && feed) {
    feed.close();
    feed = undefined;
    page.messages.replaceChildren();
  }
}

function renderMessages() {
  if (!feed) return;
  const { scrollHeight, scrollTop } = page.scroll;
  const rows = [...feed.rows].reverse();
  reuse(page.messages, rows, (message) => messages.key(message), makeMessage, showMessage);
  page.beginning.hidden = feed.status === "loading" || feed.hasMore;
  // Older ones came in above: what was in view stays there.
  page.scroll.scrollTop = isAtEnd ? page.scroll.scrollHeight : scrollTop + page.scroll.scrollHeight - scrollHeight;
  if (document.visibilityState === "visible") markRead();
}

async function markRead() {
  const member = membership(current);
  if (!member?.unread || isMarking || db.status !== "online") return;
  isMarking = true;
  await rooms.action("mark_read", { room: member.room }).catch(() => {});
  isMarking = false;
}
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && markRead());

function makeMessage() {
  const li = element("li", "message");
  li.append(element("b", "author"), element("time", "time"), element("p", "text"), element("button", "delete"));
  return li;
}

/** @param {any} li @param {Message} message */
function showMessage(li, message) {
  const [author, time, text, remove] = li.children;
  // The server says who and when: until then it is me, now.
  const { author: by = me ?? null, sent_at = Date.now() } = message;
  const sent = new Date(sent_at);
  author.textContent = nameOf(by);
  author.dir = text.dir = "auto";
  time.dateTime = sent.toISOString();
  time.textContent = sent.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  text.textContent = message.text;
  li.classList.toggle("mine", by === me);
  li.classList.toggle("pending", messages.pending(message) > 0);
  remove.textContent = "Delete";
  remove.type = "button";
  remove.hidden = by !== me && !membership(current)?.moderator;
  remove.onclick = () => messages.delete(message.id);
}

// Showing.

function render() {
  openFeed();
  const member = membership(current);
  const room = allRooms.rows.find((other) => other.id === current);
  page.me.textContent = nameOf(me ?? null);
  reuse(page.rooms, allRooms.rows, (each) => each.id, makeRoom, showRoom);
  page.noRooms.hidden = allRooms.status === "loading" || allRooms.rows.length > 0;
  page.roomName.textContent = room ? room.name : "Choose a room";
  page.leave.hidden = page.say.hidden = page.members.hidden = !member;
  page.join.hidden = !room || member !== undefined || memberships.status === "loading";
  const inRoom = memberships.rows.filter((other) => other.room === current);
  reuse(page.memberList, inRoom, (other) => other.id, makeMember, showMember);
  page.beginning.hidden = !feed || feed.status === "loading" || feed.hasMore;
  renderMessages();
}

function makeRoom() {
  const li = element("li", "room");
  const link = element("a", "link");
  link.append(element("span", "name"), element("span", "unread"));
  li.append(link);
  return li;
}

/** @param {any} li @param {Room} room */
function showRoom(li, room) {
  const [link] = li.children;
  const [name, unread] = link.children;
  const member = membership(room.id);
  link.href = `#/${room.id}`;
  name.textContent = room.name;
  name.dir = "auto";
  unread.textContent = member?.unread ? String(member.unread) : "";
  unread.hidden = !member?.unread;
  li.classList.toggle("joined", member !== undefined);
  if (room.id === current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

function makeMember() {
  const li = element("li", "member");
  li.append(element("span", "name"), element("span", "role"), element("button", "remove"));
  return li;
}

/** @param {any} li @param {Member} member */
function showMember(li, member) {
  const [name, role, remove] = li.children;
  name.textContent = nameOf(member.person);
  name.dir = "auto";
  role.textContent = member.moderator ? "moderator" : "";
  remove.textContent = "Show out";
  remove.type = "button";
  remove.hidden = member.person === me || !membership(current)?.moderator;
  remove.onclick = () => rooms.action("remove", { room: member.room, person: member.person });
}

function renderStatus() {
  const words = { connecting: "Connecting …", online: "In sync", offline: "Offline", closed: "Signed out" };
  page.status.dataset.status = db.status;
  page.status.textContent = words[db.status];
  // The cookie is good no more: this person has signed out in another tab, say.
  if (db.status === "closed") location.reload();
}

/** @param {string} text */
function problem(text) {
  const p = element("p", "problem");
  p.textContent = text;
  p.addEventListener("click", () => p.remove());
  page.problems.append(p);
}

/**
 * Shows rows in a list, one element a row, which it keeps.
 * @template R
 * @param {HTMLElement} list
 * @param {readonly R[]} rows
 * @param {(row: R) => any} key
 * @param {() => HTMLElement} make
 * @param {(element: any, row: R) => void} show
 */
function reuse(list, rows, key, make, show) {
  const old = new Map([...list.children].map((child) => [/** @type {any} */ (child).key, child]));
  let at = list.firstElementChild;
  for (const row of rows) {
    const id = key(row);
    const child = old.get(id) ?? make();
    old.delete(id);
    /** @type {any} */ (child).key = id;
    show(child, row);
    if (child === at) at = at.nextElementSibling;
    else list.insertBefore(child, at);
  }
  for (const child of old.values()) child.remove();
}

/** @param {string} name @param {string} kind @returns {any} */
function element(name, kind) {
  const made = document.createElement(name);
  made.className = kind;
  return made;
}
