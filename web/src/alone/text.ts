/** Tokens to text: of the agent as they come, of the user without repetitions. */

const AGAIN_FRAMES = 2;

export class TextStream {
  private bytes: number[] = []; // of a character that is spelt in several tokens
  private last: { token: number; frame: number } | null = null;

  constructor(private readonly texts: (string | number | null)[]) {}

  /** The text that a token adds; empty for padding and for unfinished characters. */
  push(token: number): string {
    const text = this.texts[token] ?? null;
    if (text === null) return "";
    if (typeof text === "string") {
      this.bytes = [];
      return text;
    }
    this.bytes.push(text);
    try {
      const character = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(this.bytes));
      this.bytes = [];
      return character;
    } catch {
      if (this.bytes.length >= 4) this.bytes = [];
      return "";
    }
  }

  /** As `push`, of the user's words: the model does not see its own last one, and may write it twice in a row. */
  pushOnce(token: number, frame: number): string {
    if ((this.texts[token] ?? null) === null) return "";
    const again = this.last !== null && this.last.token === token && frame - this.last.frame <= AGAIN_FRAMES;
    this.last = { token, frame };
    return again ? "" : this.push(token);
  }
}
