/** Pieces of text, shown when their sound is heard and gathered into turns. Times are seconds of the conversation. */

export type Entry =
  | { id: number; type: "agent"; time: number; text: string; open: boolean; cut: boolean }
  | { id: number; type: "you"; time: number; seconds: number }
  | { id: number; type: "note"; time: number; text: string };

const NEW_TURN_S = 1.6;

interface Piece {
  text: string;
  at: number;
}

export class Captions {
  private waiting: Piece[] = [];
  private nextId = 0;
  private lastHeard = -Infinity;
  entries: Entry[] = [];

  /** A piece whose sound begins at sample `at` of the agent's stream. */
  push(text: string, at: number): void {
    this.waiting.push({ text, at });
  }

  /** A new stream counts from zero: what was not heard of the old one never will be. */
  newStream(): void {
    this.waiting = [];
    this.close();
  }

  /** The agent's stream has been played up to sample `played` at `time`. Returns whether anything was shown. */
  heard(played: number, time: number): boolean {
    let changed = false;
    while (this.waiting.length > 0 && this.waiting[0].at <= played) {
      this.show(this.waiting.shift()!.text, time);
      changed = true;
    }
    if (!changed && time - this.lastHeard > NEW_TURN_S) changed = this.close();
    return changed;
  }

  you(time: number, seconds: number): void {
    const last = this.entries.at(-1);
    const entry: Entry = { id: this.nextId++, type: "you", time, seconds };
    // Decided after the pause that ended it; by then the agent may be answering already.
    const before = last?.type === "agent" && last.time > time ? this.entries.length - 1 : this.entries.length;
    const previous = this.entries[before - 1];
    if (previous?.type === "you") {
      this.entries[before - 1] = { ...previous, seconds: previous.seconds + seconds };
    } else this.entries.splice(before, 0, entry);
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
      this.entries[this.entries.length - 1] = { ...last, text: last.text + text };
    } else {
      this.entries.push({ id: this.nextId++, type: "agent", time, text: text.trimStart(), open: true, cut: false });
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
