/** What a page has to load. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";

import { build } from "esbuild";

const CLIENT = new URL("../../sync-core/client/", import.meta.url);
/** Bytes, minified and compressed. */
const CORE_BOUND = 10_000;
/** What the core loads when it is first used: a storage that was asked for, a row that no query has. */
const ON_DEMAND = ["./storage.js", "./reads.js"];

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
  const core = await size("sync.js", ON_DEMAND);
  context.diagnostic(`core: ${core.plain} bytes minified, ${core.gzip} with gzip, ${core.brotli} with brotli`);
  for (const name of ["storage.js", "tabs.js", "reads.js"]) assert.ok(!core.files.includes(name), "what is loaded on demand is no part of it");
  assert.ok(core.gzip < CORE_BOUND, `${core.gzip} bytes`);

  const parts = { "storage.js": ["./error.js", "./session.js"], "react.js": ["react", "./query.js"], "backbone.js": ["./sync.js", "./client.js"] };
  for (const [name, external] of Object.entries(parts)) {
    const exists = await readFile(new URL(name, CLIENT)).then(
      () => true,
      () => false,
    );
    if (!exists) continue;
    const part = await size(name, external);
    context.diagnostic(`${name} on top: ${part.plain} bytes minified, ${part.gzip} with gzip, ${part.brotli} with brotli`);
  }
});
