/**
 * The board example in several browsers: cards that are dragged by several people at once.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Proxy } from "./proxy.js";
import { launch, TodoServer } from "./todo.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  assert.ok(process.env.BOARD_BIN, "BOARD_BIN must name the server: cargo build -p board makes target/debug/board");
  browser = await launch();
});
after(() => browser?.close());

/** One browser's page of the board, in the words of a person who uses it. */
class BoardPage {
  /** @type {string[]} what went wrong in the page */
  errors = [];

  /** @param {import("playwright-core").Page} page @param {Proxy} line */
  constructor(page, line) {
    this.page = page;
    this.line = line;
    page.setDefaultTimeout(15_000);
    page.on("pageerror", (error) => this.errors.push(String(error)));
  }

  async open() {
    await this.page.goto(this.line.url);
    await this.page.locator('.status[data-status="online"]').waitFor();
  }

  /** @param {string} column */
  column(column) {
    return this.page.locator(`[data-column="${column}"]`);
  }

  /** @param {string} title */
  card(title) {
    return this.page.locator(".card").filter({ has: this.page.getByText(title, { exact: true }) });
  }

  /** @param {string} column @param {...string} titles */
  async add(column, ...titles) {
    const input = this.column(column).locator("input");
    for (const title of titles) {
      await input.fill(title);
      await input.press("Enter");
    }
  }

  /** Drags a card onto another, or to the end of a column. @param {string} title @param {{column?: string, onto?: string}} where */
  async drag(title, { column, onto }) {
    const target = onto ? this.card(onto) : this.column(/** @type {string} */ (column)).locator(".add");
    await this.card(title).dragTo(target, { targetPosition: { x: 20, y: 3 } });
  }

  /** What is in each column, in order. */
  titles() {
    return this.page.evaluate(() =>
      Object.fromEntries(
        [...document.querySelectorAll(".column")].map((section) => [
          /** @type {HTMLElement} */ (section).dataset.column,
          [...section.querySelectorAll(".card .title")].map(({ textContent }) => textContent),
        ]),
      ),
    );
  }

  /** Waits until the page shows it. @param {Record<string, string[]>} expected */
  async shows(expected) {
    const end = Date.now() + 15_000;
    const wanted = { todo: [], doing: [], done: [], ...expected };
    while (JSON.stringify(await this.titles()) !== JSON.stringify(wanted) && Date.now() < end) await this.page.waitForTimeout(30);
    assert.deepEqual(await this.titles(), wanted);
  }

  async saved() {
    await this.page.waitForFunction(() => !document.querySelector(".card.pending"));
  }
}

/** @param {import("node:test").TestContext} context @param {number} people */
async function stage(context, people) {
  const server = new TodoServer(process.env.BOARD_BIN);
  /** @type {BoardPage[]} */
  const pages = [];
  context.after(async () => {
    for (const { page, line } of pages) {
      await page.context().close();
      await line.stop();
    }
    await server.remove();
    assert.deepEqual(pages.flatMap(({ errors }) => errors), []);
  });
  await server.start();
  for (let index = 0; index < people; index += 1) {
    const line = new Proxy(() => server.port);
    await line.start();
    const page = new BoardPage(await (await browser.newContext()).newPage(), line);
    pages.push(page);
    await page.open();
  }
  return { server, pages };
}

test("cards are added, dragged within a column and to another, renamed and removed", async (context) => {
  const { pages: [a, b] } = await stage(context, 2);
  await a.add("todo", "milk", "tea", "soap");
  await b.shows({ todo: ["milk", "tea", "soap"] });
  await b.drag("soap", { onto: "milk" });
  for (const page of [a, b]) await page.shows({ todo: ["soap", "milk", "tea"] });
  await a.drag("milk", { column: "done" });
  for (const page of [a, b]) await page.shows({ todo: ["soap", "tea"], done: ["milk"] });
  await b.drag("tea", { onto: "milk" });
  for (const page of [a, b]) await page.shows({ todo: ["soap"], done: ["tea", "milk"] });
  await a.card("soap").dblclick();
  await a.page.keyboard.type("green soap");
  await a.page.keyboard.press("Enter");
  await b.shows({ todo: ["green soap"], done: ["tea", "milk"] });
  await b.card("tea").hover();
  await b.card("tea").getByRole("button", { name: "Remove" }).click();
  await a.shows({ todo: ["green soap"], done: ["milk"] });
});

test("cards are moved with the keyboard, and keep the focus", async (context) => {
  const { pages: [a, b] } = await stage(context, 2);
  await a.add("todo", "milk", "tea");
  await a.add("doing", "soap");
  await a.card("milk").focus();
  await a.page.keyboard.press("Alt+ArrowDown");
  await b.shows({ todo: ["tea", "milk"], doing: ["soap"] });
  await a.page.keyboard.press("Alt+ArrowUp");
  await b.shows({ todo: ["milk", "tea"], doing: ["soap"] });
  await a.page.keyboard.press("Alt+ArrowRight");
  await b.shows({ todo: ["tea"], doing: ["soap", "milk"] });
  await a.page.keyboard.press("Alt+ArrowRight");
  await b.shows({ todo: ["tea"], doing: ["soap"], done: ["milk"] });
  await a.page.keyboard.press("Delete");
  await b.shows({ todo: ["tea"], doing: ["soap"] });
});

test("several people drag at once, some of them offline: no card is lost or doubled", async (context) => {
  const { pages } = await stage(context, 3);
  const [a, b, c] = pages;
  const titles = Array.from({ length: 9 }, (_, index) => `card ${index}`);
  await a.add("todo", ...titles);
  for (const page of pages) await page.shows({ todo: titles });
  c.line.set("cut");
  await c.page.locator('.status[data-status="offline"]').waitFor();
  const columns = ["doing", "done", "todo"];
  await Promise.all(
    pages.map(async (page, person) => {
      for (let index = 0; index < titles.length; index += 1) {
        const title = titles[(index * 2 + person * 3) % titles.length];
        await page.drag(title, { column: columns[(index + person) % 3] });
      }
    }),
  );
  c.line.set("open");
  await c.page.evaluate(() => void dispatchEvent(new Event("online")));
  await c.page.locator('.status[data-status="online"]').waitFor();
  for (const page of pages) await page.saved();
  // Whoever came last has said where each card is; all see the same, and each card once.
  const end = Date.now() + 15_000;
  const boards = async () => Promise.all(pages.map((page) => page.titles()));
  const isSame = (/** @type {unknown[]} */ all) => new Set(all.map((board) => JSON.stringify(board))).size === 1;
  while (!isSame(await boards()) && Date.now() < end) await a.page.waitForTimeout(50);
  const [first, second, third] = await boards();
  assert.deepEqual(second, first);
  assert.deepEqual(third, first);
  assert.deepEqual(Object.values(first).flat().sort(), titles);
  await b.page.reload();
  await b.shows(first);
});

test("a program adds a card", async (context) => {
  const { server, pages: [a] } = await stage(context, 1);
  await a.add("todo", "milk");
  await a.shows({ todo: ["milk"] });
  await a.saved();
  const add = (/** @type {string} */ title) => fetch(`${server.url}cards`, { method: "POST", body: title });
  assert.equal((await add("tea")).status, 201);
  await a.shows({ todo: ["milk", "tea"] });
  const refused = await add("  ");
  assert.equal(refused.status, 400);
  assert.match(await refused.text(), /title/);
});
