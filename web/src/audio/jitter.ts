/**
 * Holds the agent's sound back just long enough that it plays without gaps.
 *
 * Each arrival tells how late it was: arrival time minus its place in the stream. The earliest of the last seconds is
 * the pace of the network at its best, the spread above it is the jitter, and the target delay covers that spread.
 * Playback is steered towards the target where it cannot be heard: in quiet it skips or waits, in speech it runs up
 * to two per cent faster or slower. Times are seconds of one clock, positions are samples since the last reset.
 */

const WINDOW_S = 8;
const MARGIN_S = 0.02;
const SHORTEST_S = 0.03;
const LONGEST_S = 0.6;
const WARM_UP_S = 2; // until the jitter is known, assume some
const WARM_UP_TARGET_S = 0.06;
const QUIET = 0.004;
const CAPACITY_S = 8;

interface Arrival {
  time: number;
  lateness: number;
}

export class JitterBuffer {
  private readonly ring: Float32Array;
  private arrivals: Arrival[] = [];
  private earliest = 0;
  private started = 0;
  private playing = false;
  private starving = false;
  private allowed = 0; // the delay at which the sound ran out
  private position = 0; // may lie between two samples while the pace is not 1
  private whole = false; // whether nothing may be skipped, until the delay is as it should be
  private gain = 0;
  private last = 0;

  received = 0;
  target = WARM_UP_TARGET_S;
  /** Pieces of sound that arrived after they should have begun to play. */
  late = 0;
  pieces = 0;

  constructor(private readonly rate: number) {
    this.ring = new Float32Array(Math.ceil(CAPACITY_S * rate));
  }

  get played(): number {
    return Math.floor(this.position);
  }

  /** Seconds of sound that wait. */
  get held(): number {
    return (this.received - this.position) / this.rate;
  }

  reset(): void {
    this.arrivals = [];
    this.playing = this.starving = this.whole = false;
    this.position = this.received = this.gain = this.last = this.late = this.pieces = 0;
    this.target = WARM_UP_TARGET_S;
  }

  /** The stream stood still and goes on where it was: what comes now is not late, and all of it is to be heard. */
  goOn(): void {
    this.arrivals = [];
    this.playing = this.starving = false;
    this.whole = true;
  }

  push(samples: Float32Array, now: number): void {
    if (this.pieces++ === 0) this.started = now;
    const lateness = now - this.received / this.rate;
    if (this.starving && lateness - this.earliest > this.allowed) this.late++;
    this.observe({ time: now, lateness });
    for (let i = 0; i < samples.length; i++) this.ring[(this.received + i) % this.ring.length] = samples[i];
    this.received += samples.length;
    this.position = Math.max(this.position, this.received - this.ring.length + 4);
  }

  /** Fills `out` with what is to be heard at `now`. */
  pull(out: Float32Array, now: number): void {
    if (this.arrivals.length === 0) {
      this.decay(out, 0);
      return;
    }
    const delay = now - this.earliest - this.position / this.rate;
    const error = delay - this.target;
    if (!this.playing) {
      this.playing = error >= 0 && this.received - this.position >= 2 * out.length;
      if (this.playing) this.starving = false;
    }
    if (!this.playing) {
      this.decay(out, 0);
      return;
    }
    this.whole &&= error > 0.04;
    if (error > LONGEST_S && !this.whole) this.position += Math.min(error * this.rate, this.received - this.position - 2 * out.length);
    this.play(out, error, delay);
  }

  private play(out: Float32Array, error: number, delay: number): void {
    let pace = 1;
    if (error > 0.04) {
      if (this.quiet(2 * out.length)) this.position += out.length;
      else pace = error > 0.15 ? 1.02 : 1.01;
    } else if (error < -0.01) {
      if (this.quiet(out.length)) {
        this.decay(out, 0);
        return;
      }
      pace = 0.99;
    }
    if (pace === 1) this.position = Math.round(this.position);
    for (let i = 0; i < out.length; i++) {
      if (this.position + 2 >= this.received) {
        this.playing = false;
        this.starving = true;
        this.allowed = delay;
        this.decay(out, i);
        return;
      }
      this.gain = Math.min(1, this.gain + 1 / 96);
      this.last = out[i] = this.gain * this.read(this.position);
      this.position += pace;
    }
  }

  /** Lets the last sample die away instead of a click. */
  private decay(out: Float32Array, from: number): void {
    for (let i = from; i < out.length; i++) out[i] = this.last *= 0.97;
    this.gain = 0;
  }

  private quiet(samples: number): boolean {
    const end = Math.min(this.received, this.played + samples);
    if (end - this.played < samples) return false;
    for (let i = this.played; i < end; i++) if (Math.abs(this.at(i)) > QUIET) return false;
    return true;
  }

  private at(position: number): number {
    return position < 0 ? 0 : this.ring[position % this.ring.length];
  }

  /** Cubic Hermite between samples; exact on them. */
  private read(position: number): number {
    const i = Math.floor(position);
    const x = position - i;
    if (x === 0) return this.at(i);
    const [a, b, c, d] = [this.at(i - 1), this.at(i), this.at(i + 1), this.at(i + 2)];
    const slope = (c - a) / 2;
    return b + x * (slope + x * (a - 2.5 * b + 2 * c - d / 2 + x * (1.5 * (b - c) + (d - a) / 2)));
  }

  private observe(arrival: Arrival): void {
    this.arrivals.push(arrival);
    while (this.arrivals[0].time < arrival.time - WINDOW_S) this.arrivals.shift();
    const sorted = this.arrivals.map(({ lateness }) => lateness).sort((a, b) => a - b);
    this.earliest = sorted[0];
    const outliers = Math.floor(sorted.length / 50); // the worst two per cent are not worth waiting for
    const spread = sorted[sorted.length - 1 - outliers] - this.earliest;
    const least = arrival.time - this.started < WARM_UP_S ? WARM_UP_TARGET_S : SHORTEST_S;
    this.target = Math.min(LONGEST_S, Math.max(least, spread + MARGIN_S));
  }
}
