/**
 * One client of the server: its identity, its line and what it was told to write. A page is one; while it finishes what a closed
 * page has left, it is that one too.
 * @module
 */

import { SyncError } from "./error.js";
import { Line } from "./line.js";
import { Mutations } from "./mutations.js";
import { randomHex } from "./names.js";

/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./line.js").Status} Status */
/** @typedef {import("./mutations.js").Message} Message */

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
  /** @type {string | undefined} */
  epoch;
  /** Why it is closed. @type {SyncError | undefined} */
  reason;
  /** Why there is no line, where it is known. @type {SyncError | undefined} */
  error;
  #client = uuid();
  #welcomed = false;
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
    this.mutations = new Mutations(environment, names, handlers, this);
    this.#line = new Line(url, environment, this);
  }

  /** @returns {Status} */
  get status() {
    return this.#line.status;
  }

  /** @returns {Identity} */
  get identity() {
    return { client: this.#client, welcomed: this.#welcomed, epoch: this.epoch, last: this.mutations.last };
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
    const ack = this.#welcomed ? this.mutations.ack : undefined;
    this.send({ method: "hello", client: this.#client, ack, token, schema: this.#handlers.schema() });
  }

  /** The server knows less of this client than it should: it gets another name. */
  #renew() {
    // Only a client that was welcomed can be forgotten; a server that says so of a new one is not hurried.
    const hurry = this.#welcomed;
    this.#client = uuid();
    this.#welcomed = false;
    this.mutations.renew();
    this.#line.lost();
    if (hurry) this.open();
  }

  /** @param {Status} status */
  became(status) {
    if (status === "offline" || status === "closed") this.mutations.lost();
    if (status === "closed") {
      this.reason ??= new SyncError({ code: "replaced", message: "another connection speaks for this client" });
      this.mutations.close(this.reason);
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
    if (message.method === "confirm") return this.mutations.decide(message);
    if (message.method !== "error") return this.#handlers.message(message);
    switch (message.code) {
      case "client_unknown":
      case "id_gap":
        return this.#renew();
      case "unauthenticated":
        // A token that is fixed will be no better the next time.
        return typeof this.#token === "function" || typeof this.#url === "function" ? this.#line.lost(false) : this.close(new SyncError(/** @type {any} */ (message)));
      default:
        // Said again it would be refused again.
        if (message.request === "hello" && !message.retry) return this.close(new SyncError(/** @type {any} */ (message)));
        if (typeof message.id === "number") this.mutations.decide(message);
        else this.#handlers.message(message);
    }
  }

  /** @param {Message} welcome */
  #welcome(welcome) {
    if (this.epoch !== welcome.epoch) {
      this.epoch = welcome.epoch;
      this.mutations.forgetSeqs();
    }
    this.#welcomed = true;
    this.error = undefined;
    if (!this.mutations.welcome(welcome)) return this.#renew();
    this.#handlers.welcomed(welcome);
    this.#line.welcomed(welcome.heartbeat_ms);
  }
}

/** `crypto.randomUUID` exists on secure origins only. */
export function uuid() {
  return randomHex(16).replace(/^(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-4$3-a$4-");
}
