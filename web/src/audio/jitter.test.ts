import { describe, expect, it } from "vitest";
import { JitterBuffer } from "./jitter";

const RATE = 24000;
const FRAME = 1920;
const FRAME_S = FRAME / RATE;
const PULL = 64;

/** Loud at every sample, and each sample tells its position. */
const counted = (from: number) => Float32Array.from({ length: FRAME }, (_, i) => 0.25 + (from + i) / 1e7);
const silent = () => new Float32Array(FRAME);

interface Run {
  out: Float32Array;
  buffer: JitterBuffer;
  /** Seconds from the earliest possible moment to the moment of playing, each pull. */
  delays: number[];
}

/** Plays `frames` frames, frame i arriving at i * 80 ms + lateness(i), by the audio thread's clock. */
function play(frames: number, lateness: (frame: number) => number, sound = counted, drift = 0): Run {
  const buffer = new JitterBuffer(RATE);
  const arrivals = Array.from({ length: frames }, (_, i) => i * FRAME_S * (1 + drift) + lateness(i));
  for (let i = 1; i < frames; i++) arrivals[i] = Math.max(arrivals[i], arrivals[i - 1]); // TCP keeps the order
  const pulls = Math.floor(((arrivals.at(-1)! + FRAME_S / 2) * RATE) / PULL);
  const out = new Float32Array(pulls * PULL);
  const delays: number[] = [];
  let next = 0;
  for (let pull = 0; pull < pulls; pull++) {
    const now = (pull * PULL) / RATE;
    while (next < frames && arrivals[next] <= now) buffer.push(sound(next++ * FRAME), now);
    buffer.pull(out.subarray(pull * PULL, (pull + 1) * PULL), now);
    delays.push(now - buffer.played / RATE);
  }
  return { out, buffer, delays };
}

const random = (seed: number) => () => (seed = (seed * 16807) % 2147483647) / 2147483647;
const gaps = (out: Float32Array, from: number) => out.subarray(from).filter((x) => x < 0.2).length;

describe("a steady network", () => {
  it("plays every sample once, in order, after the starting delay", () => {
    const { out, buffer } = play(50, () => 0);
    expect(buffer.late).toBe(0);
    const start = out.findIndex((x) => x > 0.2) + 96;
    expect(start).toBeLessThan(0.08 * RATE);
    // Float32 holds such steps to about 3e-8; a skipped sample would show as 2e-7, a repeated one as 0.
    const steps = out.subarray(start + 1).map((x, i) => x - out[start + i]);
    expect(Math.max(...steps)).toBeLessThan(1.6e-7);
    expect(Math.min(...steps)).toBeGreaterThan(0.4e-7);
  });

  it("gives silence before anything came", () => {
    const buffer = new JitterBuffer(RATE);
    const out = new Float32Array(PULL).fill(1);
    buffer.pull(out, 3);
    expect(Math.max(...out)).toBe(0);
    expect(buffer.late).toBe(0);
  });

  it("comes down to a short delay when the sound has pauses", () => {
    const { buffer, delays } = play(200, () => 0, silent);
    expect(buffer.target).toBeCloseTo(0.03, 2);
    expect(delays.at(-1)).toBeLessThan(0.08);
  });
});

describe("a network that jitters", () => {
  it("finds a delay that covers it, and then has no gaps", () => {
    const next = random(7);
    const { out, buffer } = play(400, () => next() * 0.12);
    expect(buffer.target).toBeGreaterThan(0.1);
    expect(buffer.target).toBeLessThan(0.16);
    const lateAfterwards = gaps(out, 8 * RATE);
    expect(lateAfterwards).toBe(0);
  });

  it("counts the frames that came too late, waits for them and loses nothing", () => {
    // The two behind it are held up as well: 250, 170 and 90 ms.
    const { out, buffer } = play(60, (i) => (i === 30 ? 0.25 : 0));
    expect(buffer.late).toBe(3);
    const start = out.findIndex((x) => x > 0.24);
    const stop = out.findIndex((x, i) => i > start && x < 0.2);
    const again = out.findIndex((x, i) => i > stop && x > 0.24);
    const [before, after] = [out[stop - 10], out[again + 100]]; // clear of the fades
    const positions = (after - before) * 1e7;
    expect(positions).toBeGreaterThan(90);
    expect(positions).toBeLessThan(210);
  });

  it("returns to a short delay once the trouble has passed", () => {
    const { delays } = play(500, (i) => (i === 30 ? 0.4 : 0));
    const after = delays[Math.floor((34 * FRAME) / PULL)];
    expect(after).toBeGreaterThan(0.3);
    expect(delays.at(-1)).toBeLessThan(0.12);
  });
});

describe("clocks that differ", () => {
  it.each([0.002, -0.002])("follows a drift of %f without gaps or growing delay", (drift) => {
    const { out, buffer, delays } = play(1500, () => 0, counted, drift);
    expect(gaps(out, RATE)).toBe(0);
    expect(buffer.late).toBe(0);
    const held = delays.at(-1)! - 1499 * FRAME_S * drift;
    expect(held).toBeLessThan(0.2);
  });
});

it("forgets everything on reset", () => {
  const { buffer } = play(20, (i) => (i === 10 ? 0.3 : 0));
  buffer.reset();
  expect([buffer.played, buffer.received, buffer.late, buffer.pieces]).toEqual([0, 0, 0, 0]);
  const out = new Float32Array(PULL).fill(1);
  buffer.pull(out, 9);
  expect(Math.max(...out)).toBe(0);
});

it("keeps the newest sound when far too much arrives at once", () => {
  const buffer = new JitterBuffer(RATE);
  for (let i = 0; i < 200; i++) buffer.push(counted(i * FRAME), 0);
  expect(buffer.held).toBeLessThanOrEqual(8);
});

it("plays all of a stream that stood still and goes on, however much of it comes at once", () => {
  const buffer = new JitterBuffer(RATE);
  const out = new Float32Array(PULL);
  let [sent, longest, wentOn] = [0, 0, false];
  for (let pull = 0; pull < (20 * RATE) / PULL; pull++) {
    const now = (pull * PULL) / RATE;
    if (now >= 6 && !wentOn) buffer.goOn();
    wentOn = now >= 6;
    const there = now <= 2 ? now / FRAME_S : wentOn ? 25 + 20 + (now - 6) / FRAME_S : 25; // 20 frames come together
    while (sent < there) buffer.push(counted(sent++ * FRAME), now);
    const before = buffer.played;
    buffer.pull(out, now);
    longest = Math.max(longest, buffer.played - before);
  }
  expect(longest).toBeLessThanOrEqual(1.02 * PULL + 1); // nothing was skipped
  expect(buffer.played).toBeGreaterThan(sent * FRAME - 1.4 * RATE); // and it catches up, if slowly in speech
});
