/**
 * What a browser keeps when a page is gone, and what its pages share: storage, locks and channels. A page can crash at any moment.
 * @module
 */

import { IDBFactory, IDBKeyRange } from "fake-indexeddb";

// Loaded now, so that no page has to wait for a file.
import "../../sync-core/client/storage.js";

globalThis.IDBKeyRange = IDBKeyRange;

/** One browser. */
export class Disk {
  indexedDB = new IDBFactory();
  locks = new Locks();
  /** @type {Set<any>} */
  channels = new Set();

  /** A page in it. @param {{setTimeout: any, clearTimeout: any}} clock */
  tab(clock) {
    return new Tab(this, clock);
  }

  /** What is in a store of the only database, with its keys. @param {string} store @returns {Promise<[any, any][]>} */
  async read(store) {
    const [{ name = "" } = {}] = await this.indexedDB.databases();
    if (!name) return [];
    const database = await done(this.indexedDB.open(name));
    try {
      if (!database.objectStoreNames.contains(store)) return [];
      const all = database.transaction(store).objectStore(store);
      const [keys, values] = await Promise.all([done(all.getAllKeys()), done(all.getAll())]);
      return keys.map((key, index) => [key, values[index]]);
    } finally {
      database.close();
    }
  }
}

/** The surroundings of one page. */
export class Tab {
  isDead = false;
  /** Whatever it writes from now on fails. */
  isFull = false;
  #disk;
  /** @type {Set<IDBTransaction>} */
  #transactions = new Set();
  /** @type {Set<IDBDatabase>} */
  #databases = new Set();

  /** @param {Disk} disk @param {{setTimeout: any, clearTimeout: any}} clock */
  constructor(disk, clock) {
    this.#disk = disk;
    const tab = this;
    this.environment = {
      setTimeout: (run, milliseconds) => clock.setTimeout(() => this.isDead || run(), milliseconds),
      clearTimeout: clock.clearTimeout,
      indexedDB: /** @type {any} */ ({ open: (name, version) => this.#open(name, version) }),
      locks: /** @type {any} */ (disk.locks.of(this)),
      BroadcastChannel: /** @type {any} */ (
        class {
          onmessage = (_event) => {};
          constructor(name) {
            Object.assign(this, { name, tab });
            disk.channels.add(this);
          }
          postMessage(data) {
            for (const other of disk.channels) {
              if (other !== this && other.name === /** @type {any} */ (this).name) queueMicrotask(() => other.tab.isDead || other.onmessage({ data }));
            }
          }
          close() {
            disk.channels.delete(this);
          }
        }
      ),
    };
  }

  /** The page is gone. What it was writing may be written or not, but not in part. @param {boolean} isWritten */
  crash(isWritten) {
    this.isDead = true;
    for (const transaction of this.#transactions) if (!isWritten) transaction.abort();
    for (const database of this.#databases) database.close();
    for (const channel of this.#disk.channels) if (channel.tab === this) this.#disk.channels.delete(channel);
    this.#disk.locks.drop(this);
  }

  #open(name, version) {
    const request = this.#disk.indexedDB.open(name, version);
    request.addEventListener("success", () => {
      const database = request.result;
      this.#databases.add(database);
      const begin = database.transaction.bind(database);
      database.transaction = (...parameters) => {
        if (this.isDead) throw new Error("the page is gone");
        const transaction = begin(...parameters);
        this.#transactions.add(transaction);
        if (this.isFull && transaction.mode === "readwrite") queueMicrotask(() => transaction.abort());
        for (const end of ["complete", "abort"]) transaction.addEventListener(end, () => this.#transactions.delete(transaction));
        return transaction;
      };
    });
    return request;
  }
}

/** Web Locks, exclusive ones. */
class Locks {
  /** @type {Map<string, {tab: Tab, grant: () => void}[]>} the first of each holds it */
  #queues = new Map();

  /** @param {Tab} tab @returns {{request: (name: string, options: any, callback?: any) => Promise<any>}} */
  of(tab) {
    return {
      request: (name, options, callback) => {
        const { ifAvailable = false, signal } = callback ? options : {};
        const run = callback ?? options;
        // The dead ask for nothing.
        if (tab.isDead) return new Promise(() => {});
        const queue = this.#queues.get(name) ?? [];
        this.#queues.set(name, queue);
        if (ifAvailable && queue.length > 0) return Promise.resolve(null).then(run);
        return new Promise((resolve, reject) => {
          let isHeld = false;
          const entry = {
            tab,
            grant: () => {
              isHeld = true;
              Promise.resolve({ name }).then(run).then(resolve, reject).finally(() => this.#remove(name, entry));
            },
          };
          signal?.addEventListener("abort", () => {
            if (isHeld) return;
            this.#remove(name, entry);
            reject(signal.reason);
          });
          queue.push(entry);
          if (queue.length === 1) entry.grant();
        });
      },
    };
  }

  /** @param {Tab} tab that is gone */
  drop(tab) {
    for (const [name, queue] of this.#queues) for (const entry of [...queue]) if (entry.tab === tab) this.#remove(name, entry);
  }

  #remove(name, entry) {
    const queue = this.#queues.get(name) ?? [];
    const place = queue.indexOf(entry);
    if (place < 0) return;
    queue.splice(place, 1);
    if (place === 0) queue[0]?.grant();
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
