import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, PAIRS, TodoPage, TodoServer } from "./todo.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** @typedef {{context: import("node:test").TestContext, paths: readonly string[]}} Scene */

/**
 * The same on both pages.
 * @param {string} name
 * @param {(scene: Scene) => Promise<void>} body
 * @param {readonly (readonly string[])[]} choices of pages
 */
function each(name, body, choices = [["/"], ["/backbone/"]]) {
  for (const paths of choices) test(`${name} (${paths.join(" and ")})`, (context) => body({ context, paths }));
}

/**
 * The same for each pair of pages.
 * @param {string} name
 * @param {(scene: Scene) => Promise<void>} body
 */
function eachPair(name, body) {
  each(name, body, PAIRS);
}

/** A server of its own for the test, and so many browsers that look at it. */
async function start({ context, paths }, count = 1) {
  const server = new TodoServer();
  const pages = [];
  context.after(async () => {
    for (const { page } of pages) await page.context().close();
    await server.remove();
  });
  await server.start();
  for (let index = 0; index < count; index += 1) {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(15_000);
    pages.push(new TodoPage(page));
  }
  const [url, other = url] = paths.map((path) => new URL(path, server.url).href);
  for (const [index, page] of pages.entries()) await page.open(index % 2 === 0 ? url : other);
  context.after(() => assert.deepEqual(pages.flatMap(({ errors }) => errors), []));
  return { server, url, pages };
}

each("without todos there is only the input, and it has the focus", async (scene) => {
  const { pages: [a] } = await start(scene);
  assert.equal(await a.newTodo.evaluate((input) => input === document.activeElement), true);
  assert.equal(await a.page.locator(".main").isVisible(), false);
  assert.equal(await a.page.locator(".footer").isVisible(), false);
  await a.add("milk");
  await a.shows(["milk"]);
  assert.equal(await a.page.locator(".main").isVisible(), true);
  assert.equal(await a.page.locator(".footer").isVisible(), true);
  await a.item("milk").hover();
  await a.item("milk").locator(".destroy").click();
  await a.shows([]);
  assert.equal(await a.page.locator(".main").isVisible(), false);
  assert.equal(await a.page.locator(".footer").isVisible(), false);
});

each("new todos are trimmed, go last, and clear the input; blank ones are not made", async (scene) => {
  const { pages: [a] } = await start(scene);
  await a.newTodo.fill("  milk \t");
  await a.newTodo.press("Enter");
  assert.equal(await a.newTodo.inputValue(), "");
  await a.newTodo.fill("   ");
  await a.newTodo.press("Enter");
  await a.add("tea");
  await a.shows(["milk", "tea"]);
});

each("the counter and its grammar", async (scene) => {
  const { pages: [a] } = await start(scene);
  const count = (text) => a.page.waitForFunction((text) => document.querySelector(".todo-count")?.textContent === text, text);
  await a.add("milk");
  await count("1 item left");
  assert.equal(await a.page.locator(".todo-count strong").textContent(), "1");
  await a.add("tea");
  await count("2 items left");
  await a.page.locator(".toggle-all").check();
  await count("0 items left");
});

each("editing: double click, Enter, Escape, blur, an empty title", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await a.add("milk", "tea", "soap");
  await a.shows(["milk", "tea", "soap"]);

  let edit = await a.startEditing("milk");
  assert.equal(await edit.evaluate((input) => input === document.activeElement), true);
  assert.equal(await edit.inputValue(), "milk");
  assert.equal(await a.items.first().locator(".view").isVisible(), false);
  await edit.fill("  oat milk ");
  await edit.press("Enter");
  await a.shows(["oat milk", "tea", "soap"]);
  assert.equal(await a.page.locator(".editing").count(), 0);
  await b.shows(["oat milk", "tea", "soap"]);

  edit = await a.startEditing("tea");
  await edit.fill("coffee");
  await edit.press("Escape");
  assert.equal(await a.page.locator(".editing").count(), 0);
  await a.shows(["oat milk", "tea", "soap"]);

  edit = await a.startEditing("tea");
  await edit.fill("green tea");
  await a.newTodo.focus();
  await b.shows(["oat milk", "green tea", "soap"]);

  edit = await a.startEditing("soap");
  await edit.fill("   ");
  await edit.press("Enter");
  await a.shows(["oat milk", "green tea"]);
  await b.shows(["oat milk", "green tea"]);

  await a.item("green tea").locator(".rename").focus();
  await a.page.keyboard.press("Enter");
  await a.page.keyboard.type("!");
  await a.page.keyboard.press("Enter");
  await b.shows(["oat milk", "green tea!"]);
});

each("toggle, toggle all in step with the items, clear completed", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await a.add("milk", "tea", "soap");
  await b.shows(["milk", "tea", "soap"]);
  const [all, clear] = [a.page.locator(".toggle-all"), a.page.locator(".clear-completed")];
  assert.equal(await clear.isVisible(), false);

  await a.item("tea").locator(".toggle").check();
  await a.completed(["tea"]);
  await b.completed(["tea"]);
  assert.equal(await all.isChecked(), false);
  assert.equal(await clear.isVisible(), true);

  await b.item("milk").locator(".toggle").check();
  await b.item("soap").locator(".toggle").check();
  await a.completed(["milk", "tea", "soap"]);
  assert.equal(await all.isChecked(), true);

  await b.item("soap").locator(".toggle").uncheck();
  await a.completed(["milk", "tea"]);
  assert.equal(await all.isChecked(), false);

  await clear.click();
  await a.shows(["soap"]);
  await b.shows(["soap"]);
  assert.equal(await clear.isVisible(), false);

  await all.check();
  await b.completed(["soap"]);
  await all.uncheck();
  await b.completed([]);

  await all.check();
  await clear.click();
  await b.shows([]);
  await a.add("bread");
  await a.shows(["bread"]);
  assert.equal(await all.isChecked(), false, "cleared with what it stood for");
});

each("filters: what they show, what is selected, and that a reload keeps them", async (scene) => {
  const { url, pages: [a] } = await start(scene);
  const selected = () => a.page.locator(".filters .selected").allTextContents();
  await a.add("milk", "tea");
  await a.item("tea").locator(".toggle").check();
  await a.completed(["tea"]);
  assert.deepEqual(await selected(), ["All"]);

  await a.page.locator(".filters a", { hasText: "Active" }).click();
  await a.shows(["milk"]);
  assert.deepEqual(await selected(), ["Active"]);
  assert.equal(a.page.url(), `${url}#/active`);
  await a.saved();
  await a.page.reload();
  await a.shows(["milk"]);
  assert.deepEqual(await selected(), ["Active"]);

  await a.item("milk").locator(".toggle").click(); // no check(): it is gone with that
  await a.shows([]);
  assert.equal(await a.page.locator(".main").isVisible(), true, "there are todos, though none of these");

  await a.page.locator(".filters a", { hasText: "Completed" }).click();
  await a.shows(["milk", "tea"]);
  assert.deepEqual(await selected(), ["Completed"]);
  await a.page.goBack();
  await a.shows([]);
  await a.page.goto(`${url}#/`);
  await a.shows(["milk", "tea"]);
});

eachPair("what one does the other sees; the time that takes", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await a.page.evaluate(() => {
    addEventListener("keydown", ({ key }) => {
      if (key === "Enter") Object.assign(window, { entered: performance.timeOrigin + performance.now() });
    }, true);
  });
  await b.page.evaluate(() => {
    new MutationObserver(() => {
      Object.assign(window, { appeared: performance.timeOrigin + performance.now() });
    }).observe(document.querySelector(".todo-list") ?? document, { childList: true });
  });
  const times = [];
  const titles = [];
  for (let round = 0; round < 25; round += 1) {
    titles.push(`todo ${round}`);
    await a.add(`todo ${round}`);
    await b.shows(titles);
    const [entered, appeared] = [await a.page.evaluate("entered"), await b.page.evaluate("appeared")];
    times.push(Number(appeared) - Number(entered));
  }
  times.sort((x, y) => x - y);
  const at = (share) => times[Math.floor(share * (times.length - 1))].toFixed(1);
  scene.context.diagnostic(`Enter in one browser to visible in the other: median ${at(0.5)} ms, fastest ${at(0)} ms, slowest ${at(1)} ms`);
});

eachPair("the order is the same everywhere, and after a reload", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await Promise.all([a.add("a1", "a2", "a3", "a4", "a5"), b.add("b1", "b2", "b3", "b4", "b5")]);
  for (const { items } of [a, b]) await items.nth(9).waitFor();
  await a.item("a2").locator(".toggle").check();
  const edit = await b.startEditing("b2");
  await edit.fill("B2");
  await edit.press("Enter");
  await a.item("B2").waitFor();
  await b.completed(["a2"]);
  await Promise.all([a.saved(), b.saved()]);
  const order = await a.labels.allTextContents();
  assert.equal(order.length, 10);
  assert.deepEqual(order.filter((title) => title.startsWith("a")), ["a1", "a2", "a3", "a4", "a5"]);
  await b.shows(order);
  for (const page of [a, b]) {
    await page.page.reload();
    await page.shows(order);
  }
});

eachPair("titles are text: markup, emoji, right to left", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  const titles = [
    "<img src=x onerror=\"document.title = 'run'\"><b>bold</b> &amp; <script>document.title = 'run'</script>",
    "👩‍👩‍👧‍👦 🏳️‍🌈 ünïcödé ﷽",
    "שלום עולם",
    "__proto__",
    "a very long title ".repeat(10).trim(),
  ];
  await a.add(...titles);
  await b.shows(titles);
  await a.page.reload();
  await a.shows(titles);
  assert.equal(await b.page.locator(".todo-list :is(img, b, script)").count(), 0);
  assert.match(await b.page.title(), /^todos/);
  assert.equal(await b.labels.nth(2).evaluate((label) => getComputedStyle(label).direction), "rtl");
  const overflow = await b.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, "nothing sticks out");
  const edit = await b.startEditing("<img");
  assert.equal(await edit.inputValue(), titles[0]);
});

eachPair("a half-typed edit is not disturbed by what others do", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await a.add("first", "mine", "last");
  await b.shows(["first", "mine", "last"]);
  const edit = await a.startEditing("mine");
  await edit.fill("mine, half typed");
  await edit.evaluate((input) => input.setSelectionRange(2, 6));
  const state = () => edit.evaluate((input) => [input.value, input.selectionStart, input.selectionEnd, input === document.activeElement]);
  const before = await state();

  await b.item("mine").locator(".toggle").check();
  await b.item("first").hover();
  await b.item("first").locator(".destroy").click();
  await b.add("new");
  const other = await b.startEditing("mine");
  await other.fill("theirs");
  await other.press("Enter");
  await b.shows(["theirs", "last", "new"]);
  await a.shows(["theirs", "last", "new"]);
  assert.deepEqual(await state(), before);

  await a.page.evaluate(() => (location.hash = "#/active"));
  await a.shows(["theirs", "last", "new"]);
  assert.deepEqual(await state(), before, "completed by the other, yet it stays while it is edited");

  await edit.press("Escape");
  await a.shows(["last", "new"]);
  await a.page.evaluate(() => (location.hash = "#/"));
  const again = await a.startEditing("theirs");
  await again.fill("mine after all");
  await again.press("Enter");
  await b.shows(["mine after all", "last", "new"]);
});

eachPair("who is editing what another deletes gets the text back", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await a.add("mine", "other");
  const edit = await a.startEditing("mine");
  await edit.fill("mine, and long thought about");
  await b.item("mine").hover();
  await b.item("mine").locator(".destroy").click();
  await a.shows(["other"]);
  assert.match((await a.problems.textContent()) ?? "", /deleted.*mine, and long thought about/s);
  await a.newTodo.fill("just begun");
  await a.problems.locator(".put-back").click();
  assert.equal(await a.newTodo.inputValue(), "mine, and long thought about");
  assert.match((await a.problems.textContent()) ?? "", /just begun/, "what was there is offered in turn");
});

const TOO_LONG = "much too long ".repeat(1000).trim();

each("a todo that is refused: the message, and what was typed", async (scene) => {
  const { pages: [a] } = await start(scene);
  await a.add(TOO_LONG);
  await a.problems.first().waitFor();
  assert.match((await a.problems.textContent()) ?? "", /Not added\..*title/);
  assert.equal(await a.newTodo.inputValue(), TOO_LONG);
  await a.add("short");
  await a.shows(["short"]);
  assert.equal(await a.problems.count(), 0, "and the message goes with it");

  // Typed on in the meantime: neither is lost.
  await a.page.evaluate((title) => {
    const input = /** @type {HTMLInputElement} */ (document.querySelector(".new-todo"));
    input.value = title;
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
    input.value = "typed on";
  }, TOO_LONG);
  await a.problems.first().waitFor();
  assert.equal(await a.newTodo.inputValue(), "typed on");
  assert.equal(await a.problems.locator("q").textContent(), TOO_LONG);
  await a.problems.locator(".put-back").click();
  assert.equal(await a.newTodo.inputValue(), TOO_LONG);
  assert.equal(await a.problems.locator("q").textContent(), "typed on");
});

each("an edit that is refused: the old title, the message, and what was typed", async (scene) => {
  const { pages: [a, b] } = await start(scene, 2);
  await a.add("milk");
  const edit = await a.startEditing("milk");
  await edit.fill(TOO_LONG);
  await edit.press("Enter");
  await a.problems.first().waitFor();
  await a.shows(["milk"]);
  await a.problems.locator(".put-back").click();
  assert.equal(await edit.inputValue(), TOO_LONG);
  await edit.fill("oat milk");
  await edit.press("Enter");
  await b.shows(["oat milk"]);
});

each("the server dies: it is said, nothing is lost, and all of it is done once", async (scene) => {
  const { server, pages: [a, b] } = await start(scene, 2);
  await a.add("milk", "tea", "soap");
  await b.shows(["milk", "tea", "soap"]);
  await server.stop("SIGKILL");
  for (const { page } of [a, b]) await page.locator('.status[data-status="offline"]').waitFor();
  assert.match((await a.status.textContent()) ?? "", /Offline/);

  await a.add("from a 1", "from a 2");
  await b.add("from b");
  await a.item("milk").locator(".toggle").check();
  await a.item("tea").hover();
  await a.item("tea").locator(".destroy").click();
  const edit = await b.startEditing("soap");
  await edit.fill("green soap");
  await edit.press("Enter");
  await a.page.locator(".unsaved").waitFor();
  assert.match((await a.page.locator(".unsaved").textContent()) ?? "", /4 changes/);
  assert.match((await a.status.textContent()) ?? "", /4 changes/);

  await server.start();
  for (const page of [a, b]) {
    await page.online();
    await page.saved();
  }
  await a.items.nth(4).waitFor();
  const titles = await a.labels.allTextContents();
  assert.deepEqual(titles.slice(0, 2), ["milk", "green soap"]);
  assert.deepEqual(titles.slice(2).sort(), ["from a 1", "from a 2", "from b"]);
  await b.shows(titles);
  await b.completed(["milk"]);
  await b.page.reload();
  await b.shows(titles);
  assert.equal(await a.problems.count(), 0);
});

each("the server is killed under writes: each is done once", async (scene) => {
  const { server, pages: [a, b] } = await start(scene, 2);
  const titles = Array.from({ length: 40 }, (_, index) => `todo ${String(index).padStart(2, "0")}`);
  const writing = a.add(...titles);
  for (const seen of [5, 15, 25]) {
    await a.items.nth(seen).waitFor();
    await server.stop("SIGKILL");
    await server.start();
  }
  await writing;
  await a.saved();
  await a.shows(titles);
  await b.shows(titles);
});

each("the server is stopped and started again: the page comes back by itself", async (scene) => {
  const { server, pages: [a] } = await start(scene);
  await a.add("milk");
  await a.shows(["milk"]);
  await server.stop("SIGTERM");
  await a.page.locator('.status[data-status="offline"]').waitFor();
  await server.start();
  await a.online();
  await a.add("tea");
  await a.shows(["milk", "tea"]);
});

each("leaving the page with changes that are not saved: they are kept, or else it asks first", async (scene) => {
  for (const isKept of [true, false]) {
    const { server, pages: [a] } = await start(scene);
    if (!isKept) {
      await a.page.addInitScript(() => Object.defineProperty(window, "indexedDB", { value: undefined }));
      await a.page.reload();
      await a.online();
    }
    const asked = [];
    a.page.on("dialog", (dialog) => {
      asked.push(dialog.type());
      dialog.accept();
    });
    await a.add("milk");
    await a.shows(["milk"]);
    await a.saved();
    await a.page.reload();
    await a.shows(["milk"]);
    assert.deepEqual(asked, []);
    await server.stop("SIGKILL");
    await a.add("tea");
    const closed = a.page.waitForEvent("close");
    await a.page.close({ runBeforeUnload: true });
    await closed;
    assert.deepEqual(asked, isKept ? [] : ["beforeunload"]);
  }
});

each("it works under a strict Content-Security-Policy", async (scene) => {
  const { url, pages: [a] } = await start(scene);
  const violations = [];
  a.page.on("console", (message) => {
    if (/Content.Security.Policy/i.test(message.text())) violations.push(message.text());
  });
  // A page whose answer is made here counts as one from elsewhere.
  await a.page.context().grantPermissions(["local-network-access"]);
  await a.page.route(`${url}?strict`, async (route) => {
    const response = await route.fetch();
    const headers = { ...response.headers(), "content-security-policy": "default-src 'self'; connect-src 'self' ws: wss:" };
    await route.fulfill({ response, headers });
  });
  await a.page.goto(`${url}?strict`);
  await a.online();
  await a.add("milk");
  await a.shows(["milk"]);
  const edit = await a.startEditing("milk");
  await edit.press("Escape");
  const strict = await a.page.evaluate(async () => {
    const style = document.createElement("style");
    style.textContent = "body { --inline: yes }";
    document.head.append(style);
    return getComputedStyle(document.body).getPropertyValue("--inline") === "";
  });
  assert.equal(strict, true, "the policy holds");
  assert.equal(violations.length, 1, `only the one that this test made: ${violations}`);
});

each("the keyboard is enough, and the focus is never lost", async (scene) => {
  const { pages: [a] } = await start(scene);
  await a.add("milk", "tea", "soap");
  await a.shows(["milk", "tea", "soap"]);
  const focused = () => a.page.evaluate(() => [document.activeElement?.className, document.activeElement?.getAttribute("aria-label")]);
  await a.newTodo.focus();
  await a.page.keyboard.press("Tab"); // all
  await a.page.keyboard.press("Tab");
  assert.deepEqual(await focused(), ["toggle", "milk"]);
  await a.page.keyboard.press("Space");
  await a.completed(["milk"]);
  await a.page.keyboard.press("Tab");
  assert.deepEqual(await focused(), ["rename", "Edit milk"]);
  await a.page.keyboard.press("Tab");
  assert.deepEqual(await focused(), ["destroy", "Delete milk"]);
  await a.page.keyboard.press("Enter");
  await a.shows(["tea", "soap"]);
  assert.deepEqual(await focused(), ["toggle", "tea"]);
});
