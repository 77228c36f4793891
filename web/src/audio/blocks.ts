/** What passes between the page, the audio thread and the link. */

export const RATE = 24000;
/** Samples a block: 20 ms, which is also one Opus packet. */
export const BLOCK = 480;
/** Samples a frame of the model: 80 ms. */
export const FRAME = 1920;

export type ToWorklet = { type: "mute"; muted: boolean } | { type: "link"; port: MessagePort };

export interface FromWorklet {
  /** Interleaved: agent, you. */
  voices: Int16Array<ArrayBuffer>;
  captured: number;
  played: number;
  pieces: number;
  late: number;
  held: number;
  target: number;
}
