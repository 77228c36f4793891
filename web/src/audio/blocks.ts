/** What passes between the page, the audio thread and the link. */

export const RATE = 24000;
/** Samples a block: 20 ms, which is also one Opus packet. */
export const BLOCK = 480;
/** Samples a frame of the model: 80 ms. */
export const FRAME = 1920;

export interface ToWorklet {
  port: MessagePort;
}

/** From the audio thread to the link: a block of the microphone, and how many samples of the agent were played so far. */
export interface ToLink {
  words: Float32Array<ArrayBuffer>;
  played: number;
}

/** From the link to the audio thread, beside the agent's sound: "hold" keeps the microphone back until "go-on". */
export type FromLink = "listening" | "hold" | "go-on";

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
