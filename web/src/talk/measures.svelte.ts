/** The figures of one conversation, from what the audio thread and the server count. Milliseconds; null until known. */
import { FRAME, RATE, type FromWorklet } from "../audio/blocks";
import type { Stats } from "../wire/protocol";
import { Pace, type Slow } from "./pace";

export class Measures {
  answer: number | null = $state(null);
  delay: number | null = $state(null);
  roundTrip: number | null = $state(null);
  late = $state(0);
  frames = $state(0);
  stats: Stats | null = $state.raw(null);
  private answers: number[] = [];
  private earlier = { late: 0, frames: 0 }; // of the connections before
  private readonly pace = new Pace();

  answered(afterS: number): void {
    this.answers.push(1000 * afterS);
    this.answer = [...this.answers].sort((a, b) => a - b)[Math.floor(this.answers.length / 2)];
  }

  /** The server's counts, once a second. Returns whether frames keep coming late, and whose fault it is. */
  told(stats: Stats): Slow {
    this.stats = stats;
    return this.pace.push(stats, this);
  }

  /** A new conversation goes on with these figures; its own counts begin at zero. */
  startAgain(): void {
    this.stats = null;
    this.earlier = { late: this.late, frames: this.frames };
  }

  /** `outputLatency`: seconds that the sound card adds. */
  heard({ captured, played, pieces, late, held }: FromWorklet, outputLatency: number): void {
    this.late = this.earlier.late + late;
    this.frames = this.earlier.frames + pieces;
    if (held < 0.001) return; // nothing new is heard
    // Each frame of the agent answers one of ours, but for those the server had to fill in or throw away.
    const filled = this.stats ? (this.stats.missing - this.stats.dropped) * FRAME : 0;
    const delay = (captured - played + filled) / RATE + outputLatency;
    this.delay = this.delay === null ? 1000 * delay : this.delay + 0.02 * (1000 * delay - this.delay);
  }
}
