/**
 * A server, and people who look at it, each over a line of their own.
 * @module
 */

import assert from "node:assert/strict";

import { Proxy } from "./proxy.js";
import { TodoPage, TodoServer } from "./todo.js";

/**
 * Somebody with a browser: it can have several pages of the one address.
 */
export class Person {
  /** @type {TodoPage[]} */
  pages = [];
  #context;
  #path;

  /**
   * @param {import("playwright-core").BrowserContext} context
   * @param {Proxy} line
   * @param {string} path of the page that this one likes
   */
  constructor(context, line, path) {
    this.#context = context;
    this.#path = path;
    this.line = line;
  }

  get url() {
    return new URL(this.#path, this.line.url).href;
  }

  /**
   * Another page, not yet opened.
   * @returns {Promise<TodoPage>}
   */
  async page() {
    const page = await this.#context.newPage();
    page.setDefaultTimeout(20_000);
    const todos = new TodoPage(page);
    this.pages.push(todos);
    return todos;
  }

  /** A page that is in sync. */
  async open() {
    const page = await this.page();
    await page.open(this.url);
    return page;
  }

  /** Their line is good again, and the browser says so to its pages, as it does. */
  async back() {
    this.line.set("open");
    for (const { page } of this.pages) {
      if (!page.isClosed()) await page.evaluate(() => void dispatchEvent(new Event("online"))).catch(() => {});
    }
  }

  /** Kills the process behind a page. @param {TodoPage} todos */
  async crash({ page }) {
    const crashed = page.waitForEvent("crash");
    const session = await this.#context.newCDPSession(page);
    session.send("Page.crash").catch(() => {});
    await crashed;
    this.pages = this.pages.filter((other) => other.page !== page);
    await page.close();
  }

  async leave() {
    await this.#context.close();
    await this.line.stop();
  }
}

/**
 * @param {import("node:test").TestContext} context
 * @param {import("playwright-core").Browser} browser
 * @param {readonly string[]} paths one for each person
 */
export async function stage(context, browser, paths) {
  const server = new TodoServer();
  /** @type {Person[]} */
  const people = [];
  context.after(async () => {
    for (const person of people) await person.leave();
    await server.remove();
  });
  await server.start();
  for (const path of paths) {
    const line = new Proxy(() => server.port);
    await line.start();
    people.push(new Person(await browser.newContext(), line, path));
  }
  context.after(() => assert.deepEqual(people.flatMap(({ pages }) => pages.flatMap(({ errors }) => errors)), []));
  return { server, people };
}
