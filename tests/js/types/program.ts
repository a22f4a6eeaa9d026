// A program on the types of the zoo: each line that is wrong says so.

import { schema } from "./models.js";
import type {
  Animal,
  AnimalInsert2,
  AnimalPatch,
  Celsius,
  CelsiusInsert,
  Diet,
  Models,
  PairOfString,
  Species,
  Tree,
  TreeInsert,
} from "./models.js";

declare const animal: Animal;
declare const draft: AnimalInsert2;

// Rows.
const name: string = animal.name;
const weight: number | null = animal.weight;
const nickname: string | null | undefined = animal.nickname;
const latin: string = animal["scientific-name"];
// @ts-expect-error: it may be null
const heavy: number = animal.weight;
animal.name = "Rex";
// @ts-expect-error: the id is read-only
animal.id = 3;
// @ts-expect-error: it is read_only
animal.born_at = 3;
// @ts-expect-error: it is server_only
animal.price;
// @ts-expect-error: serde skips it
animal.cache;
// @ts-expect-error: its type is not known
animal.foreign.anything;

// Drafts.
draft.tame = undefined;
draft.weight = null;
const whole: AnimalInsert2 = { ...draft, name: "Rex", chip: "18446744073709551615" };
// @ts-expect-error: the server gives the id
const withId: AnimalInsert2 = { ...draft, id: 1 };
// @ts-expect-error: it is read_only
const withReadOnly: AnimalInsert2 = { ...draft, born_at: 1 };
// @ts-expect-error: whole numbers that are too large travel as strings
const withNumber: AnimalInsert2 = { ...draft, chip: 7 };
// @ts-expect-error: nothing of it is there
const empty: AnimalInsert2 = {};

// Patches.
const nothing: AnimalPatch = {};
const patch: AnimalPatch = { name: "Rex", weight: null };
// @ts-expect-error: it has no such field
const misspelt: AnimalPatch = { nmae: "Rex" };
// @ts-expect-error: the id never changes
const withKey: AnimalPatch = { id: 1 };

// Types of fields.
const dog: Species = "the dog";
// @ts-expect-error: it is called otherwise in JSON
const wrongDog: Species = "Dog";
// @ts-expect-error: serde skips it
const secret: Species = "Secret";
function heads(species: Species): number {
  return typeof species === "object" && "Dragon" in species ? species.Dragon.heads : 1;
}
function plant(diet: Diet): string | null {
  switch (diet.kind) {
    case "only_plants":
      return diet.favouritePlant;
    case "prey":
      // @ts-expect-error: that is another variant's
      return diet.favouritePlant;
    case "x":
      return String(diet.SO_WHAT);
    default:
      return diet.kind satisfies "eats_all";
  }
}
const pair: PairOfString = { left: "l", right: "r" };
// @ts-expect-error: of the other instance
const numbers: PairOfString = { left: 1, right: 2 };
const tree: TreeInsert = { label: "root", children: [{ label: "leaf", children: [] }] };
// @ts-expect-error: in what the server sends it is always there
const seen: Tree = { label: "root", children: [] };
const warm: Celsius = 20.5;
const sent: CelsiusInsert = "20.5";

// The map of the models, as a client uses it.
function create<Name extends keyof Models>(name: Name, row: Models[Name]["insert"]): Models[Name]["row"] | undefined {
  return name && row ? undefined : undefined;
}
function where<Name extends keyof Models>(name: Name, field: Models[Name]["indexed"]): string {
  return name + field;
}
const visit: Models["Visit"]["row"] | undefined = create("Visit", {});
create("Models", { other: { height: 1 }, tree });
// @ts-expect-error: there is no such model
create("Visits", {});
// @ts-expect-error: the tree is another one
create("Models", { other: tree, tree });
where("Animal", "born_at");
// @ts-expect-error: it has no index
where("Animal", "name");
// @ts-expect-error: clients do not see it
where("Animal", "price");
const key: Models["Models"]["id"] = "key";

const mine: string | undefined = schema["Animal"];
// @ts-expect-error: it is what the server says
schema["Animal"] = "";
