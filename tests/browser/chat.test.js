/**
 * The chat example in several browsers: who sees what, while members come and go.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Proxy } from "./proxy.js";
import { launch, TodoServer } from "./todo.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  assert.ok(process.env.CHAT_BIN, "CHAT_BIN must name the server: cargo build -p chat makes target/debug/chat");
  browser = await launch();
});
after(() => browser?.close());

/** Somebody at the chat, in the words of a person who uses it. */
class ChatPage {
  /** @type {string[]} what went wrong in the page */
  errors = [];
  /** What came over the socket. */
  received = "";

  /** @param {import("playwright-core").Page} page @param {Proxy} line @param {string} name */
  constructor(page, line, name) {
    this.page = page;
    this.line = line;
    this.name = name;
    this.messages = page.locator(".message .text");
    page.setDefaultTimeout(15_000);
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => (this.received += payload)));
  }

  async signIn() {
    await this.page.goto(this.line.url);
    await this.page.getByLabel("What is your name?").fill(this.name);
    await this.page.getByRole("button", { name: "Sign in" }).click();
    await this.online();
  }

  online() {
    return this.page.locator('.status[data-status="online"]').waitFor();
  }

  /** @param {string} name */
  async openRoom(name) {
    await this.page.getByLabel("Open a room").fill(name);
    await this.page.getByLabel("Open a room").press("Enter");
    await this.page.locator(".room-name", { hasText: name }).waitFor();
    await this.page.getByLabel("Say something").waitFor();
  }

  /** @param {string} name */
  room(name) {
    return this.page.locator(".room", { hasText: name });
  }

  /** @param {string} name */
  async join(name) {
    await this.room(name).click();
    await this.page.getByRole("button", { name: "Join" }).click();
    await this.page.getByLabel("Say something").waitFor();
  }

  /** @param {...string} texts */
  async say(...texts) {
    for (const text of texts) {
      await this.page.getByLabel("Say something").fill(text);
      await this.page.getByLabel("Say something").press("Enter");
    }
  }

  /** Waits until the page shows it. @param {...string} expected */
  async shows(...expected) {
    const end = Date.now() + 15_000;
    while (JSON.stringify(await this.messages.allTextContents()) !== JSON.stringify(expected) && Date.now() < end) await this.page.waitForTimeout(30);
    assert.deepEqual(await this.messages.allTextContents(), expected);
  }
}

/** @param {import("node:test").TestContext} context @param {...string} names */
async function stage(context, ...names) {
  const server = new TodoServer(process.env.CHAT_BIN);
  /** @type {ChatPage[]} */
  const people = [];
  context.after(async () => {
    for (const { page, line } of people) {
      await page.context().close();
      await line.stop();
    }
    await server.remove();
    assert.deepEqual(people.flatMap(({ errors }) => errors), []);
  });
  await server.start();
  for (const name of names) {
    const line = new Proxy(() => server.port);
    await line.start();
    const person = new ChatPage(await (await browser.newContext()).newPage(), line, name);
    people.push(person);
    await person.signIn();
  }
  return { server, people };
}

test("what is said in a room is for its members, from the moment that they join until they are shown out", async (context) => {
  const { people: [anna, bela, cleo] } = await stage(context, "Anna", "Bela", "Cleo");
  await anna.openRoom("Garden");
  await anna.say("the secret is under the rose");
  await anna.shows("the secret is under the rose");
  await bela.room("Garden").waitFor();
  await bela.room("Garden").click();
  await bela.page.getByText("What is said here is for members.").waitFor();
  await bela.shows();
  assert.doesNotMatch(bela.received, /rose/);

  await bela.join("Garden");
  await bela.shows("the secret is under the rose");
  await bela.say("I have found it");
  for (const person of [anna, bela]) await person.shows("the secret is under the rose", "I have found it");
  assert.deepEqual(await anna.page.locator(".member .name").allTextContents(), ["Anna", "Bela"]);

  // Only the moderator can show somebody out, and then it is at once.
  assert.equal(await bela.page.locator(".member .remove:visible").count(), 0);
  await anna.page.locator(".member", { hasText: "Bela" }).getByRole("button", { name: "Show out" }).click();
  await bela.page.getByText("What is said here is for members.").waitFor();
  await bela.shows();
  await anna.say("alone again");
  await anna.shows("the secret is under the rose", "I have found it", "alone again");
  assert.doesNotMatch(bela.received, /alone again/);
  assert.doesNotMatch(cleo.received, /rose|found|alone/);
});

test("unread messages are counted, and read when they are looked at", async (context) => {
  const { people: [anna, bela] } = await stage(context, "Anna", "Bela");
  await anna.openRoom("Garden");
  await bela.join("Garden");
  await bela.openRoom("Kitchen");
  await anna.say("one", "two", "three");
  await bela.room("Garden").locator(".unread", { hasText: "3" }).waitFor();
  await bela.room("Garden").click();
  await bela.shows("one", "two", "three");
  await bela.room("Garden").locator(".unread").waitFor({ state: "hidden" });
  assert.equal(await anna.room("Garden").locator(".unread").isVisible(), false);
});

test("a moderator deletes what another has said, and others cannot", async (context) => {
  const { people: [anna, bela] } = await stage(context, "Anna", "Bela");
  await anna.openRoom("Garden");
  await anna.say("hello");
  await bela.join("Garden");
  await bela.say("rude words");
  await anna.shows("hello", "rude words");
  assert.equal(await bela.page.locator(".message", { hasText: "hello" }).locator(".delete").isVisible(), false);
  await anna.page.locator(".message", { hasText: "rude words" }).hover();
  await anna.page.locator(".message", { hasText: "rude words" }).getByRole("button", { name: "Delete" }).click();
  for (const person of [anna, bela]) await person.shows("hello");
});

test("one scrolls back without end, while new messages come in", async (context) => {
  const { server, people: [anna] } = await stage(context, "Anna");
  await anna.openRoom("Garden");
  const texts = Array.from({ length: 130 }, (_, index) => `message ${String(index).padStart(3, "0")}`);
  for (const text of texts) {
    const said = await fetch(`${server.url}rooms/1/announcements`, { method: "POST", body: text });
    assert.equal(said.status, 201, await said.text());
  }
  await anna.page.reload();
  await anna.online();
  await anna.messages.nth(39).waitFor();
  await anna.page.locator(".message", { hasText: "message 129" }).waitFor();
  const loaded = await anna.messages.count();
  assert.ok(loaded < 130, `a window, not all: ${loaded}`);
  for (let tries = 0; tries < 20 && (await anna.page.locator(".beginning").isHidden()); tries += 1) {
    await anna.page.evaluate(() => void document.querySelector(".scroll")?.scrollTo(0, 0));
    await anna.say(`news ${tries}`);
    await anna.page.waitForTimeout(100);
  }
  await anna.page.locator(".beginning").waitFor();
  const shown = await anna.messages.allTextContents();
  assert.deepEqual(shown.filter((text) => text.startsWith("message")), texts);
  assert.deepEqual(
    shown.filter((text) => text.startsWith("news")),
    Array.from({ length: shown.length - 130 }, (_, index) => `news ${index}`),
  );
});

test("who signs out sees nothing more, in any tab", async (context) => {
  const { people: [anna, bela] } = await stage(context, "Anna", "Bela");
  await anna.openRoom("Garden");
  await bela.join("Garden");
  const tab = await bela.page.context().newPage();
  await tab.goto(bela.page.url());
  await tab.locator('.status[data-status="online"]').waitFor();
  await bela.page.getByRole("button", { name: "Sign out" }).click();
  for (const page of [bela.page, tab]) await page.getByLabel("What is your name?").waitFor();
  const before = bela.received.length;
  await anna.say("are you there?");
  await anna.shows("are you there?");
  assert.equal(bela.received.slice(before), "");
});

test("what is said without a line is said when there is one", async (context) => {
  const { people: [anna, bela] } = await stage(context, "Anna", "Bela");
  await anna.openRoom("Garden");
  await bela.join("Garden");
  bela.line.set("cut");
  await bela.page.locator('.status[data-status="offline"]').waitFor();
  await bela.say("from the train");
  await bela.shows("from the train");
  await anna.say("where are you?");
  bela.line.set("open");
  await bela.page.evaluate(() => void dispatchEvent(new Event("online")));
  for (const person of [anna, bela]) await person.shows("where are you?", "from the train");
});
