/**
 * Backbone's classes over a server that answers at once, or when it is told to: the synced ones, and plain ones for comparison.
 * @module
 */

import Backbone from "backbone";

import { synced } from "../../sync-core/client/backbone.mjs";
import { client, settled, welcome } from "./support.js";

export { Backbone };

/** What a server of todos does: rows, and who is refused. */
class Todos {
  /** @type {Map<number | string, any>} */
  rows = new Map();
  #last = 0;

  /** @param {string} title */
  add(title, fields = {}) {
    const id = fields.id ?? (this.#last += 1);
    this.rows.set(id, { id, title, completed: false, ...fields });
    return this.rows.get(id);
  }

  /** @returns {any} the row, or an error */
  write(method, model, known) {
    if (model.title === "" || (method === "create" && model.title === undefined)) return { error: { code: "invalid", message: "title: must not be empty", fields: { title: "must not be empty" } } };
    if (method === "create") return { row: this.add(model.title, model) };
    if (!this.rows.has(model.id) || known === false) return { error: { code: "not_found", message: "there is no such row" } };
    const row = method === "update" ? { id: 0, title: "", completed: false, ...model } : { ...this.rows.get(model.id), ...model };
    if (method === "delete") this.rows.delete(model.id);
    else this.rows.set(model.id, row);
    return { row: method === "delete" ? { id: model.id } : row };
  }
}

/** The synced classes on a line that a test holds in its hands. */
export function stage(options) {
  const c = client(options);
  const classes = synced(Backbone, c.db);
  const server = new Todos();
  /** @type {Map<string, number>} */
  const cids = new Map();
  let seq = 0;
  /** The last write that was decided. */
  let last = 0;
  /** Everything that has come, answered or not. @type {any[]} */
  const requests = [];
  /** @type {string | undefined} */
  let subscription;

  function resolve(model) {
    const id = model.id?.$cid === undefined ? model.id : cids.get(model.id.$cid);
    return { ...model, id };
  }

  function take() {
    const sent = c.socket.take();
    requests.push(...sent);
    return sent;
  }

  /** @param {any} message */
  function answer(message) {
    const { method, id, model, cid } = message;
    if (method === "hello") c.socket.receive(welcome({ last }));
    else if (method === "subscribe") {
      subscription = id;
      if (message.since !== undefined) c.socket.receive({ method: "reset", id, modelname: "Todo" });
      const models = [...server.rows.values()];
      c.socket.receive({ method: "read", id, modelname: "Todo", models, seqs: models.map(() => seq), more: false }, { method: "live", id, modelname: "Todo", seq, cursor: "c" });
    } else if (method === "read") {
      const row = server.rows.get(resolve(model).id);
      c.socket.receive(row ? { method: "read", id, modelname: "Todo", model: row } : { method: "error", id, request: "read", code: "not_found", message: "there is no such row", retry: false });
    } else if (["create", "update", "patch", "delete"].includes(method)) {
      last = id;
      const given = method === "create" ? model : resolve(model);
      const { row, error } = server.write(method, given, given.id !== undefined || method === "create");
      if (error) return c.socket.receive({ method: "error", id, request: method, modelname: "Todo", retry: false, ...error });
      if (cid) cids.set(cid, row.id);
      broadcast(method === "patch" ? "update" : method, row, cid, { method: "confirm", id, modelname: "Todo", cid, model: row });
    }
  }

  function broadcast(method, row, cid, confirm) {
    seq += 1;
    const change = { method, modelname: "Todo", cid, model: row, seq };
    const frame = subscription === undefined ? [] : [change];
    if (confirm) frame.push({ ...confirm, seq, row_seq: seq });
    if (frame.length > 0) c.socket.receive(...frame);
  }

  /** Answers until nothing more is asked. */
  async function quiet() {
    for (;;) {
      await settled();
      const sent = take();
      if (sent.length === 0) return;
      sent.forEach(answer);
    }
  }

  /** Opens the line. */
  async function open() {
    await settled();
    c.socket.open();
    await quiet();
  }

  return {
    ...c,
    ...classes,
    server,
    requests,
    take,
    answer,
    open,
    quiet,
    /** Loses the line, and what was sent and is not answered, and opens another. */
    cut() {
      subscription = undefined;
      c.cut();
      c.socket.open();
    },
    /** Someone else writes. */
    other: {
      create(title, fields) {
        const row = server.add(title, fields);
        broadcast("create", row);
        return row;
      },
      change(id, fields) {
        server.rows.set(id, { ...server.rows.get(id), ...fields });
        broadcast("update", server.rows.get(id));
      },
      delete(id, method = "delete") {
        server.rows.delete(id);
        broadcast(method, { id });
      },
    },
  };
}

/** Plain classes over the same server, which answers as one over HTTP would. */
export function plain() {
  const server = new Todos();
  /** @type {(() => void)[]} */
  const waiting = [];
  function sync(method, subject, options) {
    const attributes = method === "read" ? undefined : { ...(options.attrs ?? subject.toJSON(options)), id: subject.id };
    const answer = () => {
      if ("models" in subject) return { row: [...server.rows.values()].map((row) => ({ ...row })) };
      if (method !== "read") return server.write(method, JSON.parse(JSON.stringify(attributes)));
      const row = server.rows.get(subject.id);
      return row ? { row } : { error: { code: "not_found" } };
    };
    const promise = new Promise((resolve, reject) => {
      waiting.push(() => {
        const { row, error } = answer();
        if (error) {
          const failed = Object.assign(new Error(error.message), error);
          options.error?.(failed);
          return reject(failed);
        }
        const response = method === "delete" ? undefined : Array.isArray(row) ? row : { ...row };
        options.success?.(response);
        resolve(response);
      });
    });
    promise.catch(() => {});
    subject.trigger("request", subject, promise, options);
    return promise;
  }
  const { Model, Collection } = Backbone;
  return {
    server,
    syncedModel: Model.extend({ sync }),
    syncedCollection: Collection.extend({ sync }),
    async open() {},
    async quiet() {
      await settled();
      while (waiting.length > 0) {
        waiting.shift()?.();
        await settled();
      }
    },
  };
}

/**
 * All that is triggered on a model or a collection, in words.
 * @param {Record<string, any>} subjects
 */
export function record(subjects) {
  /** @type {string[]} */
  const log = [];
  for (const [name, subject] of Object.entries(subjects)) watch(log, name, subject);
  return log;
}

/** @param {string[]} log @param {string} name @param {any} subject */
export function watch(log, name, subject) {
  subject.on("all", (event, about, ...rest) => {
    const options = event === "request" || event === "error" || event === "sync" || event === "invalid" ? rest[1] : event.startsWith("change:") ? rest[1] : rest.at(-1);
    const what = about && "models" in about ? `[${about.models.map((model) => JSON.stringify(model))}]` : JSON.stringify(about);
    const value = event.startsWith("change:") ? ` = ${JSON.stringify(rest[0])}` : "";
    const changes = event === "update" ? ` +${options.changes.added.length} -${options.changes.removed.length}` : "";
    log.push(`${name} ${event} ${what}${value}${changes}${options?.remote ? " (remote)" : ""}`);
  });
}
