// The npm package as its users have it: packed, installed, type-checked, bundled and run.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const tests = fileURLToPath(new URL("..", import.meta.url));
/** @type {string} */
let folder;
/** What was packed. @type {string[]} */
let files;

/** @param {string} command @param {string[]} given */
function run(command, ...given) {
  try {
    return execFileSync(command, given, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    throw new Error(`${command} ${given.join(" ")}\n${error.stdout}${error.stderr}`, { cause: error });
  }
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), "package-"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const [packed] = JSON.parse(run("npm", "pack", "--json", "--pack-destination", folder, join(tests, "../sync-core/client")));
  files = packed.files.map(({ path }) => path);
  run("npm", "install", "--offline", "--no-audit", "--no-fund", `./${packed.filename}`);
  // What the package's users have of their own.
  mkdirSync(join(folder, "node_modules/@types"), { recursive: true });
  for (const name of ["backbone", "underscore", "react", "@types/react"]) symlinkSync(join(tests, "node_modules", name), join(folder, "node_modules", name));
});

after(() => rmSync(folder, { recursive: true }));

test("every file of the client is in it, with its types, and nothing else", () => {
  const client = readdirSync(join(tests, "../sync-core/client")).filter((name) => /\.m?js$/.test(name));
  const types = client.map((name) => `types/${name.replace(/\.(m?)js$/, ".d.$1ts")}`);
  assert.deepEqual([...files].sort(), [...client, ...types, "README.md", "package.json"].sort());
});

test("its types are those of the client", () => {
  writeFileSync(join(folder, "program.ts"), `
    import { connect, SyncError, type Query } from "sync-core-client";
    import { synced } from "sync-core-client/backbone";
    import { useQuery, useStatus } from "sync-core-client/react";
    interface Todo { readonly id: number; title: string; completed: boolean }
    interface Models { Todo: { row: Todo; insert: { title: string; completed?: boolean }; patch: { title?: string; completed?: boolean }; id: "id"; indexed: "completed" } }
    const db = connect<Models>({ url: "wss://example.test/sync" });
    const todos = db.model("Todo");
    const query: Query<Todo> = todos.query({ where: { completed: false }, order: "-completed" });
    for (const row of query.rows) todos.patch({ id: row.id, title: "x" }).catch((error: SyncError) => error.fields.get("title"));
    // @ts-expect-error there is no such field
    todos.patch({ id: 1, titel: "x" });
    // @ts-expect-error there is no such model
    db.model("Tod");
    synced({}, db);
    const title: string = useQuery(query).rows[0].title;
    // @ts-expect-error it is no number
    const status: number = useStatus(db);
  `);
  for (const [module, resolution] of [["nodenext", "nodenext"], ["es2022", "bundler"]]) {
    run(join(tests, "node_modules/.bin/tsc"), "--strict", "--noEmit", "--target", "es2022", "--lib", "es2023,dom", "--types", "", "--module", module, "--moduleResolution", resolution, "program.ts");
  }
});

test("it is run, and bundled", async () => {
  const program = `
    import Backbone from "backbone";
    import { connect, SyncError } from "sync-core-client";
    import { synced } from "sync-core-client/backbone";
    import { useQuery } from "sync-core-client/react";
    if (typeof useQuery !== "function") throw new Error("no hooks");
    const db = connect({ url: "ws://127.0.0.1:9/sync", WebSocket: class { close() {} } });
    const { syncedModel } = synced(Backbone, db);
    const note = new (syncedModel.extend({}, { modelname: "Note" }))({ text: "x" });
    note.save(null, { error: (_, error) => console.log(error instanceof SyncError, error.code) });
    setImmediate(() => db.close());
  `;
  writeFileSync(join(folder, "program.js"), program);
  assert.equal(run("node", "program.js"), "true closed\n");
  await build({ entryPoints: [join(folder, "program.js")], outfile: join(folder, "bundle.mjs"), bundle: true, format: "esm", platform: "node", logLevel: "silent", banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' } });
  assert.equal(run("node", "bundle.mjs"), "true closed\n");
});
