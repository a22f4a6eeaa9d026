// What the tests of the React hooks look at. `show` puts one of the parts on the page.

import { StrictMode, Suspense, memo, startTransition, use, useLayoutEffect, useState } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";

import { connect } from "../../../sync-core/client/sync.js";
import { usePending, useQuery, useStatus } from "../../../sync-core/client/react.js";

export const db = connect();
export const todos = db.model("Todo");
/** How often what was rendered. @type {Record<string, number>} */
export const renders = {};
/** Snapshots in the order in which components had them. @type {any[]} */
export const snapshots = [];

/** @param {string} name */
function count(name) {
  renders[name] = (renders[name] ?? 0) + 1;
}

const Row = memo(({ todo, isPending }) => {
  count(todo.title);
  return <li className={isPending ? "pending" : ""}>{todo.title}</li>;
});

/** A list whose query is made inline, as most will do. */
function List({ where, name = "list" }) {
  const snapshot = useQuery(todos.query({ where, order: "id" }));
  const [, again] = useState(0);
  count(name);
  snapshots.push(snapshot);
  return (
    <section className={name} data-status={snapshot.status}>
      <button onClick={() => again((times) => times + 1)}>render</button>
      <ul>
        {snapshot.rows.map((todo) => (
          <Row key={todos.key(todo)} todo={todo} isPending={todos.pending(todo) > 0} />
        ))}
      </ul>
    </section>
  );
}

function Page() {
  return (
    <>
      <p className="status">{useStatus(db)}</p>
      <p className="pending-count">{usePending(db)}</p>
      <List />
    </>
  );
}

function Two() {
  return (
    <>
      <List name="open" where={{ completed: false }} />
      <List name="done" where={{ completed: true }} />
    </>
  );
}

/** The filter comes from a state. */
function Choice() {
  const [completed, choose] = useState(false);
  return (
    <>
      <button className="choose" onClick={() => choose(!completed)}>{String(completed)}</button>
      <List where={{ completed }} />
    </>
  );
}

const never = new Promise(() => {});

/** Renders that come to nothing. */
function Abandoned() {
  const { rows } = useQuery(todos.query());
  count("abandoned");
  use(never);
  return rows.length;
}

/** Where a test puts a query that it has made. */
export const outside = { query: undefined };
function Given() {
  return <p className="given">{useQuery(outside.query).rows.map(({ title }) => title).join()}</p>;
}

// Concurrent rendering: so slow that the rows change while it is under way.

function Slow() {
  const { rows } = useQuery(todos.query());
  const until = performance.now() + 8;
  while (performance.now() < until);
  count("slow");
  return <i>{rows.map(({ title }) => title).join()}</i>;
}

/** What was shown when a transition had ended: each other text of a component. @type {string[][]} */
export const shown = [];
/** @type {() => void} */
export let toggle;

/** None is mounted before, so no component's update makes React begin anew: it has to see by itself that the rows have changed. */
function Transitions() {
  const [count, set] = useState(0);
  toggle = () => startTransition(() => set(12 - count));
  useLayoutEffect(() => {
    shown.push([...new Set([...document.querySelectorAll("i")].map(({ textContent }) => textContent))]);
  }, [count]);
  return Array.from({ length: count }, (_, index) => <Slow key={index} />);
}

const parts = { Page, Two, Choice, Abandoned, Given, Transitions };
/** @type {import("react-dom/client").Root | undefined} */
let root;
/** What React could put right, such as HTML of the server's that does not fit. @type {string[]} */
export const mended = [];

/** @param {keyof typeof parts} name @param {{isStrict?: boolean}} [options] */
export function show(name, { isStrict = true } = {}) {
  const Part = parts[name];
  root = createRoot(document.querySelector("main"));
  const part = <Suspense fallback="waits"><Part /></Suspense>;
  root.render(isStrict ? <StrictMode>{part}</StrictMode> : part);
}

export function hide() {
  root.unmount();
}

/** The page as a server of React's would have made it. */
export const server = <Page />;

export function hydrate() {
  root = hydrateRoot(document.querySelector("main"), server, { onRecoverableError: (error) => mended.push(String(error)) });
}
