/**
 * React hooks for queries and for the state of the connection.
 *
 * ```jsx
 * import { connect } from "sync-core-client";
 * import { useQuery, useStatus } from "sync-core-client/react";
 *
 * const db = connect();
 * const todos = db.model("Todo");
 *
 * function Todos() {
 *   const { rows, status } = useQuery(todos.query({ where: { completed: false }, order: "title" }));
 *   if (status === "loading") return <p>Loading …</p>;
 *   return <ul>{rows.map((todo) => <Todo key={todos.key(todo)} todo={todo} />)}</ul>;
 * }
 * const Todo = memo(({ todo }) => <li>{todo.title}</li>);
 * ```
 * Writes need no hook: call `todos.create()` and the others where the event is. It takes React 18 or newer; without a bundler the page
 * loads it from `/sync/react.js` and says in an import map where `react` is.
 * @module
 */

import { useCallback, useMemo, useSyncExternalStore } from "react";

/**
 * @template R
 * @typedef {import("./query.js").Query<R>} Query
 */

/** On the server, and while a page of the server's is hydrated. @type {import("./query.js").Snapshot<any>} */
const NOTHING_YET = Object.freeze({ rows: Object.freeze([]), status: "loading", error: undefined });

/**
 * What a query has, now and whenever it changes, while the component is mounted.
 *
 * ```jsx
 * const { rows, status, error } = useQuery(comments.query({ where: { todo: todo.id }, order: "-id", limit: 20 }));
 * ```
 * The query may be made right here, as in the example: options are compared by what is in them, so that another render with equal ones
 * changes nothing. One that was made outside does as well. Either way the component has a query of its own: closing the one that was
 * given does not end it, and nobody needs to, as that one rests until someone subscribes to it. The server goes on sending the rows
 * for a few seconds after the last component has gone.
 *
 * The snapshot is the same object until a row of this query, its being confirmed or the status changes; in the next one
 * rows that did not change are the same objects, so `memo` spares their components. Offline the rows stay, with status `stale`.
 * @template R
 * @param {Query<R>} query
 * @returns {import("./query.js").Snapshot<R>}
 */
export function useQuery(query) {
  // It holds the rows from when it was made, and a render may come to nothing without a word.
  query.rest();
  const { table, options } = query.source;
  const { subscribe, snapshot } = useMemo(() => {
    // Of its pages, if it has any.
    const own = new /** @type {any} */ (query.constructor)(table, options);
    own.rest();
    return { subscribe: (/** @type {() => void} */ changed) => own.subscribe(changed), snapshot: () => own.snapshot };
  }, [table, canonical(options)]);
  return useSyncExternalStore(subscribe, snapshot, () => NOTHING_YET);
}

/**
 * The state of the connection: `connecting`, `online`, `offline` (it tries again), or `closed` for good.
 *
 * ```jsx
 * const status = useStatus(db);
 * return status === "online" ? null : <p role="status">Changes are sent when the connection is back.</p>;
 * ```
 * @param {import("./sync.js").Database<any>} db
 * @returns {import("./sync.js").Status} `connecting` on the server
 */
export function useStatus(db) {
  const subscribe = useCallback((/** @type {() => void} */ changed) => db.onstatus(changed), [db]);
  return useSyncExternalStore(
    subscribe,
    () => db.status,
    () => "connecting",
  );
}

/**
 * How many writes are not confirmed yet; of one row `model.pending(row)` says it.
 *
 * ```jsx
 * const pending = usePending(db);
 * return pending > 0 && <p role="status">{pending} to be saved</p>;
 * ```
 * @param {import("./sync.js").Database<any>} db
 * @returns {number} 0 on the server
 */
export function usePending(db) {
  const subscribe = useCallback((/** @type {() => void} */ changed) => db.onpending(changed), [db]);
  return useSyncExternalStore(
    subscribe,
    () => db.pending,
    () => 0,
  );
}

/** The same text for options that ask for the same, whatever the order of their fields. @param {object} options */
function canonical(options) {
  return JSON.stringify(options, (_name, value) => {
    // What JSON has no numbers for.
    if (typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value))) return { [typeof value]: String(value) };
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
