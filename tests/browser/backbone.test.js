/**
 * The Backbone classes in pages of one's own: as globals beside plain scripts, and as a module.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, packagesAreThere, TodoPage, TodoServer } from "./todo.js";

const VENDOR = ["underscore", "backbone"].map((name) => `<script src="/sync/vendor/${name}.js"></script>`).join("");

/** @type {import("playwright-core").Browser} */
let browser;
const server = new TodoServer();
before(async () => {
  browser = await launch();
  await server.start();
  await packagesAreThere(browser, server);
});
after(async () => {
  await browser?.close();
  await server.remove();
});

/**
 * A page with this text, where the server's pages are.
 * @param {import("node:test").TestContext} context
 * @param {string} body
 */
async function open(context, body) {
  const browsing = await browser.newContext();
  context.after(() => browsing.close());
  // A page whose answer is made here counts as one from elsewhere.
  await browsing.grantPermissions(["local-network-access"]);
  const page = await browsing.newPage();
  /** @type {string[]} */
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.route(`${server.url}own`, (route) => route.fulfill({ contentType: "text/html", body: `<!doctype html><title>own</title>${body}` }));
  await page.goto(`${server.url}own`);
  return { page, errors };
}

test("as globals beside plain scripts, in the lines of the documentation", async (context) => {
  const { page, errors } = await open(context, `${VENDOR}
    <script src="/sync/backbone.js"></script>
    <script>
      const Todo = syncedModel.extend({}, { modelname: "Todo" });
      const Todos = syncedCollection.extend({ model: Todo }, { modelname: "Todo" });
      const todos = new Todos();
      const seen = [];
      todos.on("change", (todo, options) => seen.push([todo.get("title"), options.remote]));
      todos.fetch();
      const saved = todos.create({ title: "milk" }).save();
    </script>`);
  assert.deepEqual(errors, []);
  const row = await page.evaluate("saved");
  assert.deepEqual(row, { id: row.id, title: "milk", completed: false });
  const other = await open(context, "");
  await other.page.evaluate(async (id) => {
    const { connect } = await import(String("/sync/client.js"));
    await connect().model("Todo").patch({ id, title: "oat milk" });
  }, row.id);
  await page.waitForFunction("seen.some(([title, isRemote]) => title === 'oat milk' && isRemote)");
  assert.deepEqual(await page.evaluate("todos.map(({ id }) => id)"), [row.id]);
});

test("as a module beside a global Backbone", async (context) => {
  const { page, errors } = await open(context, `${VENDOR}
    <script type="module">
      import { syncedModel, syncedCollection } from "/sync/backbone.mjs";
      const Todo = syncedModel.extend({}, { modelname: "Todo" });
      const todos = new (syncedCollection.extend({ model: Todo }, { modelname: "Todo" }))();
      window.globals = ["syncedModel", "syncedCollection"].filter((name) => name in window);
      window.saved = todos.create({ title: "tea" }).save().then((row) => row.title);
    </script>`);
  assert.equal(await page.evaluate("saved"), "tea");
  assert.deepEqual(await page.evaluate("globals"), []);
  assert.deepEqual(errors, []);
});

test("a module without a global Backbone makes the classes of one's own", async (context) => {
  const { page, errors } = await open(context, `
    <script type="module">
      import { synced, syncedModel } from "/sync/backbone.mjs";
      const script = (name) => new Promise((done) => document.head.append(Object.assign(document.createElement("script"), { src: "/sync/vendor/" + name + ".js", onload: done })));
      await script("underscore");
      await script("backbone");
      const own = synced(Backbone);
      const note = new (own.syncedModel.extend({}, { modelname: "Todo" }))({ title: "soap" });
      window.saved = note.save().then((row) => [syncedModel, row.title]);
    </script>`);
  await page.waitForFunction("window.saved");
  assert.deepEqual(await page.evaluate("saved"), [undefined, "soap"]);
  assert.deepEqual(errors, []);
});

test("without Backbone the script says what to load first", async (context) => {
  const { errors } = await open(context, '<script src="/sync/backbone.js"></script>');
  assert.match(errors.join(), /load underscore.js and backbone.js before it/);
});

test("a page that lacks the packages says how to get them, and begins when they are there", async (context) => {
  const browsing = await browser.newContext();
  context.after(() => browsing.close());
  const todos = new TodoPage(await browsing.newPage());
  const vendor = `${server.url}sync/vendor/*`;
  await todos.page.route(vendor, (route) => route.fulfill({ status: 404, contentType: "text/plain", body: "Run `npm install`" }));
  await todos.page.goto(`${server.url}backbone/`);
  await todos.page.locator(".empty", { hasText: /waits for Backbone and Underscore\..*Run `npm install`/s }).waitFor();
  await todos.page.unroute(vendor);
  await todos.online();
});
