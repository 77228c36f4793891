import { describe, expect, it } from "vitest";
import { Resampler } from "./resample";

const sine = (hertz: number, rate: number, seconds: number) =>
  Float32Array.from({ length: Math.round(rate * seconds) }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / rate));

function run(input: Float32Array, from: number, to: number, block = 128): Float32Array {
  const resampler = new Resampler(from, to);
  const out = new Float32Array(Math.ceil((input.length * to) / from) + 64);
  let length = 0;
  for (let at = 0; at < input.length; at += block) {
    length += resampler.process(input.subarray(at, at + block), out.subarray(length));
  }
  return out.slice(0, length);
}

const power = (x: Float32Array) => x.reduce((sum, v) => sum + v * v, 0) / x.length;

describe.each([
  [48000, 24000],
  [44100, 24000],
  [24000, 48000],
  [24000, 44100],
  [16000, 24000],
])("from %i to %i", (from, to) => {
  it("keeps a tone's length, pitch and loudness", () => {
    const out = run(sine(1000, from, 1), from, to);
    expect(Math.abs(out.length - to)).toBeLessThan(60);
    const middle = out.slice(to / 4, (3 * to) / 4);
    expect(power(middle)).toBeCloseTo(0.5, 2);
    const crossings = middle.filter((x, i) => i > 0 && x >= 0 !== middle[i - 1] >= 0).length;
    expect(crossings).toBeGreaterThan(996);
    expect(crossings).toBeLessThan(1004);
  });

  it("does not depend on how the sound is cut", () => {
    const input = sine(440, from, 0.3);
    const [a, b] = [run(input, from, to, 128), run(input, from, to, 97)];
    const length = Math.min(a.length, b.length);
    const differences = a.slice(0, length).map((x, i) => Math.abs(x - b[i]));
    expect(Math.max(...differences)).toBeLessThan(1e-6);
  });
});

it("takes away what would fold back", () => {
  const out = run(sine(17000, 48000, 0.5), 48000, 24000);
  expect(power(out.slice(1000))).toBeLessThan(1e-4);
});

it("passes equal rates through", () => {
  const input = sine(440, 24000, 0.1);
  expect(run(input, 24000, 24000)).toEqual(input);
});
