import { expect, it } from "vitest";
import { Captions } from "./captions";

const texts = (captions: Captions) =>
  captions.entries.map((entry) => (entry.type === "you" ? `you ${entry.seconds}${entry.text && `: ${entry.text}`}` : entry.text));

it("shows a piece when its sound is heard, not before", () => {
  const captions = new Captions();
  captions.push(" Good", 1920);
  captions.push(" day", 5760);
  expect(captions.heard(1900, 0.1, true)).toBe(false);
  expect(captions.heard(1920, 0.2, true)).toBe(true);
  expect(texts(captions)).toEqual(["Good"]);
  captions.heard(6000, 0.3, true);
  expect(texts(captions)).toEqual(["Good day"]);
});

it("begins a new turn after a pause", () => {
  const captions = new Captions();
  captions.push(" One", 0);
  captions.heard(0, 0, true);
  captions.heard(0, 3, true);
  captions.push(" two", 10);
  captions.heard(10, 3.1, true);
  expect(texts(captions)).toEqual(["One", "two"]);
});

it("puts your turn before the answer that began meanwhile", () => {
  const captions = new Captions();
  captions.push(" Yes", 0);
  captions.heard(0, 2.4, true);
  captions.you(1, 1.2);
  expect(texts(captions)).toEqual(["you 1.2", "Yes"]);
});

it("joins your turns that nothing separates", () => {
  const captions = new Captions();
  captions.you(1, 1);
  captions.you(3, 2);
  expect(texts(captions)).toEqual(["you 3"]);
});

it("shows what you say as it is written down, also when the answer has begun", () => {
  const captions = new Captions();
  captions.wrote(" What", 1);
  captions.push(" Fo", 0);
  captions.push("ur", 10);
  captions.heard(0, 2.4, true);
  captions.wrote(" now", 1);
  captions.wrote("?", 1);
  captions.heard(10, 2.5, true);
  captions.you(1, 1.2);
  expect(texts(captions)).toEqual(["you 1.2: What now?", "Four"]);
});

it("puts words that come after the answer began before it", () => {
  const captions = new Captions();
  captions.push(" Yes", 0);
  captions.heard(0, 2.4, true);
  captions.wrote(" Really", 1);
  expect(texts(captions)).toEqual(["you 0: Really", "Yes"]);
});

it("keeps what both say at once apart, and one turn of the agent open at most", () => {
  const captions = new Captions();
  captions.push(" One", 0);
  captions.push(" two", 10);
  captions.heard(0, 0, true);
  captions.wrote(" uh", 0.5);
  captions.heard(10, 1, true);
  captions.wrote("huh", 0.5);
  expect(texts(captions)).toEqual(["One", "you 0: uhhuh", "two"]);
  expect(captions.entries.map((entry) => entry.type === "agent" && entry.open)).toEqual([false, false, true]);
});

it("does not go on with what you said before the connection was lost", () => {
  const captions = new Captions();
  captions.wrote(" One", 1);
  captions.note(2, "Reconnected.");
  captions.newStream();
  captions.wrote(" two", 1);
  expect(texts(captions)).toEqual(["you 0: One", "Reconnected.", "you 0: two"]);
});

it("ends a turn where it was cut off", () => {
  const captions = new Captions();
  captions.push(" One thing", 0);
  captions.heard(0, 0, true);
  captions.cut(0.5);
  captions.push(" So", 10);
  captions.heard(10, 0.9, true);
  expect(texts(captions)).toEqual(["One thing", "So"]);
  expect(captions.entries[0]).toMatchObject({ cut: true, open: false });
});

it("drops what a lost connection never let sound", () => {
  const captions = new Captions();
  captions.push(" never", 99999);
  captions.newStream();
  captions.note(4, "Reconnected.");
  captions.heard(200000, 5, true);
  expect(texts(captions)).toEqual(["Reconnected."]);
});

it("shows words with the voice that says them, and none that are never said", () => {
  const captions = new Captions();
  captions.push(" Stray", 0);
  expect(captions.heard(0, 1, false)).toBe(false);
  expect(captions.heard(10, 2.5, false)).toBe(false);
  captions.push(" Said", 20);
  captions.heard(20, 3, false);
  expect(captions.heard(30, 3.2, true)).toBe(true);
  expect(texts(captions)).toEqual(["Said"]);
});
