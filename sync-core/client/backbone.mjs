/**
 * Backbone models and collections that stay in sync, for modules.
 *
 * ```js
 * import Backbone from "backbone";
 * import { connect } from "sync-core-client";
 * import { synced } from "sync-core-client/backbone";
 *
 * const { syncedModel, syncedCollection } = synced(Backbone, connect());
 * const Todo = syncedModel.extend({}, { modelname: "Todo" });
 * ```
 * Beside a Backbone that is a global, `import { syncedModel, syncedCollection } from "/sync/backbone.mjs"` is enough.
 * @module
 */

import "./backbone.js";
import { connect } from "./sync.js";

/** @type {(Backbone: any, connect: (options?: import("./sync.js").Options) => import("./sync.js").Database<any>) => {syncedModel: any, syncedCollection: any}} */
const make = /** @type {any} */ (globalThis)[Symbol.for("sync.backbone")];

/**
 * The two base classes for a Backbone.
 * @param {any} Backbone
 * @param {import("./sync.js").Database<any>} [database] by default one is connected when it is first needed
 */
export function synced(Backbone, database) {
  return make(Backbone, (options) => database ?? connect(options));
}

const { Backbone, syncedModel: model, syncedCollection: collection } = /** @type {any} */ (globalThis);
const classes = model || !Backbone ? { syncedModel: model, syncedCollection: collection } : synced(Backbone);

/** As the globals of `backbone.js`, where there is a global Backbone; else undefined: see `synced`. */
export const { syncedModel, syncedCollection } = classes;
