// The page of the React example: what is for lunch?

import { StrictMode, memo, useState } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "sync-core-client";
import { usePending, useQuery, useStatus } from "sync-core-client/react";

// By `cargo run -p react-poll -- typescript > examples/react/page/models.d.ts`.
import type { Dish, Models, Vote } from "./models.js";

const db = connect<Models>({ storage: "indexeddb" });
const votes = db.model("Vote");
const me: string = (localStorage.me ??= crypto.randomUUID());

const DISHES: Record<Dish, string> = { curry: "Curry", pizza: "Pizza", ramen: "Ramen", salad: "Salad" };

function Poll() {
  const [name, setName] = useState<string>(localStorage.name ?? "");
  const { rows, status } = useQuery(votes.query());
  const mine = rows.find(({ id }) => id === me);

  function rename(name: string) {
    setName(name);
    localStorage.name = name;
    if (mine && name.trim()) votes.patch({ id: me, name });
  }

  function choose(dish: Dish) {
    if (!mine) votes.create({ id: me, name: name.trim() || "Somebody", dish });
    else if (mine.dish === dish) votes.delete(me);
    else votes.patch({ id: me, dish });
  }

  return (
    <>
      <header>
        <h1>What’s for lunch?</h1>
        <Status />
      </header>
      <label>
        Your name <input value={name} maxLength={40} placeholder="Somebody" onChange={({ target }) => rename(target.value)} />
      </label>
      {status === "loading" ? (
        <p>Loading …</p>
      ) : (
        <ul className="dishes">
          {(Object.keys(DISHES) as Dish[]).map((dish) => (
            <li key={dish}>
              <button className="dish" aria-pressed={mine?.dish === dish} onClick={() => choose(dish)}>
                {DISHES[dish]}
              </button>
              <Voters dish={dish} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** A query for each dish, made where it is used: a vote for another dish does not render this one again. */
const Voters = memo(({ dish }: { dish: Dish }) => {
  const { rows } = useQuery(votes.query({ where: { dish } }));
  return (
    <>
      <ul className="voters">
        {rows.map((vote) => (
          <Voter key={vote.id} vote={vote} isPending={votes.pending(vote) > 0} />
        ))}
      </ul>
      <output>{rows.length}</output>
    </>
  );
});

/** A row that did not change is the same object, so `memo` is all it takes to render only those that did. */
const Voter = memo(({ vote, isPending }: { vote: Vote; isPending: boolean }) => (
  <li className={isPending ? "pending" : undefined}>{vote.name}</li>
));

function Status() {
  const status = useStatus(db);
  const pending = usePending(db);
  const text = status === "online" ? "Live" : pending > 0 ? "Offline: your vote is sent later" : "Connecting …";
  return (
    <p role="status" data-status={status}>
      {text}
    </p>
  );
}

createRoot(document.querySelector("main")!).render(
  <StrictMode>
    <Poll />
  </StrictMode>,
);
