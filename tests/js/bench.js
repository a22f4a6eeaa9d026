/**
 * What rows cost a page: CPU time of a snapshot, of a change by another, and of a write. `npm --prefix tests run bench` prints it.
 * @module
 */

import assert from "node:assert/strict";
import { cpus } from "node:os";
import { pathToFileURL } from "node:url";

import { client, settled } from "./support.js";

const PAGE = 500;

/** The titles are no sequence, so that an order by them is none. @param {number} id */
function row(id) {
  return { id, title: `todo ${(id * 7919) % 100_003}`, completed: id % 3 === 0, list: `list ${id % 20}`, priority: id % 5 };
}

/** @param {() => void} run @returns {number} milliseconds of CPU */
function cost(run) {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** @type {Record<string, object[]>} the queries that are open on the model */
export const QUERIES = {
  "one query": [{}],
  "ordered by a text": [{ order: "title" }],
  "three queries, filtered and ordered": [{}, { where: { completed: false }, order: ["-priority", "title"] }, { where: { list: "list 7" }, limit: 50 }],
};

/**
 * @param {number} count of rows
 * @param {readonly object[]} queries
 * @param {number} samples
 */
export async function measure(count, queries, samples) {
  const c = client();
  c.online();
  let told = 0;
  for (const options of queries) c.todos.query(options).subscribe(({ rows }) => (told += rows.length > 0 ? 1 : 0));
  await settled();
  const { id } = c.socket.take().find(({ method }) => method === "subscribe");

  const frames = [];
  for (let first = 1; first <= count; first += PAGE) {
    const models = Array.from({ length: Math.min(PAGE, count - first + 1) }, (_, index) => row(first + index));
    frames.push({ method: "read", channel: "sync:Todo", modelname: "Todo", id, models, seqs: models.map(({ id }) => id), seq: count, more: true });
  }
  const texts = [...frames, { method: "live", modelname: "Todo", id, seq: count, cursor: "c" }].map((frame) => JSON.stringify(frame));
  const snapshot = cost(() => texts.forEach((data) => c.socket.onmessage({ data })));

  let seq = count;
  const changes = [];
  for (let sample = 0; sample < samples; sample += 1) {
    const changed = { ...row(1 + ((sample * 613) % count)), title: `todo ${(sample * 104_729) % 100_003}` };
    const data = JSON.stringify({ method: "update", channel: `sync:Todo:${changed.id}`, modelname: "Todo", model: changed, seq: (seq += 1) });
    changes.push(cost(() => c.socket.onmessage({ data })));
  }
  const writes = [];
  for (let sample = 0; sample < samples; sample += 1) {
    const { id } = row(1 + ((sample * 389) % count));
    const before = process.cpuUsage();
    c.todos.patch({ id, completed: sample % 2 === 0 });
    await null; // the listeners are told in a microtask
    await null;
    const { user, system } = process.cpuUsage(before);
    writes.push((user + system) / 1000);
    const { id: n } = c.socket.take().at(-1) ?? {};
    if (n === undefined) continue;
    const model = { ...row(id), completed: sample % 2 === 0 };
    c.socket.receive({ method: "update", modelname: "Todo", model, seq: (seq += 1) }, { method: "confirm", id: n, modelname: "Todo", model, seq, row_seq: seq });
  }
  c.db.close();
  return { snapshot, change: spread(changes), write: spread(writes), told };
}

/**
 * Rows that are created while there is no line, half of them named by another, and confirmed when there is one.
 * @param {number} count
 * @returns {Promise<number>} milliseconds of CPU for each
 */
export async function burst(count) {
  const c = client();
  c.online();
  for (const name of ["Todo", "Note"]) c.db.model(name).query().subscribe(() => {});
  for (const { id, modelname } of c.socket.take()) c.socket.receive({ method: "live", id, modelname, seq: 0, cursor: "c" });
  const before = process.cpuUsage();
  for (let index = 0; index < count; index += 2) {
    const { row } = c.todos.create({ title: `todo ${index}` });
    c.db.model("Note").create({ todo: row.id });
  }
  await settled();
  for (let seq = 0; seq < count; await settled()) {
    for (const { id, modelname, cid } of c.socket.take().filter(({ method }) => method === "create")) {
      const fields = { modelname, cid, model: { id: (seq += 1), title: "" }, seq };
      c.socket.receive({ method: "create", ...fields }, { method: "confirm", id, row_seq: seq, ...fields });
    }
  }
  const { user, system } = process.cpuUsage(before);
  assert.equal(c.db.pending, 0);
  c.db.close();
  return (user + system) / 1000 / count;
}

/** @param {number[]} values */
function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { mean: values.reduce((sum, value) => sum + value, 0) / values.length, median: at(0.5), p99: at(0.99) };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const ms = (value) => `${value.toFixed(3)} ms`;
  console.log(`client CPU, node ${process.version}, ${cpus()[0]?.model}`);
  for (const count of [100, 1_000, 10_000, 50_000]) {
    for (const [name, queries] of Object.entries(QUERIES)) {
      await measure(Math.min(count, 1_000), queries, 50); // warm
      const { snapshot, change, write } = await measure(count, queries, 400);
      const line = [
        `${count} rows, ${name}:`,
        `snapshot ${ms(snapshot)},`,
        `a change mean ${ms(change.mean)}, p99 ${ms(change.p99)},`,
        `a write mean ${ms(write.mean)}, p99 ${ms(write.p99)}`,
      ];
      console.log(line.join(" "));
    }
  }
  for (const count of [500, 5_000]) console.log(`${count} rows created at once: ${ms(await burst(count))} for each until it is confirmed`);
}
