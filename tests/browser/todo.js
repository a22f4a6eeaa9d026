/**
 * The todo server as a process, and browsers that look at it.
 * @module
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The pages that the two people of a test use. */
export const PAIRS = [["/", "/"], ["/backbone/", "/backbone/"], ["/", "/backbone/"]];

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/**
 * On a new machine the first server has npm bring Backbone: its page waits for that, and so do the tests.
 * @param {import("playwright-core").Browser} browser
 * @param {TodoServer} server
 */
export async function packagesAreThere(browser, server) {
  const page = await browser.newPage();
  await page.goto(`${server.url}backbone/`);
  await page.locator('.status[data-status="online"]').waitFor({ timeout: 240_000 });
  await page.close();
}

export class TodoServer {
  port = 0;
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #process;
  #folder = "";
  #binary;

  /** @param {string | undefined} [binary] */
  constructor(binary = process.env.TODO_BIN) {
    this.#binary = binary;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  get #store() {
    return `sqlite:${join(this.#folder, "todo.db")}`;
  }

  /** Starts it, or starts it again on the same port and store. */
  async start() {
    const binary = this.#binary;
    if (!binary) throw new Error("TODO_BIN must name the server: cargo build -p todo makes target/debug/todo");
    this.#folder ||= await mkdtemp(join(tmpdir(), "todo-"));
    const child = spawn(binary, ["--listen", `127.0.0.1:${this.port}`, "--store", this.#store], { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    let log = "";
    const port = new Promise((resolve) => {
      const read = (text) => {
        log += text;
        const found = /http:\/\/127\.0\.0\.1:(\d+)/.exec(log);
        if (found) resolve(Number(found[1]));
      };
      child.stdout.setEncoding("utf8").on("data", read);
      child.stderr.setEncoding("utf8").on("data", read);
    });
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${log}`);
    });
    const timer = new AbortController();
    const late = new Promise((_resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error(`the server names no address:\n${log}`)), 20_000);
      timer.signal.addEventListener("abort", () => clearTimeout(timeout));
    });
    try {
      this.port = await Promise.race([port, ended, late]);
    } finally {
      timer.abort();
      ended.catch(() => {});
    }
  }

  /** @param {"SIGTERM" | "SIGKILL"} [signal] */
  async stop(signal = "SIGTERM") {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Copies the store, also while it is served. */
  async backup() {
    await promisify(execFile)(String(this.#binary), ["backup", "--store", this.#store, "--to", join(this.#folder, "copy.db")]);
  }

  /** Loses the store, and makes it anew of the copy. Not while it is served. */
  async restore() {
    for (const file of ["todo.db", "todo.db-wal", "todo.db-shm"]) await rm(join(this.#folder, file), { force: true });
    await promisify(execFile)(String(this.#binary), ["restore", "--store", this.#store, "--from", join(this.#folder, "copy.db")]);
  }

  async remove() {
    await this.stop();
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One browser's page of todos, in the words of a person who uses it. */
export class TodoPage {
  /** @type {string[]} what went wrong in the page */
  errors = [];

  /** @param {import("playwright-core").Page} page */
  constructor(page) {
    this.page = page;
    this.newTodo = page.locator(".new-todo");
    this.items = page.locator(".todo-list li");
    this.labels = page.locator(".todo-list label");
    this.status = page.locator(".status");
    this.problems = page.locator(".problem");
    page.on("pageerror", (error) => this.errors.push(String(error)));
  }

  /** @param {string} url */
  async open(url) {
    await this.page.goto(url);
    await this.online();
  }

  async online() {
    await this.page.locator('.status[data-status="online"]').waitFor();
    await this.page.waitForFunction(() => !/Loading/.test(document.querySelector(".empty")?.textContent ?? ""));
  }

  /** @param {...string} titles */
  async add(...titles) {
    for (const title of titles) {
      await this.newTodo.fill(title);
      await this.newTodo.press("Enter");
    }
  }

  /** @param {string | RegExp} title */
  item(title) {
    return this.items.filter({ has: this.page.locator("label", { hasText: title }) });
  }

  /** @param {string | RegExp} title */
  async toggle(title) {
    await this.item(title).locator(".toggle").click();
  }

  /** @param {string | RegExp} title */
  async remove(title) {
    await this.item(title).hover();
    await this.item(title).locator(".destroy").click();
  }

  /** @param {string | RegExp} title @param {string} other */
  async rename(title, other) {
    const edit = await this.startEditing(title);
    await edit.fill(other);
    await edit.press("Enter");
  }

  /** @param {string | RegExp} title */
  async startEditing(title) {
    await this.item(title).locator("label").dblclick();
    return this.page.locator(".editing .edit");
  }

  /** Waits until the list is this. @param {readonly string[]} titles */
  async shows(titles) {
    const expected = JSON.stringify(titles);
    const now = () => JSON.stringify([...document.querySelectorAll(".todo-list label")].map((label) => label.textContent));
    await this.page
      .waitForFunction((expected) => JSON.stringify([...document.querySelectorAll(".todo-list label")].map((label) => label.textContent)) === expected, expected)
      .catch(async () => {
        throw new Error(`the list should be ${expected}, but is ${await this.page.evaluate(now)}`);
      });
  }

  /** Waits until these are completed, and no others. @param {readonly string[]} titles */
  async completed(titles) {
    const expected = JSON.stringify(titles);
    await this.page.waitForFunction((expected) => {
      const done = [...document.querySelectorAll(".todo-list li")].filter((li) => li.classList.contains("completed"));
      return JSON.stringify(done.map((li) => li.querySelector("label")?.textContent)) === expected;
    }, expected);
  }

  /** Waits until nothing that was done here is unconfirmed. */
  async saved() {
    await this.page.locator(".unsaved[hidden]").waitFor({ state: "attached" });
  }
}
