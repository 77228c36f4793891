import { expect, it } from "vitest";
import { Turns, type TurnEvent } from "./turns";

const BLOCK = 0.02;
type Span = [number, number];

/** Both voices loud in the given spans of seconds. */
function hear(you: Span[], agent: Span[], seconds = 12): TurnEvent[] {
  const turns = new Turns();
  const level = (spans: Span[], t: number) => (spans.some(([from, to]) => t >= from && t < to) ? 0.1 : 0.001);
  const events: TurnEvent[] = [];
  for (let i = 0; i * BLOCK < seconds; i++) {
    const t = i * BLOCK;
    events.push(...turns.push({ you: level(you, t + 1e-9), agent: level(agent, t + 1e-9) }, t, BLOCK));
  }
  return events;
}

const of = <T extends TurnEvent["type"]>(events: TurnEvent[], type: T) =>
  events.filter((event): event is Extract<TurnEvent, { type: T }> => event.type === type);

it("tells who spoke from when to when", () => {
  const speech = of(hear([[1, 3]], [[4, 5]]), "speech");
  expect(speech.map(({ who }) => who)).toEqual(["you", "agent"]);
  expect(speech[0].start).toBeCloseTo(1, 1);
  expect(speech[0].end).toBeCloseTo(3, 1);
});

it.each([0.2, 0.6, 1.5])("measures an answer after %f s", (pause) => {
  const [answer] = of(hear([[1, 3]], [[3 + pause, 6]]), "answer");
  expect(answer.after).toBeCloseTo(pause, 1);
});

it("does not take a greeting for an answer", () => {
  expect(of(hear([], [[1, 3]]), "answer")).toEqual([]);
});

it("does not take a click for speech", () => {
  expect(hear([[1, 1.04]], [])).toEqual([]);
});

it("marks where you cut in", () => {
  const [mark] = of(hear([[3, 5]], [[1, 3.8]]), "interrupted");
  expect(mark.by).toBe("you");
  expect(mark.time).toBeCloseTo(3, 1);
});

it("marks where the agent cut in", () => {
  const [mark] = of(hear([[1, 3.8]], [[3, 5]]), "interrupted");
  expect(mark.by).toBe("agent");
});

it("does not mark a backchannel", () => {
  expect(of(hear([[3, 3.3]], [[1, 7]]), "interrupted")).toEqual([]);
  expect(of(hear([[3, 3.3]], [[1, 3.6]]), "interrupted")).toEqual([]);
});

it("does not mark one who goes on speaking", () => {
  expect(of(hear([[3, 5]], [[1, 8]]), "interrupted")).toEqual([]);
});

it("does not mark a smooth change of turns", () => {
  expect(of(hear([[1, 3]], [[3.05, 5]]), "interrupted")).toEqual([]);
});

it("gets used to a noisy room", () => {
  const turns = new Turns();
  const events: TurnEvent[] = [];
  for (let i = 0; i < 3000; i++) events.push(...turns.push({ you: 0.02, agent: 0 }, i * BLOCK, BLOCK));
  expect(turns.speaking("you")).toBe(false);
});

it("knows of no beginning where nobody was heard", () => {
  const turns = new Turns();
  const quiet = { you: 0.001, agent: 0 };
  for (let i = 0; i < 500; i++) turns.push(quiet, i * BLOCK, BLOCK);
  expect(turns.setIn("you", 10)).toBe(null);
  for (let i = 500; i < 520; i++) turns.push({ you: 0.006, agent: 0 }, i * BLOCK, BLOCK); // too quiet for a turn
  expect(turns.setIn("you", 10.4)).toBe(10.4);
  expect(turns.setIn("you", 14)).toBe(null);
});
