/**
 * What people see and what becomes of what they did, over lines that fail, and when their tabs and the server do.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { stage } from "./stage.js";
import { launch, packagesAreThere, PAIRS, TodoServer } from "./todo.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
  const server = new TodoServer();
  await server.start();
  await packagesAreThere(browser, server);
  await server.remove();
});
after(() => browser?.close());

/**
 * The same for each pair of pages.
 * @param {string} name
 * @param {(stage: Awaited<ReturnType<typeof stage>>) => Promise<void>} body
 */
function each(name, body) {
  for (const pair of PAIRS) test(`${name} (${pair.join(" and ")})`, async (context) => body(await stage(context, browser, pair)));
}

/** @param {string} word @param {number} count */
function numbered(word, count) {
  return Array.from({ length: count }, (_, index) => `${word} ${String(index).padStart(3, "0")}`);
}

/** Waits until the page has kept so many writes for later. @param {import("./todo.js").TodoPage} todos @param {number} count */
async function kept({ page }, count) {
  await page.waitForFunction(async (count) => {
    const [{ name }] = await indexedDB.databases();
    const open = indexedDB.open(String(name));
    await new Promise((resolve) => (open.onsuccess = resolve));
    const request = open.result.transaction("mutations").objectStore("mutations").count();
    await new Promise((resolve) => (request.onsuccess = resolve));
    open.result.close();
    return request.result === count;
  }, count);
}

each("offline on both sides of a cut line: each sees their own, and in the end the same", async ({ people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add("milk", "tea", "soap", "bread", "salt");
  await b.shows(["milk", "tea", "soap", "bread", "salt"]);
  for (const { line } of [anna, bela]) line.set("cut");
  for (const page of [a, b]) await page.page.locator('.status[data-status="offline"]').waitFor();

  await a.rename("milk", "oat milk");
  await a.toggle("tea");
  await a.rename("soap", "soap of a");
  await a.remove("bread");
  await a.add("from a");
  await b.toggle("milk");
  await b.remove("tea");
  await b.rename("soap", "soap of b");
  await b.rename("bread", "rye bread");
  await b.add("from b");
  await a.shows(["oat milk", "tea", "soap of a", "salt", "from a"]);
  await a.completed(["tea"]);
  await b.shows(["milk", "soap of b", "rye bread", "salt", "from b"]);
  await b.completed(["milk"]);

  await anna.back();
  await a.saved();
  await a.shows(["oat milk", "tea", "soap of a", "salt", "from a"]);
  await b.shows(["milk", "soap of b", "rye bread", "salt", "from b"]);
  await bela.back();
  await b.saved();
  // Different fields of one row: both. The same field: the last that reached the server. What is deleted stays so.
  for (const page of [a, b]) {
    await page.shows(["oat milk", "soap of b", "salt", "from a", "from b"]);
    await page.completed(["oat milk"]);
  }
  assert.equal(await a.problems.count(), 0);
  assert.match((await b.problems.textContent()) ?? "", /Not changed\..*deleted.*rye bread/);
});

each("a line that stalls and goes on: shown at once, and done once", async ({ people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add("milk");
  await b.shows(["milk"]);
  anna.line.set("stalled");
  await a.add("tea", "soap");
  await a.toggle("milk");
  await a.rename("tea", "green tea");
  await a.shows(["milk", "green tea", "soap"]);
  await a.completed(["milk"]);
  await a.page.locator(".unsaved", { hasText: "4 changes" }).waitFor();
  await b.add("from b");
  await b.saved(); // first on the server, so the first in the list
  anna.line.set("open");
  await a.saved();
  for (const page of [a, b]) {
    await page.shows(["milk", "from b", "green tea", "soap"]);
    await page.completed(["milk"]);
  }
});

each("a line that is silent for good is given up within 40 seconds", async ({ people: [anna, bela] }) => {
  const a = await anna.page();
  await a.page.clock.install();
  await a.open(anna.url);
  const b = await bela.open();
  await a.add("milk");
  await a.saved();
  anna.line.set("stalled");
  await a.add("tea");
  await b.add("soap");
  await b.saved();
  await a.page.clock.fastForward(40_000);
  await a.page.locator('.status[data-status="offline"]').waitFor();
  await a.shows(["milk", "tea"]);
  anna.line.set("open");
  await a.page.clock.fastForward(10_000);
  await a.saved();
  for (const page of [a, b]) await page.shows(["milk", "soap", "tea"]);
  assert.ok(anna.line.opened > 1, "the silent one was given up: it goes on again, but nobody is there");
});

each("a line that closes in one direction", async ({ people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add("milk");
  await b.shows(["milk"]);
  anna.line.set("deaf");
  await a.add("tea"); // arrives; the page does not hear of it
  await b.shows(["milk", "tea"]);
  anna.line.halfClose();
  await a.add("soap");
  await anna.back();
  await a.saved();
  for (const page of [a, b]) await page.shows(["milk", "tea", "soap"]);
});

each("the store is lost and restored: what was sent without an answer since the copy is not done twice, what never was is done", async ({ server, people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add("milk");
  await b.shows(["milk"]);
  await a.saved();
  await server.backup();
  await b.add("lost");
  await a.shows(["milk", "lost"]);
  anna.line.set("deaf");
  await a.add("tea"); // arrives, after the copy; the page does not hear of it
  await b.shows(["milk", "lost", "tea"]);
  anna.line.set("cut");
  await a.page.locator('.status[data-status="offline"]').waitFor();
  await a.add("soap"); // is never sent
  await server.stop("SIGKILL");
  await server.restore();
  await server.start();
  for (const person of [anna, bela]) await person.back();
  for (const page of [a, b]) await page.shows(["milk", "soap"]);
  await a.saved();
  assert.match(await a.problems.innerText(), /whether this was saved/);
  assert.equal(await b.problems.count(), 0);
  // Ids are given again, to other rows.
  await b.add("lost again");
  for (const page of [a, b]) await page.shows(["milk", "soap", "lost again"]);
});

each("the server is killed and started again while both write", async ({ server, people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  const [ours, theirs] = [numbered("a", 40), numbered("b", 40)];
  const writing = Promise.all([a.add(...ours), b.add(...theirs)]);
  for (const seen of [10, 30, 50]) {
    await a.items.nth(seen).waitFor();
    await server.stop("SIGKILL");
    await server.start();
    for (const person of [anna, bela]) await person.back();
  }
  await writing;
  for (const page of [a, b]) {
    await page.saved();
    // The other's last row may come after one's own are saved.
    await page.items.nth(ours.length + theirs.length - 1).waitFor();
  }
  const titles = await a.labels.allTextContents();
  assert.deepEqual(titles.filter((title) => title.startsWith("a")), ours);
  assert.deepEqual(titles.filter((title) => title.startsWith("b")), theirs);
  await b.shows(titles);
});

for (const line of /** @type {const} */ (["stalled", "deaf", "cut"])) {
  each(`a tab crashes with a full queue behind a line that is ${line}`, async ({ people: [anna, bela] }) => {
    const [a, b] = [await anna.open(), await bela.open()];
    await a.add("milk");
    await a.saved();
    const titles = numbered("todo", 80);
    anna.line.set(line);
    await a.add(...titles);
    await a.rename("todo 000", "first");
    await a.shows(["milk", "first", ...titles.slice(1)]);
    await kept(a, 81);
    await anna.crash(a);

    // Without a line the next page shows it all, from what was kept.
    anna.line.set("cut");
    const again = await anna.page();
    await again.page.goto(anna.url);
    await again.shows(["milk", "first", ...titles.slice(1)]);
    await again.page.locator(".unsaved", { hasText: "81 changes" }).waitFor();
    await anna.back();
    await again.saved();
    for (const page of [again, b]) await page.shows(["milk", "first", ...titles.slice(1)]);
    assert.equal(await again.problems.count(), 0);
  });
}

each("reloaded without a line, the page shows its last rows and what is not saved", async ({ people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add("milk", "tea");
  await b.toggle("tea");
  await a.completed(["tea"]);
  await a.saved();
  anna.line.set("cut");
  await a.add("soap");
  await a.rename("milk", "oat milk");
  await kept(a, 2);
  await a.page.reload();
  await a.shows(["oat milk", "tea", "soap"]);
  await a.completed(["tea"]);
  await b.remove("tea");
  await anna.back();
  await a.saved();
  for (const page of [a, b]) await page.shows(["oat milk", "soap"]);
});

each("a tab is closed while offline: another one of that browser sends what it left", async ({ people: [anna, bela] }) => {
  const [one, two, b] = [await anna.open(), await anna.open(), await bela.open()];
  await one.add("milk");
  await two.shows(["milk"]);
  anna.line.set("cut");
  await one.add("from one");
  await one.rename("milk", "oat milk");
  await two.add("from two");
  await one.shows(["oat milk", "from one"]);
  await two.shows(["milk", "from two"]);
  await kept(one, 3);
  await one.page.close();
  await anna.back();
  await two.saved();
  await two.items.nth(2).waitFor();
  await b.items.nth(2).waitFor();
  const titles = await b.labels.allTextContents();
  assert.deepEqual([...titles].sort(), ["from one", "from two", "oat milk"]);
  await two.shows(titles);
});

each("concurrent edits of one row: different fields both hold, of the same one the last", async ({ people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add("milk");
  await b.shows(["milk"]);
  for (let round = 0; round < 5; round += 1) {
    await Promise.all([a.rename(/./, `round ${round}`), b.toggle(/./)]);
    for (const page of [a, b]) {
      await page.shows([`round ${round}`]);
      await page.completed(round % 2 === 0 ? [`round ${round}`] : []);
    }
  }
  for (let round = 0; round < 5; round += 1) {
    await Promise.all([a.rename(/./, `a ${round}`), b.rename(/./, `b ${round}`)]);
    for (const page of [a, b]) await page.saved();
    // One of them shows the last one by now.
    const titles = [];
    while (titles[0] === undefined || titles[0] !== titles[1]) {
      for (const [index, page] of [a, b].entries()) titles[index] = await page.labels.textContent();
    }
    assert.ok([`a ${round}`, `b ${round}`].includes(titles[0]), titles[0]);
  }
});

each("titles of any kind", async ({ people: [anna, bela] }) => {
  const titles = ["<img src=x onerror=alert(1)>", "🧑‍👩‍👧‍👦 🏳️‍🌈", "שלום, עולם!", "مرحبا", "e\u0301 \u200b|", "x".repeat(10_000)];
  const [a, b] = [await anna.open(), await bela.open()];
  await a.add(...titles);
  for (const page of [a, b]) await page.shows(titles);
  await b.rename(titles[0], "<b>bold</b>");
  for (const page of [a, b]) await page.shows(["<b>bold</b>", ...titles.slice(1)]);
});

each("500 rows toggled at once", async ({ people: [anna, bela] }) => {
  const [a, b] = [await anna.open(), await bela.open()];
  await a.page.evaluate(async (titles) => {
    const { connect } = await import(String("/sync/client.js"));
    const db = connect();
    await Promise.all(titles.map((title) => db.model("Todo").create({ title, completed: false })));
    db.close();
  }, numbered("todo", 500));
  for (const page of [a, b]) await page.items.nth(499).waitFor();
  await a.page.locator(".toggle-all").click();
  await a.page.locator(".todo-count", { hasText: /^0 / }).waitFor();
  await a.saved();
  await b.page.locator(".todo-count", { hasText: /^0 / }).waitFor();
  await b.completed(numbered("todo", 500));
  await b.page.locator(".clear-completed").click();
  await a.shows([]);
});

for (const paths of new Set(PAIRS.map(([one, two]) => JSON.stringify([one, two, one, two, one])))) {
  test(`five at once ${paths}`, async (context) => {
    const { people } = await stage(context, browser, JSON.parse(paths));
    const pages = await Promise.all(people.map((person) => person.open()));
    await Promise.all(pages.map((page, index) => page.add(...numbered(`of ${index}`, 5))));
    for (const page of pages) await page.saved();
    await pages[0].items.nth(24).waitFor();
    const titles = await pages[0].labels.allTextContents();
    assert.deepEqual([...titles].sort(), pages.flatMap((_, index) => numbered(`of ${index}`, 5)));
    await Promise.all(pages.map((page, index) => page.toggle(`of ${index} 000`)));
    await Promise.all(pages.map((page, index) => page.remove(`of ${index} 001`)));
    const left = titles.filter((title) => !title.endsWith("001"));
    for (const page of pages) {
      await page.shows(left);
      await page.completed(left.filter((title) => title.endsWith("000")));
    }
  });
}
