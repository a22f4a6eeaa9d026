// The name under which a page finds the client: one module with `sync.js`, whichever of the two is imported.
export * from "./sync.js";
