/** The text of a conversation, to be copied and saved: plain, as JSON, and as WebVTT subtitles of its recording. */
import type { Entry } from "./captions";

export interface Turn {
  who: "user" | "agent";
  /** Seconds of the conversation. */
  start: number;
  end: number;
  text: string;
  interrupted: boolean;
}

export const FORMATS = ["txt", "json", "vtt"] as const;
export type Format = (typeof FORMATS)[number];
export const MEDIA_TYPES: Record<Format, string> = { txt: "text/plain", json: "application/json", vtt: "text/vtt" };

const SHORTEST_S = 0.5; // a subtitle must be readable

/** What was said in words; what was only heard to be said has none. */
export function turnsOf(entries: Entry[]): Turn[] {
  return entries.flatMap((entry): Turn[] => {
    if (entry.type === "note" || !entry.text.trim()) return [];
    const start = round(entry.time);
    const text = entry.text.trim();
    if (entry.type === "agent") return [{ who: "agent", start, end: round(Math.max(entry.end, entry.time)), text, interrupted: entry.cut }];
    return [{ who: "user", start, end: round(entry.time + entry.seconds), text, interrupted: false }];
  });
}

export function written(format: Format, turns: Turn[], model: string, began: Date): string {
  switch (format) {
    case "txt":
      return turns.map(({ who, start, text }) => `[${clock(start)}] ${name(who, model)}: ${text}\n`).join("");
    case "json":
      return JSON.stringify({ model, began: began.toISOString(), turns }, null, 2) + "\n";
    case "vtt":
      return "WEBVTT\n" + turns.map((turn) => cue(turn, model)).join("");
  }
}

function cue({ who, start, end, text }: Turn, model: string): string {
  return `\n${stamp(start)} --> ${stamp(Math.max(end, start + SHORTEST_S))}\n<v ${escaped(name(who, model))}>${escaped(text)}\n`;
}

function name(who: Turn["who"], model: string): string {
  return who === "user" ? "You" : model;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", " ");
}

function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${two(Math.floor(seconds % 60))}`;
}

function stamp(seconds: number): string {
  const ms = Math.round(1000 * seconds);
  return `${two(Math.floor(ms / 3_600_000))}:${two(Math.floor(ms / 60_000) % 60)}:${two(Math.floor(ms / 1000) % 60)}.${String(ms % 1000).padStart(3, "0")}`;
}

function two(n: number): string {
  return String(n).padStart(2, "0");
}

function round(seconds: number): number {
  return Math.round(100 * seconds) / 100;
}
