/**
 * The confirmed rows of one subscription, as it keeps them up to date. Merges by seq and does no I/O.
 * @module
 */

/** @typedef {number | string} Id */
/** @typedef {{[field: string]: any}} Row */
/** @typedef {{method: string, model: Row, seq: number, cid?: string}} Change */
/** @typedef {{seq: number, row: Row | undefined, cid?: string}} Version a deletion is a version without a row */
/** @typedef {{row: Row, seq: number, cid?: string}} StoredRow */
/** @typedef {{rows: readonly StoredRow[], cursor?: string, reached: number, epoch?: string}} Stored */

export class Rows {
  /** @type {Map<Id, Row>} */
  rows = new Map();
  /** @type {"loading" | "live" | "stale"} */
  status = "loading";
  /** Where a later subscription may continue. @type {string | undefined} */
  cursor;
  /** The rows include every change up to this seq, while they are live. */
  reached = -1;
  /** At this seq all rows were replaced, which tells nothing of rows that had come and gone meanwhile. */
  replaced = -1;
  /** The order that the seqs belong to. @type {string | undefined} */
  epoch;
  /** Whether a row is one of these. Without it they are a window, of which only the server knows. @type {((row: Row) => boolean) | undefined} */
  holds;
  /** The seq of each row. @type {Map<Id, number>} */
  #seqs = new Map();
  /** What rows were created under, where that was heard: a page that comes later may not know yet that such a row is its own. @type {Map<Id, string>} */
  #cids = new Map();
  /** Deletions newer than what is surely complete: an older version may still come. @type {Map<Id, number>} */
  #tombstones = new Map();
  /** A change up to this seq is one that is known. */
  #complete = 0;
  /** What arrives until the next `show`, when it is applied at once. @type {Map<Id, Version> | undefined} */
  #waiting;
  /** Whether what waits is all there is: rows that are not in it are gone. */
  #whole = true;
  /** The last change of the frame that is being read. */
  #heard = -1;
  /** What waits is complete: it includes every change up to `seq`. @type {{seq: number, cursor: string | undefined} | undefined} */
  #ready;
  #idName;
  #touched;

  /**
   * @param {string} idName the field that is the rows' id
   * @param {(id?: Id) => void} touched called for each row of which a version is applied; without an id: the status has changed
   */
  constructor(idName, touched) {
    this.#idName = idName;
    this.#touched = touched;
  }

  /** Rows that were kept from an earlier time. @param {Stored} stored */
  restore({ rows, cursor, reached, epoch }) {
    for (const stored of rows) this.#put(stored.row[this.#idName], stored.seq, stored.row, stored.cid);
    Object.assign(this, { cursor, reached, epoch });
    this.#complete = reached;
    this.#become("stale");
  }

  /** What is to be kept of a row, if it is there. @param {Id} id @returns {StoredRow | undefined} */
  stored(id) {
    const row = this.rows.get(id);
    return row && { row, seq: this.#seqs.get(id) ?? 0, cid: this.#cids.get(id) };
  }

  /** The seq of the last change of a row that is there. @param {Id} id */
  seqOf(id) {
    return this.#seqs.get(id);
  }

  /** A subscription begins, at the cursor where there is one of this epoch. @param {string} [epoch] */
  begin(epoch) {
    if (epoch !== this.epoch) this.#forget();
    this.epoch = epoch;
    this.#ready = undefined;
    this.#gather(this.cursor === undefined);
  }

  /** The line is lost, or the rows are being caught up with. */
  stale() {
    this.#ready = undefined;
    this.#heard = -1;
    if (this.status === "live") this.#become("stale");
  }

  /** Seqs of another epoch say nothing about these rows: they stay to be seen until all of them are replaced. */
  #forget() {
    this.cursor = undefined;
    this.reached = -1;
    this.#complete = 0;
    this.#seqs.clear();
    this.#tombstones.clear();
  }

  /** The cursor cannot be continued: everything is sent anew. */
  reset() {
    this.stale();
    this.#gather(true);
  }

  /**
   * @param {readonly Row[]} models
   * @param {readonly number[]} seqs
   */
  page(models, seqs) {
    this.#ready = undefined;
    models.forEach((row, index) => this.#wait(row[this.#idName], { seq: seqs[index], row }));
  }

  /** @param {readonly Change[]} changes */
  catchUp(changes) {
    this.#ready = undefined;
    for (const change of changes) this.#wait(change.model[this.#idName], version(change));
  }

  /** What comes waits until it is complete. @param {boolean} whole it is all there is */
  #gather(whole) {
    this.#whole = whole;
    return (this.#waiting = new Map());
  }

  /** @param {Change} change one that just happened, of any row of the model: whether it is one of these is to be judged */
  change(change) {
    if (!this.holds || change.seq <= this.#complete) return;
    const changed = version(change);
    if (changed.row && !this.holds(changed.row)) changed.row = undefined;
    // Before that, what others are told of as it happens says nothing here: all up to there comes for this subscription itself.
    if (this.#ready) {
      this.#wait(change.model[this.#idName], changed);
      this.#ready.seq = Math.max(this.#ready.seq, change.seq);
    } else if (this.status === "live") this.#apply(change.model[this.#idName], changed);
    this.#hear(change.seq);
  }

  /**
   * What has become of a window: each message is what it says, after the one before it.
   * @param {{in: readonly Row[], seqs: readonly number[], cids?: readonly (string | undefined)[], out: readonly Id[], seq: number}} message
   */
  window({ in: models, seqs, cids, out, seq }) {
    if (this.#waiting) {
      for (const id of out) this.#waiting.delete(id);
      models.forEach((row, index) => this.#waiting?.set(row[this.#idName], { seq: seqs[index], row }));
      if (this.#ready) this.#ready.seq = Math.max(this.#ready.seq, seq);
    } else if (this.status === "live") {
      for (const id of out) this.#drop(id);
      models.forEach((row, index) => this.#put(row[this.#idName], seqs[index], row, cids?.[index]));
    }
    this.#hear(seq);
  }

  /** All that happened up to a seq has been received when this frame has. @param {number} seq */
  #hear(seq) {
    if (this.status === "live" && !this.#waiting) this.#heard = Math.max(this.#heard, seq);
  }

  /**
   * Whether these rows tell already what the server has done to a row: it tells that before it confirms it, to those who have the row.
   * @param {Id} id
   * @param {Row | undefined} row undefined: it is gone, or cannot be seen
   * @param {number} seq of the row
   */
  tells(id, row, seq) {
    if (this.status !== "live" || this.#waiting) return false;
    const had = this.#seqs.get(id);
    return row && (this.holds ? this.holds(row) : had !== undefined) ? had !== undefined && had >= seq : had === undefined;
  }

  /**
   * All has come, and changes follow as they happen.
   * @param {number} seq
   * @param {string} [cursor]
   */
  live(seq, cursor) {
    this.#ready = { seq, cursor };
    if (!this.#waiting) this.#gather(false);
  }

  /** A frame has been read: applies what has come. */
  show() {
    this.reached = Math.max(this.reached, this.#heard);
    if (!this.#ready || !this.#waiting) return;
    const { seq, cursor } = this.#ready;
    const waiting = this.#waiting;
    if (this.#whole) {
      this.replaced = seq;
      this.#tombstones.clear();
      for (const [id] of this.rows) if (!waiting.get(id)?.row) this.#drop(id);
      for (const [id, { seq, row, cid }] of waiting) {
        if (!row) this.#bury(id, seq);
        else if (this.#seqs.get(id) !== seq) this.#put(id, seq, row, cid);
      }
    } else {
      for (const [id, version] of waiting) this.#apply(id, version);
    }
    this.#waiting = this.#ready = undefined;
    this.cursor = cursor;
    this.#become("live");
    this.progress(seq);
  }

  /** @param {number} seq all changes up to it have been received */
  progress(seq) {
    if (this.#ready) this.#ready.seq = Math.max(this.#ready.seq, seq);
    if (this.status !== "live") return;
    this.reached = Math.max(this.reached, seq);
    this.#complete = Math.max(this.#complete, seq);
    for (const [id, deleted] of this.#tombstones) if (deleted <= seq) this.#tombstones.delete(id);
  }

  /**
   * @param {Id} id
   * @param {Version} version
   */
  #wait(id, version) {
    let waiting = this.#waiting;
    if (!waiting) {
      // Not asked for: the server could not keep this client live, and catches it up.
      this.stale();
      waiting = this.#gather(false);
    }
    const other = waiting.get(id);
    if (!other || version.seq > other.seq) waiting.set(id, version);
  }

  /**
   * @param {Id} id
   * @param {Version} version
   */
  #apply(id, { seq, row, cid }) {
    if (seq <= (this.#seqs.get(id) ?? this.#tombstones.get(id) ?? 0)) return;
    if (row) {
      this.#tombstones.delete(id);
      this.#put(id, seq, row, cid);
    } else {
      this.#bury(id, seq);
    }
  }

  /**
   * @param {Id} id
   * @param {number} seq
   * @param {Row} row
   * @param {string} [cid]
   */
  #put(id, seq, row, cid) {
    this.rows.set(id, row);
    if (cid) this.#cids.set(id, cid);
    this.#seqs.set(id, seq);
    this.#touched(id);
  }

  /** @param {Id} id @param {number} seq */
  #bury(id, seq) {
    this.#tombstones.set(id, seq);
    this.#drop(id);
  }

  /** @param {Id} id */
  #drop(id) {
    this.#seqs.delete(id);
    this.#cids.delete(id);
    this.rows.delete(id);
    this.#touched(id);
  }

  /** @param {"live" | "stale"} status */
  #become(status) {
    if (this.status === status) return;
    this.status = status;
    this.#touched();
  }
}

/**
 * That a row is not to be seen any more may be about another subscription: this one's own word of the same change counts for more.
 * @param {Change} change
 * @returns {Version}
 */
function version({ method, model, seq, cid }) {
  const isRemoved = method === "remove";
  return { seq: isRemoved ? seq - 0.5 : seq, row: isRemoved || method === "delete" ? undefined : model, cid };
}
