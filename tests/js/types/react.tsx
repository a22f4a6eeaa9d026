// A page on the types of the zoo with the client and its React hooks: each line that is wrong says so.

import { memo } from "react";
import { connect } from "sync-core-client";
import type { Query } from "sync-core-client";
import { usePending, useQuery, useStatus } from "sync-core-client/react";
import type { Animal, Models } from "./models.js";

const db = connect<Models>();
const animals = db.model("Animal");

export function Animals({ query }: { query: Query<Animal> }) {
  const { rows, status, error } = useQuery(query);
  const inline = useQuery(animals.query({ where: { id: { gt: 3 } }, order: "-id", limit: 10 }));
  const same: readonly Readonly<Animal>[] = inline.rows;
  // @ts-expect-error: of another model
  const trees: readonly Readonly<Models["Models"]["row"]>[] = inline.rows;
  // @ts-expect-error: it has no index
  useQuery(animals.query({ where: { name: "Rex" } }));
  // @ts-expect-error: a query, not a model
  useQuery(animals);
  // @ts-expect-error: there is no such field
  rows[0]?.nmae;
  // @ts-expect-error: what is shown cannot be changed
  rows[0].name = "Rex";
  // @ts-expect-error: nor can the list
  rows.push(rows[0]);
  // @ts-expect-error: it is `loading`, `live` or `stale`
  if (status === "online") return null;
  if (error?.code === "forbidden") return <p>{error.message}</p>;
  return (
    <ul title={String([same, trees].length)}>
      {rows.map((animal) => (
        <Row key={animal.id} animal={animal} />
      ))}
    </ul>
  );
}

const Row = memo(({ animal }: { animal: Readonly<Animal> }) => {
  const name: string = animal.name;
  return <li>{name}</li>;
});

export function State() {
  const status: "connecting" | "online" | "offline" | "closed" = useStatus(db);
  const pending: number = usePending(db);
  // @ts-expect-error: there is no such status
  if (status === "live") return null;
  // @ts-expect-error: a database, not a model
  useStatus(animals);
  return <p title={status}>{pending}</p>;
}

// Actions: by name, with their arguments and result.
interface Zoo {
  Animal: Models["Animal"] & { actions: { feed_all: { args: { diet: string }; result: number }; count: { args: {}; result: string } } };
  Visit: Models["Visit"];
}
const zoo = connect<Zoo>();
export const fed: Promise<number> = zoo.model("Animal").action("feed_all", { diet: "hay" });
export const counted: Promise<string> = zoo.model("Animal").action("count");
// @ts-expect-error: it takes a text
zoo.model("Animal").action("feed_all", { diet: 1 });
// @ts-expect-error: it takes arguments
zoo.model("Animal").action("feed_all");
// @ts-expect-error: there is no such action
zoo.model("Animal").action("free_all");
// @ts-expect-error: it has none
zoo.model("Visit").action("count");
