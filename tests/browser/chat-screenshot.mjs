// Two people in the same room of the chat, side by side: `CHAT_BIN=… node chat-screenshot.mjs OUT.png`

import { launch, TodoServer } from "./todo.js";

const [out] = process.argv.slice(2);
if (!out) throw new Error("usage: node chat-screenshot.mjs OUT.png");

const SIZE = { width: 820, height: 460 };
const server = new TodoServer(process.env.CHAT_BIN);
const browser = await launch();
try {
  await server.start();
  const [anna, bela] = await Promise.all(
    ["Anna", "Bela"].map(async (name) => {
      const page = await (await browser.newContext({ viewport: SIZE, deviceScaleFactor: 2 })).newPage();
      await page.goto(server.url);
      await page.getByLabel("What is your name?").fill(name);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.locator('.status[data-status="online"]').waitFor();
      return page;
    }),
  );
  const open = async (page, room) => {
    await page.getByLabel("Open a room").fill(room);
    await page.getByLabel("Open a room").press("Enter");
    await page.locator(".room-name", { hasText: room }).waitFor();
    await page.getByLabel("Say something").waitFor();
  };
  const say = async (page, text) => {
    await page.getByLabel("Say something").fill(text);
    await page.getByLabel("Say something").press("Enter");
    await page.locator(".message:not(.pending)", { hasText: text }).waitFor();
  };
  await open(anna, "Garden");
  await say(anna, "The roses are out.");
  await bela.locator(".room", { hasText: "Garden" }).click();
  await bela.getByRole("button", { name: "Join" }).click();
  await bela.locator(".message", { hasText: "roses" }).waitFor();
  await say(bela, "I can see them from here, and everything that was said before I came.");
  await say(anna, "Only as long as you are a member.");
  await open(anna, "Kitchen");
  await say(anna, "Nobody reads this but me.");
  await say(bela, "Is there cake?");
  await anna.locator(".unread", { hasText: "1" }).waitFor();
  for (const page of [anna, bela]) await page.mouse.move(0, 0);

  const shots = [];
  for (const page of [anna, bela]) shots.push((await page.screenshot()).toString("base64"));
  const both = await browser.newPage({ viewport: { width: SIZE.width + 40, height: 2 * SIZE.height + 60 }, deviceScaleFactor: 2 });
  await both.setContent(`<style>
    body { display: grid; gap: 20px; margin: 20px; background: #cfcbdc }
    img { display: block; width: ${SIZE.width}px; border-radius: 10px; box-shadow: 0 6px 24px #0004 }
  </style>${shots.map((shot) => `<img src="data:image/png;base64,${shot}">`).join("")}`);
  await both.screenshot({ path: out });
} finally {
  await browser.close();
  await server.remove();
}
