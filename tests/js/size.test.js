/** What a page has to load. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";

import { build } from "esbuild";

const CLIENT = new URL("../../sync-core/client/", import.meta.url);
/** Bytes, minified and compressed. */
const CORE_BOUND = 10_000;
/** What the core loads when it is first needed, on top of it: the queue of what is written, with the first welcome; with the first query that has a `where` or a `limit`, what asks for less. */
const ON_DEMAND = { "mutations.js": 2_400, "narrow.js": 1_000, "reads.js": 600, "storage.js": 3_000 };
/** What a page imports itself, on top of the core. */
const IMPORTED = { "backbone.js": 4_000, "pages.js": 1_600, "position.js": 900, "react.js": 600 };

/**
 * @param {string} name
 * @param {readonly string[]} external what is counted elsewhere
 */
async function size(name, external = []) {
  const { outputFiles, metafile } = await build({
    entryPoints: [new URL(name, CLIENT).pathname],
    bundle: true,
    minify: true,
    format: "esm",
    external: [...external],
    metafile: true,
    write: false,
  });
  const [{ contents }] = outputFiles;
  const files = Object.keys(metafile.inputs).map((path) => path.split("/").at(-1));
  return { files, plain: contents.length, gzip: gzipSync(contents, { level: 9 }).length, brotli: brotliCompressSync(contents).length };
}

test("the core, minified and compressed, stays under 10 KB", async (context) => {
  const later = Object.keys(ON_DEMAND).map((name) => `./${name}`);
  const core = await size("sync.js", later);
  context.diagnostic(`core: ${core.plain} bytes minified, ${core.gzip} with gzip, ${core.brotli} with brotli`);
  for (const name of [...Object.keys(ON_DEMAND), "tabs.js"]) assert.ok(!core.files.includes(name), `${name} is no part of it`);
  assert.ok(core.gzip < CORE_BOUND, `${core.gzip} bytes`);

  const present = core.files.map((name) => `./${name}`);
  for (const [name, bound] of Object.entries({ ...ON_DEMAND, ...IMPORTED })) {
    const part = await size(name, [...present, ...later, "./client.js", "react"]);
    context.diagnostic(`${name} on top: ${part.plain} bytes minified, ${part.gzip} with gzip, ${part.brotli} with brotli`);
    assert.ok(part.gzip < bound, `${name}: ${part.gzip} bytes`);
  }
});
