/** Notices when you spoke and nothing came of it: no word was written down, and nobody answered. Times in seconds. */

const LONG_ENOUGH_S = 0.6; // shorter sounds need no answer
const PATIENCE_S = 4;

export class Unheard {
  private since: number | null = null;

  /** You spoke from `start` to `end`. */
  spoke(start: number, end: number): void {
    if (end - start >= LONG_ENOUGH_S) this.since = end;
  }

  /** A word of yours was written down, or the other speaks. */
  caught(): void {
    this.since = null;
  }

  /** Whether it is time to say so; once for each time that you spoke. */
  check(now: number): boolean {
    const due = this.since !== null && now - this.since > PATIENCE_S;
    if (due) this.since = null;
    return due;
  }
}
