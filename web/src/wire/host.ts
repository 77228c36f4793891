/** What the page stands on: a server (see package.json, "imports"). */
export { Server } from "../talk/server.svelte";
export { default as LinkWorker } from "./link.worker?worker";
