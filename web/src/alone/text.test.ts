import { expect, test } from "vitest";
import { TextStream } from "./text";

const TEXTS = [null, " Hello", " there", 0xc3, 0xa9, 0xf0];

test("pieces, padding and a character of two bytes", () => {
  const stream = new TextStream(TEXTS);
  expect([1, 0, 2, 3, 0, 4, -2, -1, 99].map((token) => stream.push(token))).toEqual([" Hello", "", " there", "", "", "é", "", "", ""]);
});

test("an unfinished character is dropped", () => {
  const stream = new TextStream(TEXTS);
  expect([3, 1, 4, 1].map((token) => stream.push(token)).join("")).toBe(" Hello Hello");
});

test("the user's words are not repeated at once", () => {
  const stream = new TextStream(TEXTS);
  expect([1, 1, 0, 1].map((token, frame) => stream.pushOnce(token, frame))).toEqual([" Hello", "", "", ""]);
  expect(stream.pushOnce(1, 9)).toBe(" Hello");
});
