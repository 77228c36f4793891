/**
 * Who speaks when, heard from loudness alone: gives the response time and marks where someone was interrupted.
 * Fed with one block of both voices at a time; times are seconds since the conversation began.
 */

export type Speaker = "you" | "agent";

export type TurnEvent =
  | { type: "speech"; who: Speaker; start: number; end: number }
  | { type: "answer"; after: number; time: number }
  | { type: "interrupted"; by: Speaker; time: number };

const BLOCK_ON_S = 0.08; // this much loud sound is speech
const PAUSE_S = 0.5; // this much quiet ends it
const LONGEST_ANSWER_S = 6;
const YIELD_S = 1.6; // who falls silent this soon after the other began was interrupted
const REAL_TURN_S = 0.6; // shorter than this is a backchannel: nobody was interrupted
const WRITTEN_S = 2; // words are written down this soon after they were said
const AUDIBLE = 0.003; // below, nobody was heard, however quiet the room

class Voice {
  private floor = 0.002;
  private loud = 0;
  speaking = false;
  start = 0;
  end = 0;
  heardAt = -Infinity; // when there last was any sound above the noise

  constructor(private readonly threshold: number) {}

  /** Returns "start" or "end" when that was decided by this block. */
  push(level: number, time: number, block: number): "start" | "end" | null {
    this.floor = level < this.floor ? level : Math.min(0.02, this.floor * (1 + block / 4));
    const loud = level > Math.max(this.threshold, 3.5 * this.floor);
    if (level > Math.max(AUDIBLE, 2 * this.floor)) this.heardAt = time;
    this.loud = loud ? this.loud + block : Math.max(0, this.loud - 2 * block);
    if (loud && this.speaking) this.end = time + block;
    if (!this.speaking && this.loud >= BLOCK_ON_S) {
      this.speaking = true;
      this.start = time + block - this.loud;
      this.end = time + block;
      return "start";
    }
    if (this.speaking && time - this.end > PAUSE_S) {
      this.speaking = false;
      this.loud = 0;
      return "end";
    }
    return null;
  }
}

interface Overlap {
  by: Speaker;
  time: number;
}

export class Turns {
  private readonly voices: Record<Speaker, Voice> = { you: new Voice(0.012), agent: new Voice(0.006) };
  private overlap: Overlap | null = null;
  private unanswered: number | null = null;

  speaking(who: Speaker): boolean {
    return this.voices[who].speaking;
  }

  /** When what is written down at `time` began to be said; null if nobody said anything that could have been meant. */
  setIn(who: Speaker, time: number): number | null {
    const voice = this.voices[who];
    if (voice.speaking || time - voice.end < WRITTEN_S) return voice.start;
    return time - voice.heardAt < WRITTEN_S ? time : null;
  }

  push(levels: Record<Speaker, number>, time: number, block: number): TurnEvent[] {
    const events: TurnEvent[] = [];
    for (const who of ["you", "agent"] as const) {
      const change = this.voices[who].push(levels[who], time, block);
      if (change === "start") this.began(who, events);
      if (change === "end") this.ended(who, events);
    }
    return events;
  }

  private began(who: Speaker, events: TurnEvent[]): void {
    const voice = this.voices[who];
    const other = this.voices[who === "you" ? "agent" : "you"];
    // The other may have fallen silent already, with the pause that ends a turn still running.
    const overlapped = other.speaking && other.end > voice.start + BLOCK_ON_S / 2;
    if (overlapped) this.overlap = { by: who, time: voice.start };
    if (who === "you") {
      this.unanswered = null;
      return;
    }
    const asked = this.unanswered ?? (other.speaking && !overlapped ? other.end : null);
    if (asked !== null && !overlapped) {
      const after = voice.start - asked;
      if (after >= 0 && after < LONGEST_ANSWER_S) events.push({ type: "answer", after, time: voice.start });
    }
    this.unanswered = null;
  }

  private ended(who: Speaker, events: TurnEvent[]): void {
    const { start, end } = this.voices[who];
    events.push({ type: "speech", who, start, end });
    if (this.overlap && this.overlap.by !== who) {
      const other = this.voices[this.overlap.by];
      const yielded = end - this.overlap.time < YIELD_S;
      if (yielded && other.end - other.start > REAL_TURN_S) {
        events.push({ type: "interrupted", by: this.overlap.by, time: this.overlap.time });
      }
      this.overlap = null;
    } else if (this.overlap) {
      this.overlap = null;
    }
    if (who === "you" && !this.voices.agent.speaking) this.unanswered = end;
  }
}
