/** Puts `src/alone/isolation.worker.js` beside the page: a service worker reaches no further than its own folder. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

export function isolation(): Plugin {
  return {
    name: "isolation",
    apply: "build",
    generateBundle() {
      const source = readFileSync(join(import.meta.dirname, "src/alone/isolation.worker.js"), "utf8");
      this.emitFile({ type: "asset", fileName: "isolation.js", source });
    },
  };
}
