/**
 * What a mutation consists of: itself, or of a batch several writes.
 * @module
 */

/** @typedef {import("./mutations.js").Mutation} Mutation */
/** @typedef {import("./mutations.js").Part} Part */

/** What a mutation does, one after the other. @param {Mutation} mutation @returns {readonly Part[]} */
export function partsOf(mutation) {
  return mutation.parts ?? [mutation];
}

/** The models in it, as it was handed in. @param {Mutation} mutation */
export function modelOf({ parts, model }) {
  return parts ? parts.map(({ model }) => model) : model;
}

/** The rows that it creates have their names from now on. @param {Mutation} mutation @param {import("./names.js").Names} names */
export function name(mutation, names) {
  for (const { name, key } of partsOf(mutation)) if (name) names.add(name, key === name ? undefined : key);
}

/** @param {Mutation} mutation @param {number} n its place */
export function number(mutation, n) {
  for (const part of [mutation, ...partsOf(mutation)]) part.n = n;
}

/** @param {Mutation} mutation @param {Error} error */
export function failed(mutation, error) {
  for (const { reject } of new Set([mutation, ...partsOf(mutation)])) reject?.(error);
}
