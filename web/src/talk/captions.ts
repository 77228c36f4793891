/**
 * What both say, gathered into turns: the agent's pieces of text shown when their sound is heard, yours when they are
 * written down. Times are seconds of the conversation.
 */

export type Entry =
  | { id: number; type: "agent"; time: number; end: number; text: string; open: boolean; cut: boolean }
  | { id: number; type: "you"; time: number; seconds: number; text: string }
  | { id: number; type: "note"; time: number; text: string };

type You = Extract<Entry, { type: "you" }>;

const NEW_TURN_S = 1.6;
const SOUNDLESS_S = 1.2; // a piece that is written so long without being spoken was not said

interface Piece {
  text: string;
  at: number;
  due: number | null; // the time when its sample was played
}

export class Captions {
  private waiting: Piece[] = [];
  private nextId = 0;
  private lastHeard = -Infinity;
  private yours: { id: number; began: number } | null = null; // the last of your turns, and when you last set in
  entries: Entry[] = [];

  /** A piece whose sound begins at sample `at` of the agent's stream. */
  push(text: string, at: number): void {
    this.waiting.push({ text, at, due: null });
  }

  /** A new stream counts from zero: what was not heard of the old one never will be. */
  newStream(): void {
    this.waiting = [];
    this.yours = null;
    this.close();
  }

  /**
   * The agent's stream has been played up to sample `played` at `time`; `speaking`: whether its voice is heard. A piece
   * is shown with the voice, and dropped if none comes. Returns whether anything was shown.
   */
  heard(played: number, time: number, speaking: boolean): boolean {
    let changed = false;
    while (this.waiting.length > 0 && this.waiting[0].at <= played) {
      const piece = this.waiting[0];
      piece.due ??= time;
      if (!speaking && time - piece.due <= SOUNDLESS_S) break;
      this.waiting.shift();
      if (!speaking) continue;
      this.show(piece.text, time);
      changed = true;
    }
    if (!changed && time - this.lastHeard > NEW_TURN_S) changed = this.close();
    return changed;
  }

  /** You spoke from `began` on for so long. */
  you(began: number, seconds: number): void {
    this.change(began, (entry) => ({ ...entry, seconds: entry.seconds + seconds }));
  }

  /** A piece of what you say since `began` was written down. */
  wrote(text: string, began: number): void {
    this.change(began, (entry) => ({ ...entry, text: entry.text + (entry.text ? text : text.trimStart()) }));
  }

  private change(began: number, change: (entry: You) => You): void {
    const known = this.yours?.began === began ? this.entries.findIndex((entry) => entry.id === this.yours?.id) : -1;
    const i = known >= 0 ? known : this.place(began);
    this.entries[i] = change(this.entries[i] as You);
    this.yours = { id: this.entries[i].id, began };
  }

  /** Where your turn that began then stands: as a new entry, or joined to the one before if nothing separates them. */
  private place(began: number): number {
    const last = this.entries.at(-1);
    // Known after a while only; by then the agent may be answering already.
    const before = last?.type === "agent" && last.time > began ? this.entries.length - 1 : this.entries.length;
    if (this.entries[before - 1]?.type === "you") return before - 1;
    this.entries.splice(before, 0, { id: this.nextId++, type: "you", time: began, seconds: 0, text: "" });
    return before;
  }

  note(time: number, text: string): void {
    this.close();
    this.entries.push({ id: this.nextId++, type: "note", time, text });
  }

  /** The agent was cut off at `time`: the turn it was saying ends there. */
  cut(time: number): void {
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const entry = this.entries[i];
      if (entry.type === "agent" && entry.time <= time) {
        this.entries[i] = { ...entry, cut: true, open: false };
        return;
      }
    }
  }

  private show(text: string, time: number): void {
    const last = this.entries.at(-1);
    if (last?.type === "agent" && last.open) {
      this.entries[this.entries.length - 1] = { ...last, end: time, text: last.text + text };
    } else {
      this.close();
      this.entries.push({ id: this.nextId++, type: "agent", time, end: time, text: text.trimStart(), open: true, cut: false });
    }
    this.lastHeard = time;
  }

  private close(): boolean {
    const i = this.entries.findLastIndex((entry) => entry.type === "agent" && entry.open);
    if (i < 0) return false;
    this.entries[i] = { ...this.entries[i], open: false } as Entry;
    return true;
  }
}
