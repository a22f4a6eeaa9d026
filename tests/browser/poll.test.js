/**
 * The React example in two browsers: what `npm run build` has made of it, and its server.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Proxy } from "./proxy.js";
import { launch, TodoServer } from "./todo.js";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  assert.ok(process.env.POLL_BIN, "POLL_BIN must name the server: cargo build -p react-poll makes target/debug/react-poll");
  browser = await launch();
});
after(() => browser?.close());

/** Who votes for what, as the page shows it. @param {import("playwright-core").Page} page */
function votes(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll(".dishes > li")]
      .map((li) => [...li.querySelectorAll(".dish, .voters > li, output")].map(({ textContent }) => textContent).join(" "))
      .join(", "),
  );
}

/** Waits until the page shows it. @param {import("playwright-core").Page} page @param {string} expected */
async function shows(page, expected) {
  const end = Date.now() + 15_000;
  while ((await votes(page)) !== expected && Date.now() < end) await page.waitForTimeout(50);
  assert.equal(await votes(page), expected);
}

test("two people vote, change their minds, and vote offline", async (context) => {
  const server = new TodoServer(process.env.POLL_BIN);
  const people = [];
  const errors = [];
  context.after(async () => {
    for (const { page, line } of people) {
      await page.context().close();
      await line.stop();
    }
    await server.remove();
    assert.deepEqual(errors, []);
  });
  await server.start();
  for (const name of ["Anna", "Bela"]) {
    const line = new Proxy(() => server.port);
    await line.start();
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(15_000);
    page.on("pageerror", (error) => errors.push(String(error)));
    people.push({ page, line });
    await page.goto(line.url);
    await page.locator('[data-status="online"]').waitFor();
    await page.getByLabel("Your name").fill(name);
  }
  const [a, b] = people;
  const vote = ({ page }, dish) => page.getByRole("button", { name: dish }).click();

  await vote(a, "Ramen");
  await shows(b.page, "Curry 0, Pizza 0, Ramen Anna 1, Salad 0");
  await vote(b, "Pizza");
  await shows(a.page, "Curry 0, Pizza Bela 1, Ramen Anna 1, Salad 0");
  await a.page.getByLabel("Your name").fill("Anne");
  await shows(b.page, "Curry 0, Pizza Bela 1, Ramen Anne 1, Salad 0");

  b.line.set("cut");
  await b.page.locator('[data-status="offline"]').waitFor();
  await vote(b, "Ramen");
  assert.match(await votes(b.page), /Pizza 0, Ramen .*Bela.* 2/, "at once");
  assert.equal(await b.page.locator(".pending").textContent(), "Bela");
  await b.page.getByText("Offline: your vote is sent later").waitFor();
  await vote(a, "Ramen");
  await shows(a.page, "Curry 0, Pizza Bela 1, Ramen 0, Salad 0");
  b.line.set("open");
  for (const { page } of people) await shows(page, "Curry 0, Pizza 0, Ramen Bela 1, Salad 0");
  await b.page.locator(".pending").waitFor({ state: "detached" });
});
