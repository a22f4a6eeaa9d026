/**
 * The confirmed rows of one model, as one subscription keeps them up to date. Merges by seq and does no I/O.
 * @module
 */

/** @typedef {number | string} Id */
/** @typedef {{[field: string]: any}} Row */
/** @typedef {{method: string, model: Row, seq: number}} Change */
/** @typedef {{seq: number, row: Row | undefined}} Version a deletion is a version without a row */

export class Rows {
  /** @type {Map<Id, Row>} */
  rows = new Map();
  /** @type {"loading" | "live" | "stale"} */
  status = "loading";
  /** Where a later subscription may continue. @type {string | undefined} */
  cursor;
  /** The rows include every change up to this seq, while they are live. */
  reached = 0;
  /** Whether rows or status are others than when this was last set to false. */
  changed = false;
  /** The seq of each row. @type {Map<Id, number>} */
  #seqs = new Map();
  /** Deletions newer than what is surely complete: an older version may still come. @type {Map<Id, number>} */
  #tombstones = new Map();
  /** A change up to this seq is one that is known. */
  #complete = 0;
  /** What arrives until the next `live`, when it is applied at once. @type {Map<Id, Version> | undefined} */
  #waiting;
  /** Whether what waits is all there is: rows that are not in it are gone. */
  #whole = true;
  #idName;

  /** @param {string} [idName] the field that is the rows' id */
  constructor(idName = "id") {
    this.#idName = idName;
  }

  /** A subscription begins, at the cursor where there is one. */
  begin() {
    this.#waiting = new Map();
    this.#whole = this.cursor === undefined;
  }

  /** The line is lost, or the rows are being caught up with. */
  stale() {
    if (this.status === "live") this.#become("stale");
  }

  /** Seqs of another epoch say nothing about these rows: they stay to be seen until all of them are replaced. */
  forget() {
    this.cursor = undefined;
    this.reached = 0;
    this.#complete = 0;
    this.#seqs.clear();
    this.#tombstones.clear();
  }

  /** The cursor cannot be continued: everything is sent anew. */
  reset() {
    this.stale();
    this.#waiting = new Map();
    this.#whole = true;
  }

  /**
   * @param {readonly Row[]} models
   * @param {readonly number[]} seqs
   */
  page(models, seqs) {
    models.forEach((row, index) => this.#wait(row[this.#idName], { seq: seqs[index], row }));
  }

  /** @param {readonly Change[]} changes */
  catchUp(changes) {
    for (const change of changes) this.#wait(change.model[this.#idName], version(change));
  }

  /** @param {Change} change one that just happened */
  change(change) {
    if (this.#waiting) this.#wait(change.model[this.#idName], version(change));
    else if (this.status === "live" && change.seq > this.#complete) {
      this.#apply(change.model[this.#idName], version(change));
      this.reached = Math.max(this.reached, change.seq);
    }
  }

  /**
   * @param {number} seq
   * @param {string} cursor
   */
  live(seq, cursor) {
    const waiting = this.#waiting ?? new Map();
    if (this.#waiting && this.#whole) {
      this.#tombstones.clear();
      for (const [id] of this.rows) if (!waiting.get(id)?.row) this.#drop(id);
      for (const [id, { seq, row }] of waiting) {
        if (!row) this.#tombstones.set(id, seq);
        else if (this.#seqs.get(id) !== seq) this.#put(id, seq, row);
      }
    } else {
      for (const [id, version] of waiting) this.#apply(id, version);
    }
    this.#waiting = undefined;
    this.cursor = cursor;
    this.#become("live");
    this.progress(seq);
  }

  /** @param {number} seq all changes up to it have been received */
  progress(seq) {
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
    if (!this.#waiting) {
      // Not asked for: the server could not keep this client live, and catches it up.
      this.stale();
      this.#waiting = new Map();
      this.#whole = false;
    }
    const other = this.#waiting.get(id);
    if (!other || version.seq > other.seq) this.#waiting.set(id, version);
  }

  /**
   * @param {Id} id
   * @param {Version} version
   */
  #apply(id, { seq, row }) {
    if (seq <= (this.#seqs.get(id) ?? this.#tombstones.get(id) ?? 0)) return;
    if (row) {
      this.#tombstones.delete(id);
      this.#put(id, seq, row);
    } else {
      this.#tombstones.set(id, seq);
      this.#drop(id);
    }
  }

  /**
   * @param {Id} id
   * @param {number} seq
   * @param {Row} row
   */
  #put(id, seq, row) {
    this.rows.set(id, row);
    this.#seqs.set(id, seq);
    this.changed = true;
  }

  /** @param {Id} id */
  #drop(id) {
    this.#seqs.delete(id);
    if (this.rows.delete(id)) this.changed = true;
  }

  /** @param {"live" | "stale"} status */
  #become(status) {
    if (this.status !== status) this.changed = true;
    this.status = status;
  }
}

/**
 * @param {Change} change
 * @returns {Version}
 */
function version({ method, model, seq }) {
  return { seq, row: method === "delete" || method === "remove" ? undefined : model };
}
