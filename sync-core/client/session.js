/**
 * One client of the server: its identity, its line and what it was told to write. A page is one; while it finishes what a closed
 * page has left, it is that one too.
 * @module
 */

import { SyncError } from "./error.js";
import { Line } from "./line.js";
import { randomHex } from "./names.js";
import { failed, name, number } from "./parts.js";

/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./mutations.js").Mutation} Mutation */

/**
 * Says who is at the page: text, or a function that is asked before each connection and may take its time.
 * @typedef {string | (() => string | Promise<string>)} Token
 */

/**
 * What is kept of a client.
 * @typedef {object} Identity
 * @property {string} client
 * @property {boolean} welcomed whether the server has ever known it
 * @property {string} [epoch] of the last welcome
 * @property {number} last the last mutation id that was given
 */

/**
 * @typedef {object} Handlers
 * @property {(welcome: Message) => void} welcomed the server knows this client: what else it should send can be asked for
 * @property {(message: Message) => void} message that is about rows
 * @property {() => void} applied everything of a frame
 * @property {(status: Status) => void} became it has another status
 * @property {() => Record<string, string> | undefined} schema what the page was made for
 */

export class Session {
  /** What sends what is written, once it is loaded. @type {typeof import("./mutations.js").Mutations | undefined} */
  static Mutations;
  /** What is written, once it can be sent. @type {import("./mutations.js").Mutations | undefined} */
  mutations;
  /** @type {string | undefined} */
  epoch;
  /** Why it is closed. @type {SyncError | undefined} */
  reason;
  /** Why there is no line, where it is known. @type {SyncError | undefined} */
  error;
  /** What was written before it could be sent. @type {Mutation[]} */
  #waiting = [];
  /** The server's welcome on the present line. @type {Message | undefined} */
  #greeting;
  #client = uuid();
  #welcomed = false;
  #environment;
  #names;
  #url;
  #token;
  #handlers;
  #line;

  /**
   * @param {import("./line.js").Address} url
   * @param {Environment} environment
   * @param {Token | undefined} token
   * @param {import("./names.js").Names} names
   * @param {Handlers & Pick<import("./mutations.js").Handlers, "added" | "confirmed" | "ended">} handlers
   */
  constructor(url, environment, token, names, handlers) {
    this.#url = url;
    this.#token = token;
    this.#handlers = handlers;
    this.#environment = environment;
    this.#names = names;
    this.#line = new Line(url, environment, this);
    if (Session.Mutations) this.begin(Session.Mutations);
  }

  /** @returns {Status} */
  get status() {
    return this.#line.status;
  }

  /** All that the rows do not show yet, in order. @returns {readonly Mutation[]} */
  get pending() {
    return this.mutations?.pending ?? this.#waiting;
  }

  /** @returns {Identity} */
  get identity() {
    return { client: this.#client, welcomed: this.#welcomed, epoch: this.epoch, last: this.mutations?.last ?? 0 };
  }

  /** @param {Identity} identity that was kept, before the line is opened */
  become({ client, welcomed, epoch }) {
    this.#client = client;
    this.#welcomed = welcomed;
    this.epoch = epoch;
    this.#line.doubtful = true;
  }

  open() {
    this.#line.open();
  }

  /** @param {Mutation} mutation */
  write(mutation) {
    if (this.mutations) return this.mutations.adopt([mutation]);
    number(mutation, this.#waiting.push(mutation));
    name(mutation, this.#names);
    this.#handlers.added(mutation);
  }

  /** What is written can be sent from now on. @param {typeof import("./mutations.js").Mutations} Mutations */
  begin(Mutations) {
    if (this.mutations) return this.mutations;
    const mutations = (this.mutations = new Mutations(this.#environment, this.#names, this.#handlers, this));
    mutations.adopt(this.#waiting.splice(0), true);
    if (this.#greeting) mutations.welcome(this.#greeting);
    return mutations;
  }

  /** @param {object} message */
  send(message) {
    this.#line.send(message);
  }

  /** @param {SyncError} reason */
  close(reason) {
    this.reason ??= reason;
    this.#line.close();
  }

  /** The socket is open. */
  opened() {
    this.#line.ask("token", this.#token, (token) => this.#say(token));
  }

  /** There is no address, or no token: it is asked for again with the next connection. @param {string} code @param {unknown} cause */
  failed(code, cause) {
    const message = `the ${code} function failed: ${cause}`;
    this.error = Object.assign(new SyncError({ code, message }), { cause });
    console.error(`sync: ${message}`, cause);
  }

  /** @param {string | undefined} token */
  #say(token) {
    const ack = this.#welcomed ? (this.mutations?.ack ?? 0) : undefined;
    this.send({ method: "hello", client: this.#client, ack, token, schema: this.#handlers.schema() });
  }

  /** The server knows less of this client than it should: it gets another name. */
  #renew() {
    // Only a client that was welcomed can be forgotten; a server that says so of a new one is not hurried.
    const hurry = this.#welcomed;
    this.#client = uuid();
    this.#welcomed = false;
    this.mutations?.renew();
    this.#line.lost();
    if (hurry) this.open();
  }

  /** @param {Status} status */
  became(status) {
    if (status === "offline" || status === "closed") {
      this.#greeting = undefined;
      this.mutations?.lost();
    }
    if (status === "closed") {
      this.reason ??= new SyncError({ code: "replaced", message: "another connection speaks for this client" });
      this.mutations?.close(this.reason);
      for (const mutation of this.#waiting.splice(0)) failed(mutation, this.reason);
    }
    this.#handlers.became(status);
  }

  /** @param {string} text */
  received(text) {
    const client = this.#client;
    try {
      const frame = JSON.parse(text);
      for (const message of Array.isArray(frame) ? frame : [frame]) {
        this.#apply(message);
        if (this.#client !== client || this.status === "closed") break;
      }
    } catch (error) {
      // Whatever was wrong with it, what it brought may be missing from now on: begin again from the cursor.
      this.#line.lost();
      throw error;
    } finally {
      this.#handlers.applied();
    }
  }

  /** @param {Message} message */
  #apply(message) {
    if (message.method === "welcome") return this.#welcome(message);
    if (message.method === "confirm") return this.mutations?.decide(message);
    if (message.method !== "error") return this.#handlers.message(message);
    switch (message.code) {
      case "client_unknown":
      case "id_gap":
        return this.#renew();
      case "unauthenticated":
        // Of a request alone: a handler's, or to be sent again under the session that follows.
        if (message.request !== "hello") return this.#answered(message);
        // A token that is fixed will be no better the next time.
        return typeof this.#token === "function" || typeof this.#url === "function" ? this.#line.lost(false) : this.close(new SyncError(/** @type {any} */ (message)));
      default:
        // Said again it would be refused again.
        if (message.request === "hello" && !message.retry) return this.close(new SyncError(/** @type {any} */ (message)));
        return this.#answered(message);
    }
  }

  /** @param {Message} error of one request */
  #answered(error) {
    if (typeof error.id === "number") this.mutations?.decide(error);
    else this.#handlers.message(error);
  }

  /** @param {Message} welcome */
  #welcome(welcome) {
    if (this.epoch !== welcome.epoch) {
      this.epoch = welcome.epoch;
      this.mutations?.forgetSeqs();
    }
    this.#welcomed = true;
    this.error = undefined;
    this.#greeting = welcome;
    if (this.mutations) {
      if (!this.mutations.welcome(welcome)) return this.#renew();
    } else {
      // It could not be had without a line; where it cannot be had now either, what is written waits for the next one.
      import("./mutations.js").then(({ Mutations }) => this.begin(Mutations), console.warn);
    }
    this.#handlers.welcomed(welcome);
    this.#line.welcomed(welcome.heartbeat_ms);
  }
}

/** `crypto.randomUUID` exists on secure origins only. */
export function uuid() {
  return randomHex(16).replace(/^(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-4$3-a$4-");
}
