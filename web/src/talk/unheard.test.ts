import { expect, it } from "vitest";
import { Unheard } from "./unheard";

it("notices that nothing came of what you said, once", () => {
  const unheard = new Unheard();
  unheard.spoke(1, 2);
  expect([3, 5.9, 6.1, 7].map((now) => unheard.check(now))).toEqual([false, false, true, false]);
});

it("is content with a word that was written down, or an answer", () => {
  const unheard = new Unheard();
  unheard.spoke(1, 2);
  unheard.caught();
  expect(unheard.check(10)).toBe(false);
});

it("expects no answer to a murmur", () => {
  const unheard = new Unheard();
  unheard.spoke(1, 1.4);
  expect(unheard.check(10)).toBe(false);
});
