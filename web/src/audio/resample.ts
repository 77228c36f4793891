/** Streaming resampling by a windowed sinc, for the edges where the sound card's rate is not ours. */

const ZERO_CROSSINGS = 16; // on either side
const STEPS = 256; // table entries between two zero crossings, read with linear interpolation

export class Resampler {
  private readonly table: Float32Array;
  private readonly reach: number; // input samples on either side of the point that is computed
  private readonly scale: number; // below 1 when going down: the kernel widens and filters what would fold back
  private readonly history: Float32Array;
  private filled: number;
  private at: number; // where in `history` the next output sample lies

  constructor(
    private readonly from: number,
    private readonly to: number,
    private readonly largestInput = 4096,
  ) {
    this.scale = Math.min(1, to / from) * (from === to ? 1 : 0.94);
    this.reach = Math.ceil(ZERO_CROSSINGS / this.scale);
    this.table = sincTable();
    this.history = new Float32Array(2 * this.reach + 2 + largestInput);
    this.filled = 2 * this.reach; // silence before the beginning
    this.at = this.reach;
  }

  /** Writes what `input` makes possible into `output` and returns how many samples that is. */
  process(input: Float32Array, output: Float32Array): number {
    if (this.from === this.to) {
      output.set(input);
      return input.length;
    }
    if (input.length > this.largestInput) throw new RangeError("input longer than announced");
    this.history.set(input, this.filled);
    this.filled += input.length;
    let written = 0;
    while (this.at + this.reach < this.filled) {
      output[written++] = this.sample();
      this.at += this.from / this.to;
    }
    const spent = Math.floor(this.at) - this.reach;
    this.history.copyWithin(0, spent, this.filled);
    this.filled -= spent;
    this.at -= spent;
    return written;
  }

  private sample(): number {
    const first = Math.ceil(this.at - this.reach);
    const last = Math.floor(this.at + this.reach);
    let sum = 0;
    for (let i = first; i <= last; i++) {
      const x = Math.abs(i - this.at) * this.scale * STEPS;
      const step = Math.floor(x);
      if (step >= ZERO_CROSSINGS * STEPS) continue;
      sum += this.history[i] * (this.table[step] + (x - step) * (this.table[step + 1] - this.table[step]));
    }
    return sum * this.scale;
  }
}

function sincTable(): Float32Array {
  return Float32Array.from({ length: ZERO_CROSSINGS * STEPS + 2 }, (_, i) => {
    const x = i / STEPS;
    if (x === 0) return 1;
    if (x >= ZERO_CROSSINGS) return 0;
    const blackman = 0.42 + 0.5 * Math.cos((Math.PI * x) / ZERO_CROSSINGS) + 0.08 * Math.cos((2 * Math.PI * x) / ZERO_CROSSINGS);
    return (blackman * Math.sin(Math.PI * x)) / (Math.PI * x);
  });
}
