import { expect, it } from "vitest";
import { Captions } from "./captions";
import { turnsOf, written } from "./transcript";

function conversation() {
  const captions = new Captions();
  captions.wrote(" What is", 61.5);
  captions.wrote(" <this>?", 61.5);
  captions.you(61.5, 1.25);
  captions.push(" A", 0);
  captions.push(" test & more", 10);
  captions.heard(0, 63, true);
  captions.heard(10, 64.2, true);
  captions.cut(64);
  captions.note(65, "Reconnected.");
  captions.you(70, 2); // of which no word was written down
  return turnsOf(captions.entries);
}

const began = new Date("2026-01-02T03:04:05Z");

it("holds the turns that have words, with their times", () => {
  expect(conversation()).toEqual([
    { who: "user", start: 61.5, end: 62.75, text: "What is <this>?", interrupted: false },
    { who: "agent", start: 63, end: 64.2, text: "A test & more", interrupted: true },
  ]);
});

it("is written as text", () => {
  expect(written("txt", conversation(), "nano", began)).toBe("[1:01] You: What is <this>?\n[1:03] nano: A test & more\n");
});

it("is written as JSON", () => {
  const read = JSON.parse(written("json", conversation(), "nano", began));
  expect(read).toEqual({ model: "nano", began: "2026-01-02T03:04:05.000Z", turns: conversation() });
});

it("is written as subtitles, escaped and long enough to be read", () => {
  expect(written("vtt", conversation(), "nano", began)).toBe(
    "WEBVTT\n\n00:01:01.500 --> 00:01:02.750\n<v You>What is &lt;this&gt;?\n\n" +
      "00:01:03.000 --> 00:01:04.200\n<v nano>A test &amp; more\n",
  );
  const short = [{ who: "agent" as const, start: 3600, end: 3600, text: "Hm.", interrupted: false }];
  expect(written("vtt", short, "nano", began)).toContain("01:00:00.000 --> 01:00:00.500");
});
