/**
 * Single rows that no query here has: loaded when the first is asked for.
 * @module
 */

import { SyncError } from "./error.js";
import { backoff } from "./line.js";

/** @typedef {import("./mutations.js").Message} Message */

/**
 * @typedef {object} Host
 * @property {import("./line.js").Environment} environment
 * @property {(message: object) => void} send
 * @property {() => string} status
 * @property {() => SyncError | undefined} reason
 * @property {(listener: (status: string) => void) => () => void} onstatus
 * @property {Map<unknown, (message: Message) => void>} answers who hears what is said to a request
 */

/**
 * One row as the server has it: asked for when there is a line, and again on the next one until there is an answer.
 * @param {Host} host
 * @param {string} id of the request
 * @param {string} modelname
 * @param {() => any} model with the row's id, as it is known by then
 * @returns {Promise<any>} undefined if there is none
 */
export async function read({ environment, send, status, reason, onstatus, answers }, id, modelname, model) {
  const ask = () => {
    if (status() === "online") send({ method: "read", id, modelname, model: model() });
  };
  let end = () => {};
  try {
    return await new Promise((resolve, reject) => {
      const closed = () => reject(new SyncError({ code: "closed", message: reason()?.message }));
      end = onstatus((status) => (status === "closed" ? closed() : ask()));
      answers.set(id, (message) => {
        if (message.method === "read") resolve(message.model);
        else if (message.retry) environment.setTimeout(ask, message.retry_after_ms ?? backoff(0, environment.random));
        else if (message.code === "not_found") resolve(undefined);
        else reject(new SyncError(/** @type {any} */ (message)));
      });
      if (status() === "closed") closed();
      else ask();
    });
  } finally {
    answers.delete(id);
    end();
  }
}
