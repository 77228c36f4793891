/** What `duologue convert MODEL FOLDER --format onnx` writes beside its graphs: model.json. */

import type { Card } from "../wire/protocol";

export interface Manifest {
  name: string;
  sample_rate: number;
  frame_size: number;
  parts: Record<PartName, Part>;
  /** Of each token: its text, the value of its byte, or null if it stands for no text. */
  tokens: (string | number | null)[];
  card: Card | null;
}

export type PartName = "encode" | "lm" | "decode";
export const PARTS: PartName[] = ["encode", "lm", "decode"];

export interface Part {
  file: string;
  bytes: number;
  sha256: string;
  /** Of a new conversation: every value of a tensor is `value`. */
  state: { type: "float32" | "float64" | "int64" | "bool"; shape: number[]; value: number | boolean }[];
}

/** Where the model lies, beside the page. */
export function modelAddress(page: string, file = "model.json"): string {
  return new URL(`model/${file}`, page).href;
}
