import { expect, it } from "vitest";
import { Pace, type Slow } from "./pace";

/** What is judged after each second; each is the share of its 12 frames that came late, at the server and here. */
function judged(seconds: [number, number][]): Slow[] {
  const pace = new Pace();
  const server = { frames: 0, late: 0 };
  const here = { frames: 0, late: 0 };
  return seconds.map(([left, came]) => {
    server.frames += 12;
    here.frames += 12;
    server.late += 12 * left;
    here.late += 12 * came;
    return pace.push(server, here);
  });
}

const times = (n: number, left: number, came: number) => Array<[number, number]>(n).fill([left, came]);

it("says nothing of a hiccup", () => {
  expect(judged([...times(3, 0, 0), ...times(2, 1, 1), ...times(10, 0, 0)]).every((slow) => slow === null)).toBe(true);
});

it("names the server when its frames keep leaving late, and takes it back", () => {
  const said = judged([...times(6, 0.5, 0.5), ...times(10, 0, 0)]);
  expect(said.slice(0, 6)).toEqual([null, null, null, null, "server", "server"]);
  expect(said.at(-1)).toBe(null);
});

it("names the network when frames that left in time keep coming late", () => {
  expect(judged(times(6, 0, 0.5)).at(-1)).toBe("network");
});
