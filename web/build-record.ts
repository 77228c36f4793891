/**
 * Writes `build.json` beside the built page: a digest of everything it was built from and of every file it consists
 * of, so that a test without node can tell whether the committed page is the one these sources make.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import type { Plugin } from "vite";

const INPUTS = ["index.html", "package.json", "package-lock.json", "svelte.config.js", "tsconfig.json", "vite.config.ts", "build-record.ts", "isolation.ts", "public", "src"];

function files(root: string, path: string): string[] {
  if (!statSync(path).isDirectory()) return [relative(root, path).split(sep).join("/")];
  return readdirSync(path).flatMap((name) => files(root, join(path, name)));
}

function digest(root: string, names: string[]): string {
  const sum = createHash("sha256");
  for (const name of names.toSorted()) {
    const content = createHash("sha256").update(readFileSync(join(root, name))).digest("hex");
    sum.update(`${content}  ${name}\n`);
  }
  return sum.digest("hex");
}

export function buildRecord(): Plugin {
  let outDir = "";
  return {
    name: "build-record",
    apply: "build",
    configResolved: (config) => {
      outDir = join(config.root, config.build.outDir);
    },
    closeBundle: () => {
      const root = import.meta.dirname;
      const inputs = INPUTS.flatMap((name) => files(root, join(root, name))).filter((name) => !name.endsWith(".test.ts"));
      const outputs = files(outDir, outDir).filter((name) => name !== "build.json");
      const record = { inputs: digest(root, inputs), outputs: digest(outDir, outputs) };
      writeFileSync(join(outDir, "build.json"), JSON.stringify(record, null, 2) + "\n");
    },
  };
}
