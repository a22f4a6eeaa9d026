/**
 * The pages of one origin that share a storage. Each has a *slot* of its own in it, and holds the slot's lock as long as it lives: so a
 * duplicated tab gets another, and what a page leaves that is gone is found by another, or by the next.
 * @module
 */

import { uuid } from "./session.js";

/** @typedef {import("./line.js").Environment} Environment */

/** A page that is being loaded again wants its own slot back: it is left that long. */
const GRACE_MS = 2_000;

export class Tabs {
  #environment;
  #locks;
  #name;
  #channel;
  #aborter = new AbortController();
  /** @type {Promise<void>} */
  #closed;
  /** @type {() => void} */
  #close = () => {};

  /**
   * @param {string} name of the storage
   * @param {Environment} environment
   * @param {LockManager} locks
   */
  constructor(name, environment, locks) {
    this.#environment = environment;
    this.#locks = locks;
    this.#name = name;
    this.#channel = environment.BroadcastChannel && new environment.BroadcastChannel(name);
    this.#closed = new Promise((resolve) => (this.#close = resolve));
  }

  /**
   * Takes a slot that nobody has, else a new one, for as long as the page lives.
   * @param {readonly string[]} slots that there are
   */
  async claim(slots) {
    for (const slot of [...slots, uuid()]) {
      const isMine = await new Promise((resolve, reject) => {
        const hold = (/** @type {Lock | null} */ lock) => (resolve(lock !== null), lock ? this.#closed : undefined);
        this.#locks.request(this.#lock(slot), { ifAvailable: true }, hold).catch(reject);
      });
      if (isMine) return slot;
    }
    throw new Error("no slot could be locked");
  }

  /** Tells the other pages of a slot. @param {string} slot */
  announce(slot) {
    this.#channel?.postMessage(slot);
  }

  /**
   * One of the pages, whichever it is, hears of the slots whose pages are gone.
   * @param {string} own
   * @param {() => Promise<readonly string[]>} slots that there are
   * @param {(slot: string) => Promise<void>} inherit called while the slot is locked for this page
   */
  watch(own, slots, inherit) {
    const { signal } = this.#aborter;
    this.#quietly(
      this.#locks.request(this.#lock("keeper"), { signal }, async () => {
        /** @type {Set<string>} */
        const followed = new Set([own]);
        const follow = (/** @type {string} */ slot) => {
          if (followed.has(slot)) return;
          followed.add(slot);
          this.#quietly(this.#follow(slot, inherit).finally(() => followed.delete(slot)));
        };
        if (this.#channel) this.#channel.onmessage = ({ data }) => follow(data);
        for (const slot of await slots()) follow(slot);
        await this.#closed;
      }),
    );
  }

  /** @param {Promise<void>} [written] its slot is free when this has settled */
  async close(written) {
    this.#aborter.abort();
    this.#channel?.close();
    await written;
    this.#close();
  }

  /** @param {string} slot @param {(slot: string) => Promise<void>} inherit */
  async #follow(slot, inherit) {
    const { signal } = this.#aborter;
    for (let isDone = false; !isDone; ) {
      await this.#locks.request(this.#lock(slot), { signal }, () => {});
      await new Promise((resolve) => this.#environment.setTimeout(() => resolve(undefined), GRACE_MS));
      signal.throwIfAborted();
      isDone = await this.#locks.request(this.#lock(slot), { ifAvailable: true }, async (lock) => {
        if (lock) await inherit(slot);
        return lock !== null;
      });
    }
  }

  /** @param {string} slot */
  #lock(slot) {
    return `${this.#name} ${slot}`;
  }

  /** @param {Promise<unknown>} promise that fails when this is closed */
  #quietly(promise) {
    promise.catch((error) => {
      if (!this.#aborter.signal.aborted) console.error("sync:", error);
    });
  }
}
