import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
import { buildRecord } from "./build-record.ts";
import { isolation } from "./isolation.ts";

// "site": the page without a server, which runs the model itself.
export default defineConfig(({ mode }) => ({
  base: "./", // the page may live below any prefix
  plugins: [svelte(), mode === "site" ? isolation() : buildRecord()],
  resolve: { conditions: [...(mode === "site" ? ["site"] : []), "onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    outDir: mode === "site" ? "site" : "../duologue/serve/static",
    emptyOutDir: true,
    target: ["chrome109", "firefox115", "safari16.4"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/api": { target: "http://localhost:8998", ws: true } } },
  test: { include: ["src/**/*.test.ts"], testTimeout: 30_000 },
}));
