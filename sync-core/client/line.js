/**
 * The line to the server: one WebSocket at a time, opened again whenever it is lost. Knows nothing of what is said on
 * it but the close code for "replaced".
 * @module
 */

/** @typedef {"connecting" | "online" | "offline" | "closed"} Status */

/**
 * What the client takes from its surroundings; tests pass their own.
 * @typedef {object} Environment
 * @property {new (url: string, protocol: string) => WebSocket} WebSocket
 * @property {(run: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random from 0 to 1, like `Math.random`
 * @property {EventTarget} [window] tells `online`
 * @property {EventTarget & {visibilityState: string}} [document] tells `visibilitychange`
 * @property {IDBFactory} [indexedDB]
 * @property {LockManager} [locks]
 * @property {typeof BroadcastChannel} [BroadcastChannel]
 */

/**
 * Where the server is: a function is asked before each connection, and may take its time.
 * @typedef {string | URL | (() => string | URL | Promise<string | URL>)} Address
 */

/**
 * @typedef {object} Handlers
 * @property {(code: string, cause: unknown) => void} failed a function did not give what it was asked for
 * @property {() => void} opened the socket is open: say hello
 * @property {(text: string) => void} received
 * @property {(status: Status) => void} became
 */

const SUBPROTOCOL = "sync.v1";
const REPLACED = 4000;
/** No close frame came. */
const ABNORMAL = 1006;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;
/** How long the line may be silent: this, and once welcomed the server's heartbeat on top. */
const PATIENCE_MS = 10_000;

/**
 * Full jitter: the clients of a server that restarts come back spread over time.
 * @param {number} attempt from 0
 * @param {() => number} random
 * @returns {number} milliseconds
 */
export function backoff(attempt, random) {
  return random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
}

/** @param {string | URL} url @returns {string} for a socket */
export function addressOf(url) {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

export class Line {
  /** @type {Status} */
  status = "connecting";
  #url;
  #environment;
  #handlers;
  /** @type {WebSocket | undefined} */
  #socket;
  /** A function was asked for something that has not come. @type {object | undefined} */
  #asked;
  #attempt = 0;
  #patience = PATIENCE_MS;
  /** A hello on an earlier socket, or of an earlier page, may still be under way. Then the one that replaces this line is this client itself. */
  doubtful = false;
  /** @type {any} */
  #reconnect;
  /** @type {any} */
  #silence;
  /** A line that is cut each time soon after the welcome does not count as a good one. @type {any} */
  #steady;

  /**
   * @param {Address} url
   * @param {Environment} environment
   * @param {Handlers} handlers
   */
  constructor(url, environment, handlers) {
    this.#url = url;
    this.#environment = environment;
    this.#handlers = handlers;
    environment.window?.addEventListener("online", this.#wake);
    environment.document?.addEventListener("visibilitychange", this.#seen);
  }

  open() {
    this.#hangUp();
    this.#patience = PATIENCE_MS;
    this.#listen();
    this.ask("url", this.#url, (url) => this.#connect(url));
    this.#become("connecting");
  }

  /**
   * Uses what is given, at once, or what a function gives, unless the line has gone on meanwhile.
   * @template T
   * @param {string} code says what failed
   * @param {T | (() => T | Promise<T>)} given
   * @param {(value: T) => void} use
   */
  ask(code, given, use) {
    if (typeof given !== "function") return use(given);
    const asked = (this.#asked = {});
    Promise.resolve()
      .then(/** @type {() => T | Promise<T>} */ (given))
      .then((value) => asked === this.#asked && use(value))
      .catch((cause) => {
        if (asked !== this.#asked) return;
        this.#handlers.failed(code, cause);
        this.lost(false);
      });
  }

  /** @param {string | URL} url */
  #connect(url) {
    const socket = new this.#environment.WebSocket(addressOf(url), SUBPROTOCOL);
    this.#socket = socket;
    // A socket that was given up may still have events under way: only the present one is heard.
    socket.onopen = () => {
      if (socket === this.#socket) this.#handlers.opened();
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#listen();
      this.#handlers.received(data);
    };
    socket.onclose = ({ code }) => {
      if (socket !== this.#socket) return;
      if (code === REPLACED && !this.doubtful) this.close();
      else this.lost(code === ABNORMAL);
    };
  }

  /** @param {object} message */
  send(message) {
    this.#socket?.send(JSON.stringify(message));
  }

  /**
   * The server has answered the hello.
   * @param {number} heartbeat how often it speaks at least, in milliseconds
   */
  welcomed(heartbeat) {
    this.#steady = this.#environment.setTimeout(() => (this.#attempt = 0), PATIENCE_MS);
    this.#patience = heartbeat + PATIENCE_MS;
    this.#listen();
    this.#become("online");
  }

  /**
   * Gives the socket up and opens another after a while.
   * @param {boolean} [doubtful] whether the server may not know yet
   */
  lost(doubtful = true) {
    this.doubtful ||= doubtful;
    this.#hangUp();
    this.#reconnect = this.#environment.setTimeout(() => this.open(), backoff(this.#attempt, this.#environment.random));
    this.#attempt += 1;
    this.#become("offline");
  }

  close() {
    this.#hangUp();
    this.#environment.window?.removeEventListener("online", this.#wake);
    this.#environment.document?.removeEventListener("visibilitychange", this.#seen);
    this.#become("closed");
  }

  /** The network is back: no need to wait any longer. */
  #wake = () => {
    if (this.#reconnect !== undefined) this.open();
  };

  /** Someone looks at the page again. */
  #seen = () => {
    if (this.#environment.document?.visibilityState === "visible") this.#wake();
  };

  #listen() {
    this.#environment.clearTimeout(this.#silence);
    this.#silence = this.#environment.setTimeout(() => this.lost(), this.#patience);
  }

  #hangUp() {
    this.#environment.clearTimeout(this.#reconnect);
    this.#reconnect = undefined;
    this.#environment.clearTimeout(this.#silence);
    this.#environment.clearTimeout(this.#steady);
    const socket = this.#socket;
    this.#socket = this.#asked = undefined;
    socket?.close();
  }

  /** @param {Status} status */
  #become(status) {
    if (this.status === status) return;
    this.status = status;
    this.#handlers.became(status);
  }
}
