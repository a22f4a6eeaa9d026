/**
 * A line between browsers and a server that fails in the ways that lines do.
 * @module
 */

import { once } from "node:events";
import { connect, createServer } from "node:net";

/**
 * `open`: bytes go through. `stalled`: none do, and nobody is told. `deaf`: those to the server do, its answers do not.
 * `cut`: connections are reset, and new ones too.
 * @typedef {"open" | "stalled" | "deaf" | "cut"} State
 */

/**
 * @typedef {object} Line
 * @property {import("node:net").Socket} client
 * @property {import("node:net").Socket} server
 * @property {(() => void)[]} up what waits to go to the server
 * @property {(() => void)[]} down what waits to come from it
 */

export class Proxy {
  /** Of WebSockets; all that is plain HTTP goes through, so that pages can be loaded. @type {State} */
  state = "open";
  port = 0;
  /** How many WebSockets were opened through it. */
  opened = 0;
  #target;
  /** @type {Set<Line>} */
  #lines = new Set();
  /** Of browsers, whatever they are for: one that is kept for later would keep the proxy from its end. @type {Set<import("node:net").Socket>} */
  #clients = new Set();
  #listener = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));

  /** @param {() => number} target port */
  constructor(target) {
    this.#target = target;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  async start() {
    this.#listener.listen(0, "127.0.0.1");
    await once(this.#listener, "listening");
    this.port = /** @type {import("node:net").AddressInfo} */ (this.#listener.address()).port;
  }

  /** @param {State} state */
  set(state) {
    this.state = state;
    for (const line of this.#lines) {
      if (state === "cut") this.#drop(line);
      if (state !== "stalled") for (const pass of line.up.splice(0)) pass();
      if (state === "open") for (const pass of line.down.splice(0)) pass();
    }
  }

  /** The server is told that the browsers have no more to say; the browsers are told nothing. */
  halfClose() {
    for (const { server } of this.#lines) server.end();
  }

  async stop() {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const line of this.#lines) this.#drop(line);
    for (const client of this.#clients) client.destroy();
    await closed;
  }

  /** @param {import("node:net").Socket} client */
  #accept(client) {
    this.#clients.add(client);
    client.on("close", () => this.#clients.delete(client));
    client.on("error", () => {});
    client.once("data", (head) => {
      const isSocket = /^GET \/sync /.test(head.toString("latin1"));
      if (isSocket && this.state === "cut") return void client.resetAndDestroy();
      const server = connect(this.#target(), "127.0.0.1");
      /** @type {Line} */
      const line = { client, server, up: [], down: [] };
      const up = (step) => (isSocket && this.state === "stalled" ? line.up.push(step) : step());
      const down = (step) => (isSocket && this.state !== "open" ? line.down.push(step) : step());
      server.on("error", () => this.#drop(line));
      client.on("error", () => this.#drop(line));
      if (isSocket) {
        this.opened += 1;
        this.#lines.add(line);
      }
      up(() => server.write(head));
      client.on("data", (bytes) => up(() => server.write(bytes)));
      server.on("data", (bytes) => down(() => client.write(bytes)));
      client.on("end", () => up(() => server.end()));
      server.on("end", () => down(() => client.end()));
      client.on("close", () => this.#drop(line));
    });
  }

  /** @param {Line} line */
  #drop(line) {
    this.#lines.delete(line);
    line.up.length = line.down.length = 0;
    // One that is being closed in good order cannot be reset: Node then never lets go of it, not even when it exits.
    if (line.client.writableEnded) line.client.destroy();
    else if (!line.client.destroyed) line.client.resetAndDestroy();
    line.server.destroy();
  }
}
