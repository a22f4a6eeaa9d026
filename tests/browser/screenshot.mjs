// Two browsers side by side that show the same list, one on each page: `TODO_BIN=… node screenshot.mjs OUT.png [light|dark]`

import { launch, TodoPage, TodoServer } from "./todo.js";

const [out, scheme = "light"] = process.argv.slice(2);
if (!out) throw new Error("usage: node screenshot.mjs OUT.png [light|dark]");

const SIZE = { width: 560, height: 590 };
const server = new TodoServer();
const browser = await launch();
try {
  await server.start();
  const people = [];
  for (const path of ["/", "/backbone/"]) {
    const context = await browser.newContext({ viewport: SIZE, deviceScaleFactor: 2, colorScheme: scheme });
    const person = new TodoPage(await context.newPage());
    await person.open(new URL(path, server.url).href);
    people.push(person);
  }
  const [a, b] = people;
  const titles = ["Derive SyncedModel", "Write the rules", "cargo run", "Open a second browser", "Pull the plug, keep typing"];
  await a.add(...titles.slice(0, 3));
  await b.shows(titles.slice(0, 3));
  await b.add(...titles.slice(3));
  for (const title of titles.slice(0, 3)) await b.item(title).locator(".toggle").check();
  for (const person of people) {
    await person.shows(titles);
    await person.completed(titles.slice(0, 3));
    await person.saved();
    await person.page.mouse.move(0, 0);
  }
  await b.newTodo.fill("Tell a friend");
  await a.page.locator(".todo-list").click({ position: { x: 5, y: 5 } });
  await a.page.mouse.move(0, 0);
  await a.page.waitForTimeout(300);

  const shots = [];
  for (const { page } of people) shots.push((await page.screenshot()).toString("base64"));
  const ground = scheme === "dark" ? "#0a0d0c" : "#cfd6cd";
  const both = await browser.newPage({ viewport: { width: 2 * SIZE.width + 60, height: SIZE.height + 76 }, deviceScaleFactor: 2 });
  await both.setContent(`<style>
    body { display: flex; gap: 20px; margin: 20px; background: ${ground} }
    figure { margin: 0; width: ${SIZE.width}px; border-radius: 10px; overflow: hidden; box-shadow: 0 6px 24px #0004 }
    figcaption { padding: 8px 14px; background: ${scheme === "dark" ? "#2d3633" : "#fbfcf8"}; color: ${scheme === "dark" ? "#9aa7a1" : "#5f6b66"}; font: 13px/20px system-ui, "Liberation Sans", sans-serif }
    img { display: block; width: 100% }
  </style>${shots.map((shot, index) => `<figure><figcaption>127.0.0.1:3000${["/", "/backbone/"][index]}</figcaption><img src="data:image/png;base64,${shot}"></figure>`).join("")}`);
  await both.screenshot({ path: out });
} finally {
  await browser.close();
  await server.remove();
}
