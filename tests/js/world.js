/**
 * Clients, a server and a bad network, in any order that a seed gives.
 * @module
 */

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";

import { cidOf } from "../../sync-core/client/names.js";
import { pages } from "../../sync-core/client/pages.js";
import { connect } from "../../sync-core/client/sync.js";
import { comparison, predicate } from "../../sync-core/client/where.js";
import { Disk } from "./disk.js";
import { Server } from "./server.js";
import { chance, Clock, settled } from "./support.js";

/** What people ask for, of a server that may filter by some of it, by all, or by nothing. */
const ASKED = [
  { where: { completed: false }, order: "title" },
  { where: { completed: { eq: true } } },
  { where: { and: [{ title: { gte: "1" } }, { completed: { ne: true } }] }, order: ["-title"], limit: 3 },
  { where: { completed: { ne: true } }, order: "-id", limit: 2 },
  { order: ["title"], limit: 4 },
  { where: { parent: { ne: null } }, limit: 3 },
  { where: { completed: false, parent: null }, order: ["completed", "-id"], limit: 3 },
  { order: "-id", limit: 2, isPaged: true },
  { where: { completed: false }, order: "title", limit: 1, isPaged: true },
];

/** One socket between a client and the server, with what is under way in both directions. */
class Wire {
  onopen = (_event) => {};
  onmessage = (_event) => {};
  onclose = (_event) => {};
  state = "connecting";
  /** Neither end hears the other any more, and neither knows. */
  silent = false;
  up = [];
  down = [];
  /** @type {import("./server.js").Connection | undefined} */
  connection;

  /** @param {World} world @param {Person} owner @param {import("./disk.js").Tab} [tab] */
  constructor(world, owner, tab) {
    this.world = world;
    this.owner = owner;
    this.tab = tab;
    if (tab?.isDead) this.state = "closed";
    else world.wires.push(this);
  }

  send(frame) {
    if (!this.silent && !this.tab?.isDead) this.up.push(frame);
  }

  /** By the client. The server learns of it when the line is quiet, or when it is replaced. */
  close() {
    this.state = "closed";
    this.down.length = 0;
  }

  open() {
    this.state = "open";
    this.connection = this.world.server.connect({
      send: (messages) => {
        if (!this.silent && this.state === "open") this.down.push(messages);
      },
      close: (code) => {
        if (!this.silent && this.state === "open") this.down.push(code);
      },
    });
    this.onopen({});
  }

  deliverUp() {
    const frame = this.up.shift();
    if (frame !== undefined) this.connection?.receive(frame);
  }

  deliverDown() {
    const frame = this.down.shift();
    if (typeof frame === "number") {
      this.state = "closed";
      this.onclose({ code: frame });
    } else if (frame !== undefined) {
      if (frame[0].method === "welcome") this.owner.epoch = this.world.server.epoch;
      this.onmessage({ data: JSON.stringify(frame.length === 1 ? frame[0] : frame) });
    }
  }

  /** Its page is gone. What it has sent may still arrive. */
  abandon() {
    this.onopen = this.onmessage = this.onclose = () => {};
    this.close();
  }

  /** Both ends are told; what was under way is lost. */
  cut() {
    this.up.length = this.down.length = 0;
    this.connection?.close();
    if (this.state === "closed") return;
    this.state = "closed";
    this.onclose({ code: 1006 });
  }
}

export class World {
  clock = new Clock();
  /** @type {Wire[]} */
  wires = [];
  /** What the server's rows were at each seq of each epoch, by key. @type {Map<string, Map<any, any>>} */
  history = new Map();
  /** What each row was created under. @type {Map<number, string>} */
  cids = new Map();
  /** How often each title was written. @type {Map<string, number>} */
  written = new Map();
  faults = true;

  /**
   * @param {number} seed
   * @param {{forgetful?: boolean, stored?: boolean, shared?: boolean, filtered?: boolean}} options `filtered`: the server filters and orders; `forgetful`: clients and epochs are forgotten too; `stored`: pages
   *   crash, and others go on from what they have kept; `shared`: those others may be pages that were there already
   */
  constructor(seed, { forgetful = false, stored = false, shared = false, filtered = false }) {
    this.filtered = filtered;
    this.chance = chance(seed);
    this.forgetful = forgetful;
    this.stored = stored;
    this.shared = shared;
    const { below } = this.chance;
    this.server = new Server({
      pageSize: 1 + below(3),
      indexed: filtered ? [[], ["completed"], ["completed", "title"], ["title", "completed", "parent"]][seed % 4] : undefined,
      isLate: () => this.faults && below(3) === 0,
      fail: () => {
        if (!this.faults || below(12) > 0) return undefined;
        return this.chance.pick([
          { code: "unavailable", message: "" },
          { code: "limit", message: "", limit: "in_flight", retry_after_ms: below(300) },
        ]);
      },
      committed: (changes, by) => {
        const owner = this.wires.find(({ connection }) => connection && connection === by)?.owner;
        for (const { change } of changes) if (change.cid) this.cids.set(change.model.id, this.nameOf(change.cid));
        for (const { change, method } of changes) {
          const { model, seq } = change;
          if (change.method !== "delete") this.written.set(model.title, (this.written.get(model.title) ?? 0) + 1);
          if (owner && method !== "action") this.committed(owner, method, this.key(model.id), model.title, { epoch: this.server.epoch, seq });
        }
        this.remember();
      },
    });
    this.remember();
    /** @type {Person[]} */
    this.people = [];
    for (const index of [0, 1, 2]) this.people.push(new Person(this, index));
  }

  /** What the one who creates under a cid calls the row: only they know all of it. @param {string} cid */
  nameOf(cid) {
    const writes = this.people.flatMap(({ together }) => together).flatMap(({ writes }) => writes);
    return writes.find(({ key }) => typeof key === "string" && cidOf(key) === cid)?.key ?? cid;
  }

  /**
   * A write of someone is committed.
   * @param {Person} owner of the connection, at least
   */
  committed(owner, method, key, title, commit) {
    const isIt = (write) => !write.commit && write.method === method && write.key === key && (method === "delete" || write.title === title);
    const write = owner.together.flatMap(({ writes }) => writes).find(isIt);
    assert.ok(write, `a ${method} that nobody asked for, or that was done twice`);
    assert.notEqual(write.outcome, "lost", "what was sent is kept");
    write.commit = commit;
    write.isUnsure = this.server.isUnsure;
  }

  /** What a row is called whether it has its id or not. */
  key(id) {
    return this.cids.get(id) ?? id;
  }

  /** A row without what depends on how far its ids are known. */
  plain({ id, parent, ...row }) {
    return { ...row, parent: this.key(parent) };
  }

  remember() {
    const { epoch, seq, rows } = this.server;
    this.history.set(`${epoch}:${seq}`, new Map([...rows].map(([id, { row }]) => [this.key(id), this.plain(row)])));
  }

  /** @returns {Promise<void> | void} */
  act() {
    const { pick, below } = this.chance;
    const wire = pick(this.wires.filter(({ state, up }) => state !== "closed" || up.length > 0));
    const person = pick(this.people);
    const dice = below(100);
    if (person.isGone) {
      if (dice < 8) person.start();
    } else if (dice < 2) person.more();
    else if (dice < 4) person.writeSeveral();
    else if (dice < 22) person.write();
    else if (dice < 42) wire?.state === "connecting" ? wire.open() : wire?.deliverUp();
    else if (dice < 65) wire?.deliverDown();
    else if (dice < 78) wire?.connection?.step(1 + below(4));
    else if (dice < 84) this.clock.advance(below(2000));
    else if (dice < 87) this.otherWriter();
    else if (dice < 89) wire?.connection?.lag();
    else if (dice < 91) wire?.connection?.progress();
    else if (dice < 94) wire?.cut();
    else if (dice < 95 && wire) wire.silent = true;
    else if (dice < 96) this.clock.advance(20_000);
    else if (dice < 97) person.look();
    else if (dice < 98) return this.stored ? person.crash() : person.look();
    else if (dice < 99) this.server.horizon = Math.max(this.server.horizon, this.server.seq - below(6));
    else if (this.forgetful) this.forget();
  }

  /** Someone who is not connected. */
  otherWriter() {
    const { pick } = this.chance;
    const id = pick([...this.server.rows.keys(), undefined]);
    const title = `other ${this.server.epoch}:${String(this.server.seq).padStart(5, "0")}`;
    if (id === undefined) this.server.write({ method: "create", modelname: "Todo", model: { title }, cid: undefined });
    else if (this.chance.below(2)) this.server.write({ method: "delete", modelname: "Todo", model: { id }, cid: undefined });
    else this.server.write({ method: "patch", modelname: "Todo", model: { id, title }, cid: undefined });
    this.server.flush();
  }

  forget() {
    if (this.chance.below(2)) {
      const [uuid, client] = this.chance.pick([...this.server.clients, [undefined, undefined]]);
      client?.connection?.close(1001);
      if (uuid) this.server.clients.delete(uuid);
    } else {
      this.server.renew();
      this.remember();
    }
  }

  /** No more faults: everything that is under way arrives. */
  async calm() {
    this.faults = false;
    // Of those who share a storage one is enough.
    for (const person of this.people) if (person.together.every(({ isGone }) => isGone)) person.start();
    for (const wire of this.wires) if (wire.silent) wire.cut();
    for (let round = 0; round < 400; round += 1) {
      for (const wire of [...this.wires]) {
        if (wire.state === "connecting") wire.open();
        while (wire.up.length > 0) wire.deliverUp();
        if (wire.state === "closed") wire.connection?.close();
        if (wire.state === "open") wire.connection?.step();
        while (wire.down.length > 0) wire.deliverDown();
      }
      this.clock.advance(500);
      if (round % 40 === 0) for (const wire of this.wires) if (wire.state === "open") wire.connection?.progress();
      // A transaction takes a few turns.
      for (let turn = 0; turn < (this.stored ? 8 : 1); turn += 1) await settled();
      const isUnderWay = this.wires.some(({ up, down }) => up.length > 0 || down.length > 0);
      if (round > 45 && !isUnderWay && this.people.every((person) => person.isGone || person.quiet) && (await this.#isAllDone())) return;
    }
    assert.fail(`not quiet in 200 s: ${JSON.stringify(this.people.map(({ db, query }) => [db.pending, db.status, query.status]))}`);
  }

  /** Whether nothing is left to be sent by another page than the one that it was done on. */
  async #isAllDone() {
    for (const { disk } of this.people) if (disk && (await disk.read("mutations")).length > 0) return false;
    return true;
  }
}

export class Person {
  /** Of the last welcome. */
  epoch = 0;
  /** The last moment that was shown. */
  shown = { epoch: 0, seq: 0 };
  /** Of rows whose creation was forgotten: what was written to them meanwhile never finds them, even if they exist. @type {Set<any>} */
  lostNames = new Set();
  /**
   * @type {{title: string, method: string, key: any, via: any, fields: object, outcome: string, teller: any, isSeveral?: boolean, isUnsure?: boolean, commit?: {epoch: number, seq: number}}[]}
   */
  writes = [];
  /** @type {import("../../sync-core/client/sync.js").Query<any>} */
  query;

  constructor(world, index) {
    this.world = world;
    this.index = index;
    if (world.stored) this.disk = (world.shared && world.people[0]?.disk) || new Disk();
    this.start();
  }

  /** Those who share a storage. */
  get together() {
    return this.world.people.filter((other) => other === this || (this.disk && other.disk === this.disk));
  }

  /** Opens a page. */
  start() {
    this.isGone = false;
    const { world } = this;
    const person = this;
    const tab = (this.tab = this.disk?.tab(world.clock));
    class Socket extends Wire {
      constructor() {
        super(world, person, tab);
      }
    }
    const { setTimeout, clearTimeout } = world.clock;
    const { random } = world.chance;
    const WebSocket = /** @type {any} */ (Socket);
    const environment = tab ? { storage: /** @type {const} */ ("indexeddb"), ...tab.environment } : { setTimeout, clearTimeout };
    this.db = connect({ url: "http://example.test/sync", WebSocket, random, ...environment });
    // Told before the listeners of the rows: from then on it is not to be seen.
    this.db.onrejected(({ method, model, error }) => {
      if (method === "batch") {
        const keys = model.map(({ title }) => title);
        const writes = this.together.flatMap(({ writes }) => writes).filter((write) => write.isSeveral && write.outcome === "pending" && keys.includes(write.title));
        assert.equal(writes.length, keys.length, "all of what is rejected was written, and ends once");
        for (const write of writes) {
          Object.assign(write, { outcome: error.code, teller: tab });
          if (write.method === "create" && error.code === "unknown") this.lostNames.add(write.key);
        }
        return;
      }
      const isIt = (write) => write.outcome === "pending" && write.method === method && (method === "delete" || write.title === model.title);
      const writes = this.together.flatMap(({ writes }) => writes);
      const write = writes.find((write) => isIt(write) && (method === "create" || write.key === world.key(model.id)));
      assert.ok(write, "what is rejected was written, and ends once");
      if (error.code === "not_found" && !world.forgetful) {
        const { parent } = /** @type {any} */ (write.fields);
        const isNamed = parent === undefined || [...world.cids.values()].includes(parent) || !writes.some(({ key }) => key === parent);
        const isThere = method === "create" || [...world.server.rows.keys()].some((id) => world.key(id) === write.key);
        assert.ok(!isThere || !isNamed, `${method} ${write.title}: there is such a row`);
      }
      write.outcome = error.code;
      write.teller = tab;
      if (method === "create" && error.code === "unknown") this.lostNames.add(write.key);
    });
    this.todos = this.db.model("Todo");
    this.look();
  }

  /** The page is gone, and the next one opened. */
  async crash() {
    const { world, tab, disk } = this;
    if (!tab || !disk) return;
    tab.crash(world.chance.below(2) === 0);
    for (const wire of world.wires) if (wire.tab === tab) wire.abandon();
    for (let turn = 0; turn < 20; turn += 1) await settled();
    const kept = (await disk.read("mutations")).flatMap(([, content]) => content.parts ?? [content]);
    // Only what was done at the very last may be lost, and nothing that was sent.
    let wasLost = false;
    const isKept = (write) =>
      kept.some(({ method, key, model }) => method === write.method && world.key(key) === write.key && (method === "delete" || model.title === write.title));
    // The page may have heard of it, and have had no time to note it: the next one hears of it again.
    for (const write of this.together.flatMap(({ writes }) => writes)) if (write.teller === tab && isKept(write)) write.outcome = "pending";
    for (const write of this.writes) {
      if (write.outcome !== "pending") continue;
      if (isKept(write) || write.commit) assert.ok(!wasLost, `${write.title} is kept, but what was before it is not`);
      else [wasLost, write.outcome] = [true, "lost"];
    }
    this.shown = { epoch: 0, seq: 0 };
    if (world.shared) this.isGone = true;
    else this.start();
  }

  get quiet() {
    const queries = [this.query, this.few, ...this.asked.map(({ query }) => query)];
    return this.db.pending === 0 && this.db.status === "online" && queries.every(({ status }) => status === "live");
  }

  /** Opens the query, or closes it and opens another. */
  look() {
    const { world } = this;
    const { below } = world.chance;
    const old = this.query;
    if (below(2)) old?.close();
    const { tab } = this;
    const isFiltered = world.filtered && below(2) === 0;
    this.query = this.todos.query(isFiltered ? { where: { id: { ne: 0 } } } : {});
    // What was asked for a while ago is shown as it was then, until it is live again.
    if (world.filtered) Object.assign(this, { shown: { epoch: 0, seq: 0 }, isFresh: false });
    this.query.subscribe(() => tab?.isDead || this.tried(() => this.see()));
    old?.close();
    this.few?.close();
    this.few = this.todos.query({ where: { title: { gte: "1" }, not: { completed: true } }, order: ["-title"], limit: 3 });
    this.few.subscribe(() => tab?.isDead || this.tried(() => this.seeFew()));
    for (const { query } of this.asked.splice(0)) query.close();
    for (let count = below(4); count > 0; count -= 1) {
      const options = world.chance.pick(ASKED);
      const query = this.todos.query(options);
      const asked = { options, query: "isPaged" in options ? pages(query) : query, shown: { epoch: 0, seq: 0 }, isFresh: false };
      this.asked.push(asked);
      asked.query.subscribe(() => tab?.isDead || this.tried(() => this.seeAsked(asked)));
    }
  }

  /** What else it looks at. @type {{options: any, query: any, shown: {epoch: number, seq: number}, isFresh: boolean}[]} */
  asked = [];

  /** Another page of a list that has pages. */
  more() {
    for (const { options, query } of this.asked) {
      if (options.isPaged && query.status === "live") query.more(1 + this.world.chance.below(3)).catch((error) => assert.equal(error.code, "closed"));
    }
  }

  /** What can be said of a query at any time. */
  seeAsked(asked) {
    const { options, query } = asked;
    const { rows, status, error } = query;
    assert.equal(error, undefined);
    if (status === "loading") return;
    const holds = predicate(options.where);
    const keys = rows.map(({ id }) => this.world.key(id));
    if (!this.world.shared) assert.equal(new Set(keys).size, keys.length, "no row twice");
    for (const row of rows) assert.ok(holds(row), "a row that does not belong here");
    if (!options.isPaged && options.limit) assert.ok(rows.length <= options.limit, "more than were asked for");
    const compare = comparison(options.order, (a, b) => (typeof a.id === "number" && typeof b.id === "number" ? a.id - b.id : 0));
    rows.forEach((row, index) => assert.ok(index === 0 || compare(rows[index - 1], row) <= 0, "in order"));
    asked.isFresh ||= status === "live";
    if (!asked.isFresh || options.limit || this.world.shared || this.writes.some(({ outcome }) => outcome === "pending")) return;
    const now = new Map(rows.map((row) => [this.world.key(row.id), this.world.plain(row)]));
    for (const [at, then] of this.world.history) {
      const [epoch, seq] = at.split(":").map(Number);
      const isLater = epoch === asked.shown.epoch ? seq >= asked.shown.seq : epoch > asked.shown.epoch && epoch <= this.epoch;
      if (!isLater || !isDeepStrictEqual(new Map([...this.replay(then, epoch, seq)].filter(([, row]) => holds(row))), now)) continue;
      asked.shown = { epoch, seq };
      return;
    }
    assert.fail(`${JSON.stringify(options)} shows what never was, or was before ${JSON.stringify(asked.shown)}: ${JSON.stringify([...now])}`);
  }

  /** Once all is quiet: each query has what a plain evaluation of the server's rows has. */
  check() {
    const all = [...this.world.server.rows.values()].map(({ row }) => row);
    const evaluated = ({ where, order }) => {
      const compare = comparison(order, (a, b) => a.id - b.id);
      return all.filter(predicate(where)).sort(compare);
    };
    for (const { options, query } of [{ options: this.few.source.options, query: this.few }, ...this.asked]) {
      const expected = evaluated(options);
      const { rows } = query;
      const count = options.isPaged ? rows.length : Math.min(options.limit ?? Infinity, expected.length);
      assert.deepEqual(rows, expected.slice(0, count), `${JSON.stringify(options)} has what there is`);
      if (!options.isPaged) continue;
      assert.ok(rows.length >= Math.min(options.limit, expected.length), "at least a page");
      if (!query.hasMore) assert.equal(rows.length, expected.length, "all there is");
    }
  }

  isGone = false;
  isFresh = true;

  /** What is wrong in a listener is told by the run. */
  tried(look) {
    try {
      look();
    } catch (error) {
      this.world.fault ??= error;
    }
  }

  see() {
    const { rows, status } = this.query;
    this.isFresh ||= status === "live";
    if (status === "loading" || !this.isFresh) return;
    const { history } = this.world;
    const now = new Map(rows.map((row) => [this.world.key(row.id), this.world.plain(row)]));
    // What another page has left may or may not be shown here. And it may have stored a row of which this page, started anew, does not know yet
    // that it is the one that it creates.
    const writes = this.together.flatMap(({ writes }) => writes);
    const isUnsure = (row) => status === "stale" && typeof row.id === "string" && writes.some(({ key, commit }) => key === row.id && commit);
    const unsure = this.world.shared ? rows.filter(isUnsure) : [];
    assert.ok(now.size >= rows.length - unsure.length, "no row twice");
    if (this.world.shared) return;
    for (const row of rows) if (typeof row.id === "string") assert.ok(this.todos.pending(row) > 0, "a row without an id is pending");
    for (const [at, then] of history) {
      const [epoch, seq] = at.split(":").map(Number);
      const isLater = epoch === this.shown.epoch ? seq >= this.shown.seq : epoch > this.shown.epoch && epoch <= this.epoch;
      if (!isLater || ![true, false].some((isHeard) => isDeepStrictEqual(this.replay(then, epoch, seq, isHeard), now))) continue;
      this.shown = { epoch, seq };
      return;
    }
    assert.fail(`shows what never was, or was before ${JSON.stringify(this.shown)}: ${JSON.stringify([...now])}`);
  }

  /** A narrower query shows at any time what it should of the same rows. */
  seeFew() {
    if (this.few.status === "loading" || this.world.filtered) return;
    const expected = this.query.rows.filter(({ title, completed }) => title >= "1" && !completed);
    expected.sort((a, b) => (a.title < b.title ? 1 : a.title > b.title ? -1 : 0));
    assert.deepEqual(this.few.rows.map(({ title }) => title), expected.slice(0, 3).map(({ title }) => title));
  }

  /** The server's rows at a moment with those writes on top that are neither in them nor rejected. */
  replay(then, epoch, seq, isHeard = true) {
    const rows = new Map(then);
    for (const { method, key, via, fields, outcome, commit, isUnsure } of this.writes) {
      if (outcome !== "pending" && outcome !== "done") continue;
      if (this.lostNames.has(via)) continue;
      // Of what was done, and answered otherwise, the page does not know it yet.
      if (commit && !(isUnsure && outcome === "pending" && !isHeard) && (commit.epoch < epoch || (commit.epoch === epoch && commit.seq <= seq))) continue;
      if (method === "delete") rows.delete(key);
      else if (method === "create") rows.set(key, fields);
      else if (rows.has(key)) rows.set(key, { ...rows.get(key), ...fields });
    }
    return rows;
  }

  /** Two rows at once, one of which may name the other. */
  writeSeveral() {
    const { pick, below } = this.world.chance;
    const row = pick(this.query.rows);
    const number = (count) => `${this.index}/${String(this.writes.length + count).padStart(4, "0")}`;
    const titles = [number(0), below(6) ? number(1) : " ".repeat(3 * this.writes.length + this.index)];
    const write = (method, key, via, title, fields) =>
      this.writes.push({ title, method, key, via, fields, outcome: "pending", commit: undefined, teller: undefined, isSeveral: true });
    const first = this.writes.length;
    const promise = this.db.batch(() => {
      const { row: mine } = this.todos.create({ title: titles[0] });
      write("create", mine.id, undefined, titles[0], { parent: undefined, title: titles[0] });
      if (row) {
        const completed = below(2) === 0;
        this.todos.patch({ id: row.id, title: titles[1], completed });
        write("patch", this.world.key(row.id), row.id, titles[1], { title: titles[1], completed });
      } else {
        const { row: other } = this.todos.create({ title: titles[1], parent: mine.id });
        write("create", other.id, undefined, titles[1], { title: titles[1], parent: mine.id });
      }
    });
    const writes = this.writes.slice(first);
    promise.then(
      (rows) => {
        for (const [index, write] of writes.entries()) {
          assert.equal(write.outcome, "pending", "settles once");
          Object.assign(write, { outcome: "done", teller: this.tab });
          assert.equal(rows[index].title, write.title);
        }
      },
      ({ code }) => {
        for (const write of writes) assert.equal(write.outcome, code, "settles once, and together");
      },
    );
    if (below(2)) this.see();
  }

  write() {
    const { pick, below } = this.world.chance;
    const row = pick([...this.query.rows, undefined, undefined]);
    const parent = below(4) ? undefined : pick([undefined, ...this.query.rows])?.id;
    const title = below(10) ? `${this.index}/${String(this.writes.length).padStart(4, "0")}` : " ".repeat(3 * this.writes.length + this.index);
    // Of two deletions of one row nobody could say which it was that was committed.
    const isDeleted = this.together.flatMap(({ writes }) => writes).some((write) => write.method === "delete" && write.key === this.world.key(row?.id));
    const method = row === undefined ? "create" : pick(["update", "patch", "patch", isDeleted ? "patch" : "delete"]);
    const write = { title, method, key: row && this.world.key(row.id), via: row?.id, fields: {}, outcome: "pending", commit: undefined, teller: undefined };
    this.writes.push(write);
    const sent = method === "update" ? { title, completed: true } : parent === undefined ? { title } : { title, parent };
    write.fields = { ...sent, ...(parent !== undefined && "parent" in sent ? { parent: this.world.key(parent) } : {}) };
    const id = row?.id;
    const promise =
      method === "create" ? this.todos.create(sent)
      : method === "delete" ? this.todos.delete(id)
      : method === "patch" ? this.todos.patch({ id, ...sent })
      : this.todos.update({ id, ...sent });
    if (method === "create") {
      write.key = promise.row.id;
      write.fields = { completed: undefined, ...write.fields };
      delete write.fields.completed;
      write.fields = { parent: undefined, ...write.fields };
    }
    promise.then(
      (row) => {
        assert.equal(write.outcome, "pending", "settles once");
        Object.assign(write, { outcome: "done", teller: this.tab });
        if (method === "delete") assert.equal(row, undefined);
        else assert.equal(row.title, title);
      },
      ({ code }) => assert.equal(write.outcome, code, "settles once"),
    );
    if (below(2)) this.see();
  }
}
