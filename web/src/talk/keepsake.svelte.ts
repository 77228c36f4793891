/** What a visitor may keep of a conversation: its sound, in this page until the next one, and its text. */
import { BLOCK, RATE } from "../audio/blocks";
import { wav } from "../audio/wav";
import type { Entry } from "./captions";
import { MEDIA_TYPES, turnsOf, written, type Format } from "./transcript";

const LONGEST_S = 30 * 60;

export class Keepsake {
  /** Seconds of sound. */
  seconds = $state(0);
  private readonly blocks: Int16Array<ArrayBuffer>[] = [];
  private readonly began = new Date();

  push(voices: Int16Array<ArrayBuffer>): void {
    if (this.seconds >= LONGEST_S) return;
    this.blocks.push(voices);
    this.seconds = this.blocks.length * (BLOCK / RATE);
  }

  text(format: Format, entries: Entry[], model: string): string {
    return written(format, turnsOf(entries), model, this.began);
  }

  saveSound(): void {
    this.save(wav(this.blocks, RATE), "wav");
  }

  saveText(format: Format, entries: Entry[], model: string): void {
    this.save(new Blob([this.text(format, entries, model)], { type: MEDIA_TYPES[format] }), format);
  }

  private save(content: Blob, suffix: string): void {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = `duologue-${this.began.toISOString().slice(0, 19).replaceAll(":", "-")}.${suffix}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}
