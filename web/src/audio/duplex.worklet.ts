/**
 * Both directions of the sound, on the audio thread: the microphone down to 24 kHz, the agent's sound out of the
 * jitter buffer and up to the sound card's rate. What is heard and what is said leave together, block by block, so
 * that picture and recording lie on one time line.
 */
import { JitterBuffer } from "./jitter";
import { Resampler } from "./resample";
import { BLOCK, RATE, type FromLink, type FromWorklet, type ToLink, type ToWorklet } from "./blocks";

const QUANTUM = 128;

class Duplex extends AudioWorkletProcessor {
  private readonly down = new Resampler(sampleRate, RATE, 1024);
  private readonly up = new Resampler(RATE, sampleRate, 1024);
  private readonly jitter = new JitterBuffer(RATE);
  private readonly mic = new Float32Array(1024);
  private readonly agent = new Float32Array(1024);
  private readonly risen = new Float32Array(8192);
  private readonly silence = new Float32Array(QUANTUM);
  private readonly pending = new Float32Array(8192); // for the sound card
  private waiting = 0;
  private primed = false;
  private voices = new Int16Array(2 * BLOCK);
  private words = new Float32Array(BLOCK);
  private filled = 0;
  private captured = 0; // microphone samples since the agent began to listen
  private listening = false;
  private link: MessagePort | null = null;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<ToWorklet>) => {
      this.connect(data.port);
    };
  }

  private connect(link: MessagePort): void {
    this.link?.close();
    this.link = link;
    this.listening = false;
    this.jitter.reset();
    link.onmessage = ({ data }: MessageEvent<Float32Array | FromLink>) => {
      if (typeof data === "string") this.obey(data);
      else this.jitter.push(data, currentTime);
    };
  }

  private obey(message: FromLink): void {
    if (message === "listening") {
      this.jitter.reset();
      this.captured = 0;
    }
    if (message === "go-on") this.jitter.goOn();
    this.listening = message !== "hold";
  }

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const out = outputs[0][0];
    const count = this.down.process(inputs[0][0] ?? this.silence.subarray(0, out.length), this.mic);
    const heard = this.agent.subarray(0, count);
    this.jitter.pull(heard, currentTime);
    for (let i = 0; i < count; i++) this.keep(this.mic[i], heard[i]);
    this.sound(heard, out);
    for (let channel = 1; channel < outputs[0].length; channel++) outputs[0][channel].set(out);
    return true;
  }

  private sound(heard: Float32Array, out: Float32Array): void {
    const risen = this.up.process(heard, this.risen);
    this.pending.set(this.risen.subarray(0, risen), this.waiting);
    this.waiting += risen;
    // The two resamplers round differently from quantum to quantum: a few samples in hand cover that.
    if (!this.primed) this.primed = this.waiting >= out.length + 8;
    if (!this.primed || this.waiting < out.length) return;
    out.set(this.pending.subarray(0, out.length));
    this.pending.copyWithin(0, out.length, this.waiting);
    this.waiting -= out.length;
  }

  private keep(mic: number, agent: number): void {
    this.words[this.filled] = mic;
    this.voices[2 * this.filled] = 32767 * Math.min(1, Math.max(-1, agent));
    this.voices[2 * this.filled + 1] = 32767 * Math.min(1, Math.max(-1, mic));
    if (++this.filled < BLOCK) return;
    this.filled = 0;
    if (this.listening) {
      this.captured += BLOCK;
      const said: ToLink = { words: this.words, played: this.jitter.played };
      this.link?.postMessage(said, [this.words.buffer]);
      this.words = new Float32Array(BLOCK);
    }
    const { played, pieces, late, held, target } = this.jitter;
    const report: FromWorklet = { voices: this.voices, captured: this.captured, played, pieces, late, held, target };
    this.port.postMessage(report, [this.voices.buffer]);
    this.voices = new Int16Array(2 * BLOCK);
  }
}

registerProcessor("duplex", Duplex);
