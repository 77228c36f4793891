import { expect, it } from "vitest";
import { Captions } from "./captions";

const texts = (captions: Captions) =>
  captions.entries.map((entry) => (entry.type === "you" ? `you ${entry.seconds}` : entry.text));

it("shows a piece when its sound is heard, not before", () => {
  const captions = new Captions();
  captions.push(" Good", 1920);
  captions.push(" day", 5760);
  expect(captions.heard(1900, 0.1)).toBe(false);
  expect(captions.heard(1920, 0.2)).toBe(true);
  expect(texts(captions)).toEqual(["Good"]);
  captions.heard(6000, 0.3);
  expect(texts(captions)).toEqual(["Good day"]);
});

it("begins a new turn after a pause", () => {
  const captions = new Captions();
  captions.push(" One", 0);
  captions.heard(0, 0);
  captions.heard(0, 3);
  captions.push(" two", 10);
  captions.heard(10, 3.1);
  expect(texts(captions)).toEqual(["One", "two"]);
});

it("puts your turn before the answer that began meanwhile", () => {
  const captions = new Captions();
  captions.push(" Yes", 0);
  captions.heard(0, 2.4);
  captions.you(1, 1.2);
  expect(texts(captions)).toEqual(["you 1.2", "Yes"]);
});

it("joins your turns that nothing separates", () => {
  const captions = new Captions();
  captions.you(1, 1);
  captions.you(3, 2);
  expect(texts(captions)).toEqual(["you 3"]);
});

it("ends a turn where it was cut off", () => {
  const captions = new Captions();
  captions.push(" One thing", 0);
  captions.heard(0, 0);
  captions.cut(0.5);
  captions.push(" So", 10);
  captions.heard(10, 0.9);
  expect(texts(captions)).toEqual(["One thing", "So"]);
  expect(captions.entries[0]).toMatchObject({ cut: true, open: false });
});

it("drops what a lost connection never let sound", () => {
  const captions = new Captions();
  captions.push(" never", 99999);
  captions.newStream();
  captions.note(4, "Reconnected.");
  captions.heard(200000, 5);
  expect(texts(captions)).toEqual(["Reconnected."]);
});
