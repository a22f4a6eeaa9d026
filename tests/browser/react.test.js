/**
 * The React hooks in a browser, with React 19, the real server, and a line that a test can cut.
 */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { build } from "esbuild";

import { Proxy } from "./proxy.js";
import { launch, TodoServer } from "./todo.js";

const here = fileURLToPath(new URL(".", import.meta.url));
/** How long the server goes on sending rows when nobody asks for them any more, and some more. */
const LINGER_MS = 5_000 + 1_500;

/** @type {import("playwright-core").Browser} */
let browser;
/** The page's script: `hooks` is what `react/page.jsx` exports. */
let script = "";
before(async () => {
  [browser, script] = await Promise.all([launch(), bundle({ entryPoints: [join(here, "react/page.jsx")], globalName: "hooks" })]);
});
after(() => browser?.close());

/** @param {import("esbuild").BuildOptions} options */
async function bundle(options) {
  // The client's own folder has no React: it is to be the page's.
  const nodePaths = [join(here, "../node_modules")];
  const { outputFiles } = await build({ bundle: true, jsx: "automatic", nodePaths, write: false, ...options });
  return outputFiles[0].text;
}

/**
 * A server, and so many people with a page each, over lines of their own.
 * @param {import("node:test").TestContext} context
 * @param {object} [options]
 * @param {number} [options.count]
 * @param {string} [options.body]
 * @param {Record<string, string>} [options.scripts] by path
 */
async function start(context, { count = 1, body = "<main></main><script src='/hooks.js'></script>", scripts = { "/hooks.js": script } } = {}) {
  const server = new TodoServer();
  const people = [];
  const errors = [];
  context.after(async () => {
    for (const { page, line } of people) {
      await page.context().close();
      await line.stop();
    }
    await server.remove();
  });
  await server.start();
  for (let index = 0; index < count; index += 1) {
    const line = new Proxy(() => server.port);
    await line.start();
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(15_000);
    // Of what the client has sent.
    const sent = [];
    page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => sent.push(...[JSON.parse(String(payload))].flat())));
    page.on("pageerror", (error) => errors.push(String(error)));
    // React says there what is wrong with a hook; what the browser says of a cut line is no matter.
    page.on("console", (message) => {
      if (message.type() === "error" && !/WebSocket/.test(message.text())) errors.push(message.text());
    });
    for (const [path, text] of Object.entries(scripts)) {
      await page.route(`**${path}`, (route) => route.fulfill({ contentType: "text/javascript; charset=utf-8", body: text }));
    }
    // A page whose answer is made here counts as one from elsewhere.
    await page.context().grantPermissions(["local-network-access"]);
    await page.route(`${line.url}own`, (route) => route.fulfill({ contentType: "text/html", body: `<!doctype html>${body}` }));
    await page.goto(`${line.url}own`);
    people.push({ page, line, sent });
  }
  context.after(() => assert.deepEqual(errors, []));
  return { server, people };
}

/** @param {import("playwright-core").Page} page @param {string} part @param {object} [options] */
async function show(page, part, options) {
  await page.evaluate(([part, options]) => globalThis.hooks.show(part, options), /** @type {[string, any]} */ ([part, options]));
}

/** Waits until the list is this. @param {import("playwright-core").Page} page @param {readonly string[]} titles */
async function shows(page, titles, list = ".list") {
  const expected = JSON.stringify(titles);
  await page
    .waitForFunction(
      ([list, expected]) => JSON.stringify([...document.querySelectorAll(`${list} li`)].map(({ textContent }) => textContent)) === expected,
      [list, expected],
    )
    .catch(async (error) => {
      throw new Error(`${list} should be ${expected}, but is ${await page.locator(`${list} li`).allTextContents()}`, { cause: error });
    });
}

/** @param {import("playwright-core").Page} page @param {string} selector @param {string} text */
async function says(page, selector, text) {
  await page.locator(selector).filter({ hasText: new RegExp(`^${text}$`) }).waitFor();
}

/** @param {import("playwright-core").Page} page @param {...string} titles */
async function create(page, ...titles) {
  await page.evaluate((titles) => Promise.all(titles.map((title) => globalThis.hooks.todos.create({ title, completed: false }))), titles);
}

test("two browsers see each other's changes, in StrictMode", async (context) => {
  const { people: [a, b] } = await start(context, { count: 2 });
  for (const { page } of [a, b]) await show(page, "Page");
  for (const { page } of [a, b]) await page.locator('.list[data-status="live"]').waitFor();
  await create(a.page, "milk", "tea");
  await shows(b.page, ["milk", "tea"]);
  await b.page.evaluate(() => globalThis.hooks.todos.patch({ id: 1, title: "oat milk" }));
  await shows(a.page, ["oat milk", "tea"]);
  await a.page.evaluate(() => globalThis.hooks.todos.delete(2));
  await shows(b.page, ["oat milk"]);
  for (const { sent } of [a, b]) assert.equal(sent.filter(({ method }) => method === "subscribe").length, 1, "one subscription, mounted twice");
});

test("what is written shows at once, offline too, and as pending until it is confirmed", async (context) => {
  const { people: [a, b] } = await start(context, { count: 2 });
  for (const { page } of [a, b]) await show(page, "Page");
  for (const { page } of [a, b]) await says(page, ".status", "online");
  await shows(a.page, []);
  a.line.set("cut");
  await says(a.page, ".status", "offline");
  await a.page.locator('.list[data-status="stale"]').waitFor();
  const texts = await a.page.evaluate(async () => {
    const row = globalThis.hooks.todos.create({ title: "milk", completed: false }).row;
    globalThis.hooks.todos.patch({ id: row.id, title: "oat milk" });
    await new Promise((resolve) => setTimeout(resolve));
    return [...document.querySelectorAll(".pending, .pending-count")].map(({ textContent }) => textContent);
  });
  assert.deepEqual(texts, ["2", "oat milk"]);
  a.line.set("open");
  await shows(b.page, ["oat milk"]);
  await says(a.page, ".status", "online");
  await says(a.page, ".pending-count", "0");
  assert.equal(await a.page.locator(".pending").count(), 0, "the row is the same, but confirmed");
  await a.page.evaluate(() => globalThis.hooks.db.close());
  await says(a.page, ".status", "closed");
});

test("only what changed is rendered again", async (context) => {
  const { people: [{ page }] } = await start(context);
  await show(page, "Two", { isStrict: false });
  await page.locator('.open[data-status="live"]').waitFor();
  await create(page, "milk", "tea", "soap");
  await page.evaluate(() => globalThis.hooks.todos.patch({ id: 3, completed: true }));
  await shows(page, ["milk", "tea"], ".open");
  await shows(page, ["soap"], ".done");
  const rendered = () => page.evaluate(() => Object.fromEntries(Object.entries(globalThis.hooks.renders).splice(0)));
  const clear = () => page.evaluate(() => Object.keys(globalThis.hooks.renders).forEach((name) => delete globalThis.hooks.renders[name]));

  await clear();
  await page.evaluate(() => globalThis.hooks.todos.patch({ id: 1, title: "oat milk" }));
  await page.waitForFunction(() => globalThis.hooks.renders.open === 2);
  // It is shown, then it is confirmed: only that it is no more pending is another thing to show.
  assert.deepEqual(await rendered(), { open: 2, "oat milk": 2 });

  await clear();
  await page.locator(".open button").click();
  assert.deepEqual(await rendered(), { open: 1 }, "a render of another cause changes no row");
  const isSame = await page.evaluate(() => globalThis.hooks.snapshots.at(-1) === globalThis.hooks.snapshots.at(-2));
  assert.ok(isSame, "the query is made inline, but has the same snapshot");
});

test("a query with other options never has the rows of the one before it, and is there at once when it was a moment ago", async (context) => {
  const { people: [{ page, sent }] } = await start(context);
  await show(page, "Choice");
  await page.locator('.list[data-status="live"]').waitFor();
  await create(page, "milk", "tea");
  await page.evaluate(() => globalThis.hooks.todos.patch({ id: 2, completed: true }));
  await shows(page, ["milk"]);
  await page.evaluate(() => (globalThis.hooks.snapshots.length = 0));
  for (const titles of [["tea"], ["milk"], ["tea"]]) {
    await page.locator(".choose").click();
    await shows(page, titles);
  }
  const seen = await page.evaluate(() => globalThis.hooks.snapshots.map(({ rows, status }) => `${rows.map(({ title }) => title)} ${status}`));
  assert.deepEqual([...new Set(seen)], [" loading", "tea live", "milk live"]);
  await create(page, "soap");
  await page.locator(".choose").click();
  await shows(page, ["milk", "soap"]);
  assert.equal(sent.filter(({ method, where }) => method === "subscribe" && where).length, 2, "one for each that was asked for");
});

for (const part of ["Page", "Abandoned"]) {
  test(`nobody asks for the rows any more when ${part === "Page" ? "the component has gone" : "a component was never mounted"}`, async (context) => {
    const { people: [{ page, sent }] } = await start(context);
    await show(page, part);
    if (part === "Page") {
      await page.locator('.list[data-status="live"]').waitFor();
      for (let times = 0; times < 5; times += 1) await page.locator(".list button").click();
    } else await page.waitForFunction(() => globalThis.hooks.renders.abandoned > 0);
    assert.deepEqual(sent.filter(({ method }) => method === "unsubscribe"), []);
    if (part === "Page") await page.evaluate(() => globalThis.hooks.hide());
    await page.waitForTimeout(LINGER_MS);
    assert.deepEqual(sent.map(({ method }) => method).filter((method) => /subscribe/.test(method)), ["subscribe", "unsubscribe"]);
    if (part === "Abandoned") return;
    await create(page, "milk");
    await show(page, part);
    await shows(page, ["milk"]);
  });
}

test("a query that was made outside can be shown, closed, shown again", async (context) => {
  const { people: [{ page, sent }] } = await start(context);
  await page.evaluate(() => (globalThis.hooks.outside.query = globalThis.hooks.todos.query({ order: "-id" })));
  await show(page, "Given");
  await create(page, "milk", "tea");
  await says(page, ".given", "tea,milk");
  await page.evaluate(() => globalThis.hooks.outside.query.close());
  await create(page, "soap");
  await says(page, ".given", "soap,tea,milk");
  await page.evaluate(() => globalThis.hooks.hide());
  await page.waitForTimeout(LINGER_MS);
  assert.equal(sent.at(-1).method, "unsubscribe");
  await create(page, "bread");
  await show(page, "Given");
  await says(page, ".given", "bread,soap,tea,milk");
  const titles = page.evaluate(
    () => new Promise((resolve) => globalThis.hooks.outside.query.subscribe(({ rows }) => resolve(rows.map(({ title }) => title).join()))),
  );
  assert.equal(await titles, "bread,soap,tea,milk", "it is good for other listeners");
});

test("a page is never torn, though rows change while a transition is rendered", async (context) => {
  const { people: [{ page }] } = await start(context);
  await create(page, "0");
  await show(page, "Transitions", { isStrict: false });
  const rounds = await page.evaluate(async () => {
    const { hooks } = globalThis;
    const rounds = [];
    const until = async (count) => {
      while (hooks.shown.length < count) await new Promise((resolve) => setTimeout(resolve));
    };
    // The rows are here, whether or not a component shows them.
    const query = hooks.todos.query();
    await new Promise((resolve) => query.subscribe(resolve));
    await until(1);
    for (let round = 1; round <= 6; round += 1) {
      hooks.renders.slow = 0;
      hooks.toggle();
      while (hooks.renders.slow < 4) await new Promise((resolve) => setTimeout(resolve));
      const isUnderWay = hooks.shown.length === 2 * round - 1;
      hooks.todos.patch({ id: 1, title: String(round) });
      await until(2 * round);
      rounds.push({ isUnderWay, texts: hooks.shown.at(-1) });
      hooks.toggle();
      await until(2 * round + 1);
    }
    return rounds;
  });
  assert.deepEqual(rounds, [1, 2, 3, 4, 5, 6].map((round) => ({ isUnderWay: true, texts: [String(round)] })));
});

test("on a server nothing is loaded yet, and a browser takes its HTML over", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "react-"));
  context.after(() => rm(folder, { recursive: true }));
  const entry = 'export { db, server } from "./page.jsx"; export { renderToString } from "react-dom/server";';
  const text = await bundle({ stdin: { contents: entry, resolveDir: join(here, "react"), loader: "js" }, platform: "node", format: "cjs" });
  await writeFile(join(folder, "server.cjs"), text);
  Object.assign(globalThis, { WebSocket: class { close() {} }, location: new URL("http://example.test/") });
  const { db, server, renderToString } = await import(pathToFileURL(join(folder, "server.cjs")).href);
  const html = renderToString(server);
  db.close();
  assert.equal(html, '<p class="status">connecting</p><p class="pending-count">0</p><section class="list" data-status="loading"><button>render</button><ul></ul></section>');

  const { people: [{ page }] } = await start(context, { body: `<main>${html}</main><script src='/hooks.js'></script>` });
  await page.evaluate(() => globalThis.hooks.hydrate());
  await says(page, ".status", "online");
  await create(page, "milk");
  await shows(page, ["milk"]);
  assert.deepEqual(await page.evaluate(() => globalThis.hooks.mended), []);
});

test("without a bundler: the server's own file, and React by an import map", async (context) => {
  const react = `export { createElement, useCallback, useMemo, useSyncExternalStore } from "react"; export { createRoot } from "react-dom/client";`;
  const text = await bundle({ stdin: { contents: react, resolveDir: here }, format: "esm" });
  const body = `<main></main>
    <script type="importmap">{ "imports": { "react": "/vendor/react.js" } }</script>
    <script type="module">
      import { createElement, createRoot } from "/vendor/react.js";
      import { connect } from "/sync/client.js";
      import { useQuery } from "/sync/react.js";
      const todos = connect().model("Todo");
      const List = () => createElement("p", { className: "list" }, ...useQuery(todos.query()).rows.map(({ title }) => title));
      createRoot(document.querySelector("main")).render(createElement(List));
      globalThis.hooks = { todos };
    </script>`;
  const { people: [{ page }] } = await start(context, { body, scripts: { "/vendor/react.js": text } });
  await page.waitForFunction(() => globalThis.hooks);
  await create(page, "milk");
  await says(page, ".list", "milk");
});
