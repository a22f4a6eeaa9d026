/**
 * What one client was told to write: a queue in order, each entry of which ends exactly once. Loaded when there is a line for the first time: what
 * is written before waits in the session.
 * @module
 */

import { SyncError } from "./error.js";
import { backoff } from "./line.js";
import { cidOf } from "./names.js";
import { failed, modelOf, name, number, partsOf } from "./parts.js";
import { Session } from "./session.js";

/** @typedef {import("./line.js").Environment} Environment */
/** @typedef {import("./names.js").Names} Names */
/** @typedef {import("./rows.js").Id} Id */
/** @typedef {{method: string, [field: string]: any}} Message */

/**
 * What is kept of one write.
 * @typedef {object} Part
 * @property {number} n its mutation's place
 * @property {string} method
 * @property {string} modelname
 * @property {string} idName
 * @property {Id} key the row's id; of a row that was created here and had none, its name
 * @property {string} [name] of a create: what the row is called here
 * @property {any} model as it was when it was handed in, of an action the arguments; names stand for ids that were not known
 * @property {string} [action] its name
 * @property {number} [ifSeq]
 * @property {boolean} [wait] it is not shown before it is confirmed
 * @property {any} [row] as it was confirmed, or told of before; of an action the result
 * @property {number} [rowSeq] of that row
 * @property {boolean} [isDecided]
 * @property {boolean} [isPartial] of the row only the id was said
 * @property {(row: any) => void} [resolve]
 * @property {(error: Error) => void} [reject] one from an earlier page has nobody to tell
 */

/**
 * What is kept of a mutation.
 * @typedef {Part & {parts?: Part[], id?: number, wire?: any, needs?: number, doubtful?: boolean, seq?: number}} Content
 *   `n`: its place among all of this client's, sent or not. `parts`: what is done at once, of a batch. `id`: given when it is first sent, so
 *   that what was never sent can go under another client's name. `wire`: the models as they were first sent: under the same id nothing else
 *   is. `needs`: the first of the creates that `wire` names: the server must not forget it before. `doubtful`: it may have been decided,
 *   although no answer came. `seq`: it is confirmed, and waits until the rows show it.
 */

/**
 * @typedef {Content & {sent?: boolean, told?: Set<import("./collection.js").Collection>}} Mutation
 *   `sent`: on this line, and not answered yet. `told`: where the rows showed it already when it was confirmed.
 */

/**
 * Where the queue is kept for later.
 * @typedef {object} Journal
 * @property {(mutation: Mutation) => void} put soon
 * @property {(mutation: Mutation) => void} remove in a while
 * @property {() => Promise<void>} saved settles when everything so far is kept
 */

/**
 * @typedef {object} Handlers
 * @property {(mutation: Mutation) => void} added
 * @property {(mutation: Mutation) => void} confirmed it is committed
 * @property {(mutation: Mutation, error?: Error) => void} ended it is pending no more
 */

const ACK_WITHIN_MS = 1_000;
const IN_FLIGHT = 64;

export class Mutations {
  #environment;
  #names;
  #handlers;
  #session;
  /** @type {Journal | undefined} */
  #journal;
  /** In order. Those that have an id come first; of them those that are sent, unless one was refused for now. @type {Mutation[]} */
  #queue = [];
  /** Committed, and waiting until the rows show it. @type {Mutation[]} */
  #confirmed = [];
  /** By the name of a row that had no id yet when they were handed in: those that mention it. @type {Map<string, Mutation[]>} */
  #naming = new Map();
  #n = 0;
  /** The last id that was given. */
  #last = 0;
  /** The outcomes up to this id are known here, and will be to whoever comes after. */
  #kept = 0;
  /** The last id whose outcome the server was told to forget. */
  #acked = 0;
  /** Counts the names that this client has had. */
  #life = 0;
  /** Another object on every line. @type {object | undefined} */
  #line;
  #inFlight = IN_FLIGHT;
  #messageBytes = Infinity;
  #refusals = 0;
  /** @type {any} */
  #pause;
  /** @type {any} */
  #ackTimer;

  /**
   * @param {Environment} environment
   * @param {Names} names
   * @param {Handlers} handlers
   * @param {{send: (message: Message) => void}} session
   */
  constructor(environment, names, handlers, session) {
    this.#environment = environment;
    this.#names = names;
    this.#handlers = handlers;
    this.#session = session;
  }

  /** Outcomes up to this id are known here, for good. */
  get ack() {
    return this.#kept;
  }

  /** The last id that was given. */
  get last() {
    return this.#last;
  }

  /** Whether nothing is left to be decided. */
  get isIdle() {
    return this.#queue.length === 0;
  }

  /** All that the rows do not show yet, in order. @returns {Mutation[]} */
  get pending() {
    return [...this.#confirmed, ...this.#queue].sort((a, b) => a.n - b.n);
  }

  /** What is confirmed, and not shown by all yet. @returns {readonly Mutation[]} */
  get confirmed() {
    return this.#confirmed;
  }

  /** What mentions a row by its name. @param {string} name @returns {readonly Mutation[]} */
  naming(name) {
    return this.#naming.get(name) ?? [];
  }

  /** The creates that the server may have decided. @param {string} modelname @returns {Part[]} */
  undecided(modelname) {
    const begun = this.#queue.filter(({ sent, doubtful }) => sent || doubtful);
    return begun.flatMap(partsOf).filter(({ method, modelname: name }) => method === "create" && name === modelname);
  }

  /**
   * Takes over what was kept, before all that was handed in here.
   * @param {readonly Content[]} contents in order
   * @param {number} last
   * @param {Journal} journal
   */
  restore(contents, last, journal) {
    const mine = this.#queue;
    /** @type {Mutation[]} */
    const restored = contents.map((content) => ({ ...content, doubtful: content.id !== undefined }));
    this.#journal = journal;
    this.#queue = restored.filter(({ seq }) => seq === undefined);
    this.#confirmed = restored.filter(({ seq }) => seq !== undefined);
    this.#n = contents.at(-1)?.n ?? 0;
    this.#last = last;
    this.#kept = this.#acked = this.#known();
    this.#push(mine);
    this.#know(restored, () => {
      for (const { name, row, idName } of restored.flatMap(partsOf)) if (name && row) this.#names.settle(name, row[idName]);
    });
    this.#flush();
  }

  /**
   * Takes mutations over that were never sent, after all others.
   * @param {readonly Mutation[]} mutations
   * @param {boolean} [areShown] they were added already
   */
  adopt(mutations, areShown) {
    this.#push(mutations);
    this.#know(mutations, () => {}, areShown);
    this.#flush();
  }

  /** @param {readonly Mutation[]} mutations @param {() => void} named called when the names in them are known @param {boolean} [areShown] */
  #know(mutations, named, areShown) {
    for (const mutation of mutations) name(mutation, this.#names);
    for (const mutation of mutations) this.#note(mutation);
    named();
    if (!areShown) for (const mutation of mutations) this.#handlers.added(mutation);
  }

  /**
   * The server has answered the hello.
   * @param {Message} welcome
   * @returns {boolean} false if the server remembers less of this client than it once said
   */
  welcome({ last, outcomes, limits }) {
    if (last < this.#known()) return false;
    this.#inFlight = Math.min(IN_FLIGHT, limits?.in_flight ?? IN_FLIGHT);
    this.#messageBytes = limits?.message_bytes ?? Infinity;
    this.#acked = this.#kept;
    for (const mutation of this.#queue) {
      // More was sent than is kept, as after a power cut: what is kept, and comes from an earlier page, was sent under these ids.
      if (mutation.id === undefined && !mutation.resolve && this.#last < last) mutation.id = this.#last += 1;
    }
    // Results that were left out for their size come when they are asked for again.
    const cut = outcomes.filter(lacksResult).map((/** @type {Message} */ { id }) => id);
    for (const outcome of outcomes) if (!cut.includes(outcome.id)) this.decide(outcome);
    for (const mutation of this.#queue.filter(({ id }) => id !== undefined && id <= last && !cut.includes(id))) this.#reject(mutation, unknown());
    this.#last = Math.max(this.#last, last);
    this.#line = {};
    this.#flush();
    return true;
  }

  /** @param {Message} outcome a `confirm` or an `error` */
  decide(outcome) {
    const mutation = this.#queue.find(({ id, name }) => id !== undefined && (outcome.cid && name ? cidOf(name) === outcome.cid : id === outcome.id));
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
      if (outcome.method === "error") this.#reject(mutation, new SyncError(/** @type {any} */ (outcome)));
      else this.#confirm(mutation, outcome);
      this.#ackTimer ??= this.#environment.setTimeout(() => this.#sendAck(), ACK_WITHIN_MS);
    }
    this.#flush();
  }

  /**
   * Ends the mutations that the rows show.
   * @param {(mutation: Mutation) => boolean} isShown
   */
  settle(isShown) {
    if (this.#confirmed.length === 0) return;
    const shown = this.#confirmed.filter(isShown);
    this.#confirmed = this.#confirmed.filter((mutation) => !shown.includes(mutation));
    for (const mutation of shown) {
      this.#journal?.remove(mutation);
      this.#handlers.ended(mutation);
      done(mutation);
    }
    if (shown.length > 0) this.#keep();
  }

  /** What was confirmed in an epoch that is over is shown once its rows are there anew. */
  forgetSeqs() {
    for (const mutation of this.#confirmed) mutation.seq = 0;
  }

  /** The server has told of a row before the confirm of its create. @param {string} name @param {any} row */
  heard(name, row) {
    const mutation = this.#queue.find((mutation) => mutation.name === name || mutation.parts?.some((part) => part.name === name));
    if (!mutation) return;
    for (const part of partsOf(mutation)) if (part.name === name) part.row = row;
    this.#journal?.put(mutation);
  }

  /** The line is lost: whatever is under way on it will be asked for again. */
  lost() {
    this.#line = undefined;
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
    for (const mutation of this.#queue) {
      mutation.id = mutation.wire = mutation.needs = undefined;
      this.#journal?.put(mutation);
    }
    this.#last = this.#kept = this.#acked = 0;
    this.#life += 1;
    for (const mutation of doubtful) this.#end(mutation, unknown());
  }

  /** Nothing will be sent any more. @param {Error} reason */
  close(reason) {
    this.lost();
    for (const mutation of this.#confirmed.splice(0)) done(mutation);
    for (const mutation of this.#queue.splice(0)) failed(mutation, mutation.doubtful ? unknown() : reason);
  }

  #flush() {
    const line = this.#line;
    if (!line || this.#pause !== undefined) return;
    // What was refused for now goes before what follows it: first all that is under way must be answered.
    const first = this.#queue.findIndex(({ sent }) => !sent);
    if (first < 0 || this.#queue.slice(first, this.#inFlight).some(({ sent }) => sent)) return;
    /** @type {Mutation[]} */
    const ready = [];
    for (let index = first; index < Math.min(this.#queue.length, this.#inFlight); index += 1) {
      const mutation = this.#queue[index];
      if (mutation.id === undefined && !this.#number(mutation)) {
        index -= 1;
        continue;
      }
      mutation.sent = true;
      ready.push(mutation);
    }
    if (!this.#journal) return this.#transmit(ready);
    // What is sent must be known under its id to whoever comes after a crash: else it would be sent under another.
    this.#journal.saved().then(() => line === this.#line && this.#transmit(ready));
  }

  /**
   * Fixes under which id and how a mutation is sent.
   * @param {Mutation} mutation
   * @returns {boolean} false if it cannot be sent at all
   */
  #number(mutation) {
    const model = modelOf(mutation);
    const wire = this.#names.wire(model);
    const named = this.#names.unsettled(model);
    // With the longest `ack` that it may ever be sent with.
    const message = { ...this.#message({ ...mutation, id: this.#last + 1, wire }), ack: this.#last };
    if (bytes(JSON.stringify(message)) > this.#messageBytes) {
      // Sent, it would close the line, each time anew. It has taken no id, so it leaves no gap.
      this.#reject(mutation, new SyncError({ code: "too_large", message: `larger than ${this.#messageBytes} bytes` }));
      return false;
    }
    const sent = this.#queue.slice(0, this.#inFlight);
    const create = sent.find((other) => other.id !== undefined && other !== mutation && partsOf(other).some(({ name }) => name && named.has(name)));
    mutation.id = this.#last += 1;
    mutation.wire = wire;
    mutation.needs = create?.id;
    this.#journal?.put(mutation);
    return true;
  }

  /** @param {readonly Mutation[]} mutations */
  #push(mutations) {
    for (const mutation of mutations) {
      this.#n += 1;
      number(mutation, this.#n);
      this.#queue.push(mutation);
      this.#journal?.put(mutation);
    }
  }

  /** @param {Mutation} mutation */
  #note(mutation) {
    for (const name of this.#names.unsettled(modelOf(mutation))) {
      const naming = this.#naming.get(name);
      if (naming) naming.push(mutation);
      else this.#naming.set(name, [mutation]);
    }
  }

  /** @param {Mutation} mutation @returns {Message} */
  #message(mutation) {
    const { id, parts, wire } = mutation;
    const content = parts ? { method: "batch", requests: parts.map((part, index) => request(part, wire[index])) } : request(mutation, wire);
    return { ...content, id, ack: this.#kept };
  }

  /** @param {readonly Mutation[]} mutations */
  #transmit(mutations) {
    for (const mutation of mutations) {
      const message = this.#message(mutation);
      this.#acked = message.ack;
      this.#session.send(message);
    }
  }

  #sendAck() {
    this.#ackTimer = undefined;
    if (this.#acked === this.#kept) return;
    this.#acked = this.#kept;
    this.#session.send({ method: "ack", ack: this.#kept });
  }

  /** Up to which id all outcomes are known, and not needed any more by what is to be decided. */
  #known() {
    let known = this.#last;
    for (const { id, needs } of this.#queue) {
      if (id === undefined) break;
      known = Math.min(known, (needs ?? id) - 1);
    }
    return known;
  }

  /** Once what is known is kept, the server may forget it. */
  #keep() {
    const [known, life] = [this.#known(), this.#life];
    const keep = () => {
      if (life === this.#life) this.#kept = Math.max(this.#kept, known);
    };
    if (this.#journal) this.#journal.saved().then(keep);
    else keep();
  }

  /**
   * @param {Mutation} mutation
   * @param {Message} confirm
   */
  #confirm(mutation, confirm) {
    this.#queue.splice(this.#queue.indexOf(mutation), 1);
    mutation.isDecided = true;
    mutation.seq = confirm.seq;
    partsOf(mutation).forEach((part, index) => {
      const { model, result, row_seq, partial } = mutation.parts ? confirm.results[index] : confirm;
      const id = model?.[part.idName];
      part.isDecided = true;
      part.row = part.action ? result : part.method === "delete" ? undefined : model;
      part.rowSeq = row_seq ?? confirm.seq;
      part.isPartial = partial;
      if (part.name && id !== undefined) this.#names.settle(part.name, id);
    });
    this.#confirmed.push(mutation);
    this.#journal?.put(mutation);
    this.#keep();
    this.#handlers.confirmed(mutation);
    for (const { name } of partsOf(mutation)) if (name) this.#name(name);
  }

  /** What is kept must not mention a row by a name that nobody knows later. @param {string} name */
  #name(name) {
    for (const mutation of this.naming(name)) {
      if (mutation.isDecided) continue;
      for (const part of partsOf(mutation)) {
        part.model = this.#names.shown(part.model);
        part.key = this.#names.shown(part.key);
      }
      this.#journal?.put(mutation);
    }
    this.#naming.delete(name);
  }

  /** @param {Mutation} mutation @param {Error} error */
  #reject(mutation, error) {
    this.#queue.splice(this.#queue.indexOf(mutation), 1);
    this.#end(mutation, error);
    this.#keep();
  }

  /** @param {Mutation} mutation @param {Error} error */
  #end(mutation, error) {
    for (const part of [mutation, ...partsOf(mutation)]) part.isDecided = true;
    this.#journal?.remove(mutation);
    this.#handlers.ended(mutation, error);
    failed(mutation, error);
  }
}

Session.Mutations = Mutations;

/** @param {Message} outcome */
function lacksResult({ results = [], ...outcome }) {
  return [outcome, ...results].some(({ partial, action }) => partial && action);
}

/** @param {Part} part @param {any} wire its model as it is sent @returns {Message} */
function request({ method, modelname, name, action, ifSeq }, wire) {
  return { method, modelname, cid: name && cidOf(name), action, [action ? "args" : "model"]: wire, if_seq: ifSeq };
}

/** @param {Mutation} mutation */
function done({ parts = [], row, resolve }) {
  for (const part of parts) part.resolve?.(part.row);
  resolve?.(parts.length > 0 ? Promise.all(parts.map(({ row }) => row)) : row);
}

/** @param {string} text */
function bytes(text) {
  return new TextEncoder().encode(text).length;
}

function unknown() {
  return new SyncError({ code: "unknown", message: "sent, but whether it was done cannot be known any more" });
}
