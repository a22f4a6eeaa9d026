/**
 * A clock, a socket and surroundings for the client that do only what a test says.
 * @module
 */

// Loaded now, so that no test has to wait for a file.
import "../../sync-core/client/mutations.js";
import "../../sync-core/client/narrow.js";
import "../../sync-core/client/reads.js";
import { connect } from "../../sync-core/client/sync.js";

export class Clock {
  now = 0;
  #last = 0;
  /** @type {Map<number, {at: number, run: () => void}>} */
  timers = new Map();

  setTimeout = (run, milliseconds) => {
    this.#last += 1;
    this.timers.set(this.#last, { at: this.now + milliseconds, run });
    return this.#last;
  };

  clearTimeout = (timer) => {
    this.timers.delete(timer);
  };

  /** @param {number} milliseconds */
  advance(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      const [due] = [...this.timers].filter(([, { at }]) => at <= end).sort(([a, x], [b, y]) => x.at - y.at || a - b);
      if (!due) break;
      const [id, { at, run }] = due;
      this.timers.delete(id);
      this.now = at;
      run();
    }
    this.now = end;
  }
}

/** The client's end of a socket, in the hands of a test. */
export class FakeSocket {
  onopen = (_event) => {};
  onmessage = (_event) => {};
  onclose = (_event) => {};
  closed = false;
  /** @type {any[]} what the client has sent and nobody has taken yet */
  sent = [];

  constructor(url, protocol) {
    this.url = url;
    this.protocol = protocol;
  }

  send(text) {
    if (this.closed) throw new Error("sent on a socket that the client has closed");
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  /** @returns {any[]} */
  take() {
    return this.sent.splice(0);
  }

  open() {
    this.onopen({});
  }

  /** @param {...object} messages of one frame */
  receive(...messages) {
    this.onmessage({ data: JSON.stringify(messages.length === 1 ? messages[0] : messages) });
  }

  cut(code = 1006) {
    this.onclose({ code });
  }
}

export const LIMITS = { message_bytes: 65536, in_flight: 64, subscriptions: 128 };

/** @param {object} [fields] */
export function welcome(fields) {
  return { method: "welcome", epoch: "e1", last: 0, outcomes: [], limits: LIMITS, heartbeat_ms: 25000, ...fields };
}

/**
 * All rows of a model by their id.
 * @param {import("../../sync-core/client/sync.js").Model<any>} model
 * @param {(watched: ReturnType<typeof watch>) => void} [listener]
 */
export function watch(model, listener) {
  const query = model.query();
  const watched = {
    get rows() {
      return new Map(query.rows.map((row) => [row[model.idName], row]));
    },
    get status() {
      return query.status;
    },
    get error() {
      return query.error;
    },
    close: () => query.close(),
  };
  if (listener) query.subscribe(() => listener(watched));
  return watched;
}

/** Lets promises settle. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * A promise's outcome, once there is one.
 * @param {Promise<any>} promise
 */
export function outcome(promise) {
  const seen = { state: "pending", value: undefined, error: undefined };
  promise.then(
    (value) => Object.assign(seen, { state: "done", value }),
    (error) => Object.assign(seen, { state: "rejected", error }),
  );
  return seen;
}

/** A client whose sockets, time and chance are the test's. */
export function client(options) {
  const clock = new Clock();
  /** @type {FakeSocket[]} */
  const sockets = [];
  class Socket extends FakeSocket {
    constructor(url, protocol) {
      super(url, protocol);
      sockets.push(this);
    }
  }
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const random = { value: 0.5 };
  const { setTimeout, clearTimeout } = clock;
  const db = connect({
    url: "http://example.test/sync",
    WebSocket: /** @type {any} */ (Socket),
    setTimeout,
    clearTimeout,
    random: () => random.value,
    window,
    document,
    ...options,
  });
  const todos = db.model("Todo");
  return {
    db,
    todos,
    clock,
    sockets,
    window,
    document,
    random,
    /** The socket that was opened last. */
    get socket() {
      return sockets[sockets.length - 1];
    },
    /** Opens the last socket, takes the hello and answers it. */
    online(fields) {
      this.socket.open();
      const [hello] = this.socket.take();
      this.socket.receive(welcome(fields));
      return hello;
    },
    /** Loses the line and waits until the client has opened another. */
    cut(code) {
      this.socket.cut(code);
      clock.advance(10_000);
    },
    /** A live subscription with these rows, at this seq. */
    live(rows = [], seq = rows.length, listener = undefined) {
      const subscription = watch(todos, listener);
      const { id } = this.socket.take().find(({ method }) => method === "subscribe");
      this.socket.receive(page(id, rows.map((row, index) => [row, index + 1])), live(id, seq));
      return { subscription, id };
    },
  };
}

/** @param {string} id @param {[object, number][]} rows with their seqs */
export function page(id, rows, more = false) {
  return { method: "read", id, modelname: "Todo", models: rows.map(([row]) => row), seqs: rows.map(([, seq]) => seq), more };
}

export function live(id, seq) {
  return { method: "live", id, modelname: "Todo", seq, cursor: `c${seq}` };
}

/** @param {"create" | "update" | "delete" | "remove"} method */
export function change(method, model, seq) {
  return { method, modelname: "Todo", model, seq };
}

export function confirm(id, seq, model) {
  return { method: "confirm", modelname: "Todo", id, model, seq, row_seq: seq };
}

export function error(id, code, fields) {
  return { method: "error", id, request: "create", modelname: "Todo", code, message: code, retry: false, ...fields };
}

/** A seeded generator (mulberry32): the same seed, the same run. */
export function chance(seed) {
  let state = seed >>> 0;
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
  return {
    random,
    below: (limit) => Math.floor(random() * limit),
    pick: (choices) => choices[Math.floor(random() * choices.length)],
  };
}
