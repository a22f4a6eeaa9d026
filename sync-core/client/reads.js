/**
 * Single rows that no query here has: loaded when the first is asked for.
 * @module
 */

import { SyncError } from "./error.js";
import { backoff } from "./line.js";
import { partsOf } from "./parts.js";
import { replay } from "./view.js";

/** @typedef {import("./mutations.js").Message} Message */
/** @typedef {import("./mutations.js").Part} Part */

/**
 * One row as the server has it, with what is not confirmed yet: asked for when there is a line, and again on the next one until there is an
 * answer.
 * @param {import("./hub.js").Hub} hub
 * @param {import("./table.js").Table} table
 * @param {import("./rows.js").Id} id of the row, or the name that stands for it
 * @returns {Promise<any>} undefined if there is none
 */
export async function read(hub, table, id) {
  const { answers, environment, session } = hub;
  const request = hub.request("r");
  const { name, idName, names } = table;
  const ask = () => {
    if (session.status === "online") session.send({ method: "read", id: request, modelname: name, model: names.wire({ [idName]: id }) });
  };
  let end = () => {};
  /** @type {Promise<any>} */
  const answered = new Promise((resolve, reject) => {
    const closed = () => reject(new SyncError({ code: "closed", message: session.reason?.message }));
    end = hub.listen("status", (status) => (status === "closed" ? closed() : ask()));
    answers.set(request, (message) => {
      if (message.method === "read") resolve(message.model);
      else if (message.retry) environment.setTimeout(ask, message.retry_after_ms ?? backoff(0, environment.random));
      else if (message.code === "not_found") resolve(undefined);
      else reject(new SyncError(/** @type {any} */ (message)));
    });
    if (session.status === "closed") closed();
    else ask();
  });
  try {
    const row = await answered;
    const isOfIt = (/** @type {Part} */ { modelname, key, wait, action }) => modelname === name && !wait && !action && table.keyOf(key) === table.keyOf(id);
    return replay(row, session.pending.flatMap(partsOf).filter(isOfIt), names, idName);
  } finally {
    answers.delete(request);
    end();
  }
}
