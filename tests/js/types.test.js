// The types that a server prints, asked of TypeScript itself. The Rust test `tests/tests/types.rs` keeps the texts.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
/** @type {string} */
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "types-"));
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  await writeFile(join(folder, "models.d.ts"), await snapshot("zoo.d.ts"));
  await writeFile(join(folder, "models.js"), await snapshot("zoo.js"));
  const samples = await snapshot("samples.ts");
  const names = new Set([...samples.matchAll(/: (\w+) = /g)].map(([, name]) => name));
  await writeFile(join(folder, "samples.ts"), `import type { ${[...names].join(", ")} } from "./models.js";\n${samples}`);
  await cp(join(here, "types"), folder, { recursive: true });
  const [packages, client] = [join(here, "../node_modules"), join(here, "../../sync-core/client")];
  const paths = {
    react: [`${packages}/@types/react`],
    "react/*": [`${packages}/@types/react/*`],
    "sync-core-client": [`${client}/sync.js`],
    "sync-core-client/*": [`${client}/*.js`],
  };
  const options = { strict: true, noEmit: true, allowJs: true, jsx: "react-jsx", target: "es2022", moduleResolution: "bundler", types: [], paths };
  for (const name of ["react", "wrong-react"]) {
    await writeFile(join(folder, `${name}.json`), JSON.stringify({ compilerOptions: options, files: [`${name}.tsx`] }));
  }
});

after(() => rm(folder, { recursive: true }));

/**
 * The text of an insta snapshot.
 * @param {string} name
 */
async function snapshot(name) {
  const text = await readFile(join(here, `../tests/snapshots/${name}.snap`), "utf8");
  return text.slice(text.indexOf("\n---\n") + 5);
}

/**
 * What the compiler says of a file, or of a project with options of its own: nothing if it is right.
 * @param {...string} what
 * @returns {Promise<string>}
 */
function compile(...what) {
  const compiler = join(here, "../node_modules/.bin/tsc");
  const options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--types", ""];
  return new Promise((resolve) => {
    execFile(compiler, what.length > 1 ? what : [...options, ...what], { cwd: folder }, (error, stdout, stderr) => {
      resolve(error ? stdout + stderr + error.message : "");
    });
  });
}

test("the types themselves are right", async () => {
  assert.equal(await compile("models.d.ts"), "");
});

test("what serde writes and reads is of the types", async () => {
  assert.equal(await compile("samples.ts"), "");
});

test("right programs compile, and wrong ones do not", async () => {
  assert.equal(await compile("program.ts"), "");
});

test("so do pages with the client and its React hooks", async () => {
  assert.equal(await compile("--project", "react.json"), "");
});

for (const [name, wrong, ...project] of [["program.ts", "wrong.ts"], ["react.tsx", "wrong-react.tsx", "--project", "wrong-react.json"]]) {
  test(`a wrong line of ${name} would be seen`, async () => {
    const program = await readFile(join(folder, name), "utf8");
    await writeFile(join(folder, wrong), program.replaceAll(/^ *\/\/ @ts-expect-error.*$/gm, ""));
    const said = await (project.length > 0 ? compile(...project) : compile(wrong));
    const errors = [...said.matchAll(/^[\w-]+\.tsx?\((\d+),/gm)].map(([, line]) => Number(line));
    const marks = program.split("\n").flatMap((line, index) => (line.includes("@ts-expect-error") ? [index + 2] : []));
    assert.deepEqual([...new Set(errors)], marks);
  });
}

test("the schema is what the types declare", async () => {
  const { schema } = await import(pathToFileURL(join(folder, "models.js")).href);
  assert.deepEqual(Object.keys(schema), ["Animal", "AnimalInsert", "Keeper", "Models", "Visit", "class"]);
  assert.match(schema.Models, /^key:[0-9a-f]{6} o,other:[0-9a-f]{6} w,tree:[0-9a-f]{6} w$/);
});
