/**
 * @module
 */

/**
 * A write or a query that did not come about.
 *
 * ```js
 * try {
 *   await todos.create({ title: "" });
 * } catch (error) {
 *   if (error.code === "invalid") show(error.fields.get("title")); // "must not be empty"
 * }
 * ```
 */
export class SyncError extends Error {
  /** @param {{code: string, message?: string, fields?: Record<string, string>, current?: any, index?: number}} error */
  constructor({ code, message, fields, current, index }) {
    super(message ?? code);
    this.name = "SyncError";
    /**
     * The server's, as the protocol lists them; or the client's own: `unknown` (it was sent, and whether it was done
     * cannot be known any more), `closed` (it was never sent), `too_large` (nor could it be), `replaced` (another
     * connection speaks for this client), `url` and `token` (the function that was to give one failed, or what it gave is none: `cause` is
     * what it threw).
     */
    this.code = code;
    /** What is wrong with which field. @type {ReadonlyMap<string, string>} */
    this.fields = new Map(Object.entries(fields ?? {}));
    /** The row as it is, for a `conflict`. */
    this.current = current;
    /** Which request of a batch was refused, from 0. */
    this.index = index;
  }
}
