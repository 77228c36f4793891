/** What the page stands on where there is no server (see package.json, "imports"). */
export { default as LinkWorker } from "./model.worker?worker";
export { Server } from "./server.svelte";
