/**
 * The examples' pages carry a Content-Security-Policy of their own, under which what is written into a page is not run.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, TodoServer } from "./todo.js";

/** The pages, and what of each says that it works. */
const PAGES = [
  { binary: "TODO_BIN", path: "", works: '.status[data-status="online"]' },
  { binary: "TODO_BIN", path: "backbone/", works: ".new-todo" },
  { binary: "BOARD_BIN", path: "", works: '.status[data-status="online"]' },
  { binary: "CHAT_BIN", path: "", works: ".sign-in:not([hidden])" },
  { binary: "POLL_BIN", path: "", works: "main > *" },
];

/** What somebody would write into a page: each leaves its name in `ran`. */
const INJECTED = `
  <script>(globalThis.ran ??= []).push("script")</script>
  <img src="/nothing" onerror="(globalThis.ran ??= []).push('attribute')">
  <script src="data:text/javascript,(globalThis.ran ??= []).push('data')"></script>`;

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/**
 * Opens a page that has `INJECTED` in it. What ran, and what the policy has forbidden.
 * @param {string} url
 * @param {string} works
 * @param {boolean} hasPolicy else it is taken off
 */
async function inject(url, works, hasPolicy) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    // A page whose answer is made here counts as one from elsewhere.
    await context.grantPermissions(["local-network-access"]);
    await page.addInitScript(() => {
      globalThis.forbidden = [];
      addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => globalThis.forbidden.push(`${effectiveDirective} ${blockedURI}`));
    });
    let policy = "";
    await page.route(url, async (route) => {
      const response = await route.fetch();
      const { "content-security-policy": own = "", ...headers } = response.headers();
      policy = own;
      if (hasPolicy) headers["content-security-policy"] = own;
      const body = await response.text();
      assert.match(body, /<\/body>/);
      await route.fulfill({ response, headers, body: body.replace("</body>", `${INJECTED}</body>`) });
    });
    await page.goto(url);
    await page.locator(works).first().waitFor();
    // As a page does that puts text into itself as HTML, and by the prototype of all injections.
    await page.evaluate(async () => {
      const script = document.createElement("script");
      script.textContent = "(globalThis.ran ??= []).push('appended')";
      document.body.append(script);
      const image = document.createElement("img");
      const failed = new Promise((resolve) => image.addEventListener("error", resolve));
      image.src = "/nothing";
      // By then the error of the one in the page, asked for before, has been told too, and its attribute has run if it may.
      await failed;
      await new Promise((resolve) => setTimeout(resolve));
    });
    await page.waitForFunction(() => [...document.images].every(({ complete }) => complete));
    const { ran, forbidden } = await page.evaluate(() => ({ ran: globalThis.ran ?? [], forbidden: globalThis.forbidden }));
    return { policy, ran: ran.sort(), forbidden: forbidden.sort() };
  } finally {
    await context.close();
  }
}

for (const { binary, path, works } of PAGES) {
  test(`what is injected into a page is not run (${binary}, /${path})`, async (context) => {
    assert.ok(process.env[binary], `${binary} must name the server`);
    const server = new TodoServer(process.env[binary]);
    context.after(() => server.remove());
    await server.start();
    const url = new URL(path, server.url).href;

    const { policy, ran, forbidden } = await inject(url, works, true);
    assert.doesNotMatch(policy, /unsafe|\*|data:|blob:|https?:|wss?:/);
    for (const part of ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]) {
      assert.ok(policy.split("; ").includes(part), `${part}: ${policy}`);
    }
    assert.deepEqual(ran, []);
    // The page itself asks for nothing that its policy forbids.
    assert.deepEqual(forbidden, ["script-src-attr inline", "script-src-elem data", "script-src-elem inline", "script-src-elem inline"]);

    // The same without the policy: it is what stops them.
    const bare = await inject(url, works, false);
    assert.deepEqual(bare.ran, ["appended", "attribute", "data", "script"]);
    assert.deepEqual(bare.forbidden, []);
  });
}
