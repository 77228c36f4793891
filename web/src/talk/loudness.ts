/** How loud both voices are in one block of interleaved samples (agent, you): peak, and root mean square. */

export interface Loudness {
  peak: number;
  mean: number;
}

export function loudness(voices: Int16Array): Record<"agent" | "you", Loudness> {
  const peak = [0, 0];
  const power = [0, 0];
  voices.forEach((value, i) => {
    const x = value / 32768;
    peak[i & 1] = Math.max(peak[i & 1], Math.abs(x));
    power[i & 1] += x * x;
  });
  const of = (channel: number) => ({ peak: peak[channel], mean: Math.sqrt(power[channel] / (voices.length / 2)) });
  return { agent: of(0), you: of(1) };
}
