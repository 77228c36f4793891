/** The loudness of both voices since the beginning, one pair of peaks for each 20 ms, and marks upon it. */

import { BLOCK, RATE } from "../audio/blocks";

export interface Mark {
  time: number;
  text: string;
}

export class Track {
  private peaks = new Float32Array(2 * 4096);
  blocks = 0;
  marks: Mark[] = [];

  get seconds(): number {
    return (this.blocks * BLOCK) / RATE;
  }

  clear(): void {
    this.blocks = 0;
    this.marks = [];
  }

  push(you: number, agent: number): void {
    if (2 * this.blocks === this.peaks.length) {
      const larger = new Float32Array(2 * this.peaks.length);
      larger.set(this.peaks);
      this.peaks = larger;
    }
    this.peaks.set([you, agent], 2 * this.blocks++);
  }

  mark(time: number, text: string): void {
    this.marks.push({ time, text });
  }

  /** The loudest moment of blocks `from` to `to` (exclusive). */
  peak(voice: "you" | "agent", from: number, to: number): number {
    let peak = 0;
    const end = Math.min(to, this.blocks);
    for (let i = Math.max(0, from); i < end; i++) peak = Math.max(peak, this.peaks[2 * i + (voice === "you" ? 0 : 1)]);
    return peak;
  }
}
