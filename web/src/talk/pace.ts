/** Whether frames keep coming late, and whose fault it is: judged once a second, over the last seconds. */

/** Counts since the beginning. */
export interface Counts {
  frames: number;
  late: number;
}

export type Slow = "server" | "network" | null;

const SECONDS = 8;
const MANY = 0.2; // of the frames of a second
const PERSISTS = 5; // seconds of the last, with many late frames
const OVER = 1; // with no more of them than this, it is over

export class Pace {
  private before = { server: { frames: 0, late: 0 }, here: { frames: 0, late: 0 } };
  private readonly bad = { server: [] as boolean[], network: [] as boolean[] };
  private slow: Slow = null;

  /** `server`: frames that left the server late; `here`: frames that came too late to be heard in time. */
  push(server: Counts, here: Counts): Slow {
    const left = many(server, this.before.server);
    const came = many(here, this.before.here);
    this.before = { server: { ...server }, here: { ...here } };
    keep(this.bad.server, left);
    keep(this.bad.network, came && !left); // what leaves late comes late, too
    if (this.slow !== null && count(this.bad[this.slow]) <= OVER) this.slow = null;
    if (count(this.bad.server) >= PERSISTS) this.slow = "server";
    else if (this.slow === null && count(this.bad.network) >= PERSISTS) this.slow = "network";
    return this.slow;
  }
}

function many(now: Counts, before: Counts): boolean {
  return now.late - before.late > MANY * Math.max(1, now.frames - before.frames);
}

function keep(seconds: boolean[], bad: boolean): void {
  seconds.push(bad);
  if (seconds.length > SECONDS) seconds.shift();
}

function count(seconds: boolean[]): number {
  return seconds.filter(Boolean).length;
}
