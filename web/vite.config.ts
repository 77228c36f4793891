import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { buildRecord } from "./build-record.ts";

export default defineConfig({
  base: "./", // the page may live below any prefix
  plugins: [svelte(), buildRecord()],
  worker: { format: "es" },
  build: {
    outDir: "../duologue/serve/static",
    emptyOutDir: true,
    target: ["chrome109", "firefox115", "safari16.4"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/api": { target: "http://localhost:8998", ws: true } } },
  test: { include: ["src/**/*.test.ts"], testTimeout: 30_000 },
});
