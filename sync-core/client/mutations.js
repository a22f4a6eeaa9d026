/**
 * What the client was told to write: a queue in order, each entry of which ends exactly once.
 * @module
 */

import { backoff } from "./line.js";

/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {{method: string, [field: string]: any}} Message */

/**
 * @typedef {object} Mutation
 * @property {string} method
 * @property {string} modelname
 * @property {string} [cid]
 * @property {object} model as it was when it was handed in
 * @property {number} [id] given when it is first sent, so that what was never sent can go under another client's name
 * @property {boolean} sent on this line, and not answered yet
 * @property {boolean} doubtful it may have been decided, although no answer came
 * @property {(row: any) => void} resolve
 * @property {(error: Error) => void} reject
 */

/** A mutation or a subscription that did not come about. */
export class SyncError extends Error {
  /** @param {{code: string, message?: string, fields?: Record<string, string>, current?: Row}} error */
  constructor({ code, message, fields, current }) {
    super(message ?? code);
    this.name = "SyncError";
    /**
     * The server's, as the protocol lists them; or the client's own: `unknown` (it was sent, and whether it was done
     * cannot be known any more), `closed` (it was never sent), `too_large` (nor could it be).
     */
    this.code = code;
    /** What is wrong with which field. @type {ReadonlyMap<string, string>} */
    this.fields = new Map(Object.entries(fields ?? {}));
    /** The row as it is, for a `conflict`. */
    this.current = current;
  }
}

const ACK_WITHIN_MS = 1_000;
const IN_FLIGHT = 64;

export class Mutations {
  #environment;
  #send;
  /** In order. Those that have an id come first; of them those that are sent, unless one was refused for now. @type {Mutation[]} */
  #queue = [];
  /** Committed, and waiting until the rows show it. @type {{mutation: Mutation, row: any, seq: number}[]} */
  #confirmed = [];
  /** The last id that was given. */
  #last = 0;
  /** The last id whose outcome the server was told to forget. */
  #acked = 0;
  #online = false;
  #inFlight = IN_FLIGHT;
  #messageBytes = Infinity;
  #refusals = 0;
  /** @type {any} */
  #pause;
  /** @type {any} */
  #ackTimer;

  /**
   * @param {Environment} environment
   * @param {(message: Message) => void} send
   */
  constructor(environment, send) {
    this.#environment = environment;
    this.#send = send;
  }

  /** Outcomes up to this id are known here. */
  get ack() {
    return this.#queue[0]?.id === undefined ? this.#last : this.#queue[0].id - 1;
  }

  /**
   * @param {string} method
   * @param {string} modelname
   * @param {object} model
   * @param {string} [cid]
   * @returns {Promise<any>}
   */
  add(method, modelname, model, cid) {
    return new Promise((resolve, reject) => {
      // A copy: what is sent again must be what was sent, whatever became of the caller's object.
      const copy = JSON.parse(JSON.stringify(model));
      this.#queue.push({ method, modelname, cid, model: copy, sent: false, doubtful: false, resolve, reject });
      this.#flush();
    });
  }

  /**
   * The server has answered the hello.
   * @param {Message} welcome
   * @returns {boolean} false if the server remembers less of this client than it once said
   */
  welcome({ last, outcomes, limits }) {
    if (last < this.ack) return false;
    this.#inFlight = Math.min(IN_FLIGHT, limits?.in_flight ?? IN_FLIGHT);
    this.#messageBytes = limits?.message_bytes ?? Infinity;
    this.#acked = this.ack;
    for (const outcome of outcomes) this.decide(outcome);
    for (const mutation of this.#queue.filter(({ id }) => id !== undefined && id <= last)) {
      this.#remove(mutation);
      mutation.reject(unknown());
    }
    this.#online = true;
    this.#flush();
    return true;
  }

  /** @param {Message} outcome a `confirm` or an `error` */
  decide(outcome) {
    const mutation = this.#queue.find(({ id }) => id !== undefined && id === outcome.id);
    if (!mutation) return;
    if (outcome.method === "error" && outcome.retry) {
      mutation.sent = false;
      mutation.doubtful ||= outcome.code === "unavailable";
      this.#pause ??= this.#environment.setTimeout(() => {
        this.#pause = undefined;
        this.#flush();
      }, outcome.retry_after_ms ?? backoff(this.#refusals++, this.#environment.random));
    } else {
      this.#refusals = 0;
      this.#remove(mutation);
      if (outcome.method === "error") mutation.reject(new SyncError(/** @type {any} */ (outcome)));
      else {
        const row = mutation.method === "delete" ? undefined : outcome.model;
        this.#confirmed.push({ mutation, row, seq: outcome.seq });
      }
      this.#ackTimer ??= this.#environment.setTimeout(() => this.#sendAck(), ACK_WITHIN_MS);
    }
    this.#flush();
  }

  /**
   * Ends the mutations that the rows show.
   * @param {(modelname: string, seq: number) => boolean} shown
   */
  settle(shown) {
    const waiting = [];
    for (const confirmed of this.#confirmed) {
      if (shown(confirmed.mutation.modelname, confirmed.seq)) confirmed.mutation.resolve(confirmed.row);
      else waiting.push(confirmed);
    }
    this.#confirmed = waiting;
  }

  /** What was confirmed in an epoch that is over is shown once its rows are there anew. */
  forgetSeqs() {
    for (const confirmed of this.#confirmed) confirmed.seq = 0;
  }

  /** The line is lost: whatever is under way on it will be asked for again. */
  lost() {
    this.#online = false;
    this.#environment.clearTimeout(this.#pause);
    this.#environment.clearTimeout(this.#ackTimer);
    this.#pause = this.#ackTimer = undefined;
    for (const mutation of this.#queue) {
      mutation.doubtful ||= mutation.sent;
      mutation.sent = false;
    }
  }

  /** The server does not know this client: what it may have decided stays unknown, the rest goes under a new name. */
  renew() {
    this.lost();
    const doubtful = this.#queue.filter((mutation) => mutation.doubtful);
    this.#queue = this.#queue.filter((mutation) => !mutation.doubtful);
    for (const mutation of this.#queue) mutation.id = undefined;
    this.#last = this.#acked = 0;
    for (const mutation of doubtful) mutation.reject(unknown());
  }

  /** Nothing will be sent any more. */
  close() {
    this.lost();
    this.settle(() => true);
    for (const { doubtful, reject } of this.#queue.splice(0)) {
      reject(doubtful ? unknown() : new SyncError({ code: "closed", message: "closed before this was sent" }));
    }
  }

  #flush() {
    if (!this.#online || this.#pause !== undefined) return;
    // What was refused for now goes before what follows it: first all that is under way must be answered.
    const first = this.#queue.findIndex(({ sent }) => !sent);
    if (first < 0 || this.#queue.slice(first, this.#inFlight).some(({ sent }) => sent)) return;
    for (let index = first; index < Math.min(this.#queue.length, this.#inFlight); index += 1) {
      const mutation = this.#queue[index];
      const { method, modelname, cid, model } = mutation;
      const message = { method, id: mutation.id ?? this.#last + 1, modelname, cid, model, ack: this.ack };
      if (mutation.id === undefined && bytes(JSON.stringify(message)) > this.#messageBytes) {
        // Sent, it would close the line, each time anew. It has taken no id, so it leaves no gap.
        this.#queue.splice(index, 1);
        mutation.reject(new SyncError({ code: "too_large", message: `larger than ${this.#messageBytes} bytes` }));
        index -= 1;
        continue;
      }
      mutation.id ??= ++this.#last;
      mutation.sent = true;
      this.#acked = message.ack;
      this.#send(message);
    }
  }

  #sendAck() {
    this.#ackTimer = undefined;
    if (this.#acked === this.ack) return;
    this.#acked = this.ack;
    this.#send({ method: "ack", ack: this.ack });
  }

  /** @param {Mutation} mutation */
  #remove(mutation) {
    this.#queue.splice(this.#queue.indexOf(mutation), 1);
  }
}

function unknown() {
  return new SyncError({ code: "unknown", message: "sent, but whether it was done cannot be known any more" });
}

/** @param {string} text */
function bytes(text) {
  return new TextEncoder().encode(text).length;
}
