/**
 * One conversation with the server, off the page's own thread: its line, Opus both ways, and a port to the audio thread.
 * A new conversation is a new worker.
 */
import { createDecoder, createEncoder, Application, type OpusDecoderHandle, type OpusEncoderHandle } from "libopus-wasm";
import { BLOCK, FRAME, RATE, type FromLink, type ToLink } from "../audio/blocks";
import { Line } from "./line";
import { OggOpusReader, OggOpusWriter } from "./ogg";
import { chatAddress, Kind, readMessage, writeMessage, type Sampling, type ServerEvent, type ServerMessage } from "./protocol";

export interface Open {
  type: "open";
  page: string;
  sampling: Partial<Sampling>;
  seed?: number;
  key?: string;
  port: MessagePort;
}

/** What the page tells its worker once the conversation is open. */
export type ToldLink = { type: "close" } | { type: "tell"; text: string };

export type LinkReport =
  | { type: "listening" }
  | { type: "event"; event: ServerEvent }
  | { type: "text"; text: string; at: number }
  | { type: "error"; text: string }
  | { type: "loading"; done: number }
  | { type: "round-trip"; ms: number }
  | { type: "lost" }
  | { type: "resumed" }
  | { type: "closed"; opened: boolean; code: number };

const PING_MS = 1_000;
const GOODBYE_MS = 2_000; // at most, for the server to hear of it
const BIT_RATE = 32_000;
const LONGEST_PACKET = 0.12 * RATE;
const LONGEST_UNANSWERED = 2 * RATE; // samples, after which the microphone waits for the server
const PLAYED_EVERY = 3 * FRAME; // samples
const LONGEST_BACKLOG = 1 << 14; // bytes the network has not taken yet: beyond, sound would only come too late

/** How sound is written and read: Ogg Opus, or plain samples where WebAssembly is switched off. */
interface Codec {
  format: "opus" | "pcm16";
  opening(): Uint8Array | null;
  encode(block: Float32Array): Uint8Array;
  decode(bytes: Uint8Array): Float32Array<ArrayBuffer>;
}

class OpusCodec implements Codec {
  readonly format = "opus";
  private readonly writer: OggOpusWriter;
  private readonly reader = new OggOpusReader();

  constructor(
    private readonly encoder: OpusEncoderHandle,
    private readonly decoder: OpusDecoderHandle,
  ) {
    const preSkip = encoder.getLookahead() * (48000 / RATE);
    this.writer = new OggOpusWriter(RATE, preSkip, crypto.getRandomValues(new Uint32Array(1))[0]);
  }

  static async load(): Promise<OpusCodec> {
    const encoder = await createEncoder({
      sampleRate: RATE,
      channels: 1,
      frameSize: BLOCK,
      application: Application.Audio,
      bitrate: BIT_RATE,
      complexity: 5,
    });
    return new OpusCodec(encoder, await createDecoder({ sampleRate: RATE, channels: 1 }));
  }

  opening(): Uint8Array {
    return this.writer.headers();
  }

  encode(block: Float32Array): Uint8Array {
    return this.writer.page([this.encoder.encodeFloat(block)], BLOCK * (48000 / RATE));
  }

  decode(bytes: Uint8Array): Float32Array<ArrayBuffer> {
    const packets = this.reader.push(bytes);
    const sound = new Float32Array(packets.length * LONGEST_PACKET);
    let length = 0;
    for (const packet of packets) {
      const samples = this.decodePacket(packet);
      sound.set(samples, length);
      length += samples.length;
    }
    return sound.slice(0, length);
  }

  private decodePacket(packet: Uint8Array): Float32Array {
    try {
      return this.decoder.decodeFloat(packet);
    } catch {
      return this.decoder.decodePacketLossFloat(BLOCK); // a broken packet must not end the conversation
    }
  }
}

class PlainCodec implements Codec {
  readonly format = "pcm16";

  opening(): null {
    return null;
  }

  encode(block: Float32Array): Uint8Array {
    const view = new DataView(new ArrayBuffer(2 * block.length));
    block.forEach((x, i) => view.setInt16(2 * i, 32767 * Math.min(1, Math.max(-1, x)), true));
    return new Uint8Array(view.buffer);
  }

  decode(bytes: Uint8Array): Float32Array<ArrayBuffer> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return Float32Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
  }
}

function report(message: LinkReport): void {
  postMessage(message);
}

function bytesOf(value: ArrayBufferView): Uint8Array {
  return new Uint8Array(value.buffer);
}

class Link {
  private readonly line: Line;
  private listening = false;
  private held = false; // the microphone, while the conversation waits
  private said = 0; // samples
  private heard = 0; // samples
  private played = 0; // samples of those heard
  private readonly watch = setInterval(() => this.look(), PING_MS);

  constructor(
    { page, sampling, seed, key }: Open,
    private readonly codec: Codec,
    private readonly port: MessagePort,
  ) {
    this.line = new Line(chatAddress(page, sampling, { seed, key, format: codec.format }), {
      message: (data) => this.take(readMessage(data)),
      lost: () => {
        this.hold();
        report({ type: "lost" });
      },
      resumed: () => {
        this.goOn();
        report({ type: "resumed" });
      },
      closed: (opened, code) => {
        clearInterval(this.watch);
        report({ type: "closed", opened, code });
        close();
      },
    });
    port.onmessage = ({ data }: MessageEvent<ToLink>) => this.say(data);
  }

  close(): void {
    if (this.listening) this.tellPlayed();
    this.line.close(() => close());
    setTimeout(close, GOODBYE_MS);
  }

  /** Something for the model to know. */
  tellText(text: string): void {
    this.send(Kind.text, new TextEncoder().encode(text));
  }

  private say({ words, played }: ToLink): void {
    this.played = played;
    if (!this.listening || this.held || this.line.backlog > LONGEST_BACKLOG) return;
    this.send(Kind.audio, this.codec.encode(words));
    this.said += words.length;
    if (this.said % PLAYED_EVERY === 0) this.tellPlayed();
    if (this.line.keeps && this.said - this.heard > LONGEST_UNANSWERED) this.hold();
  }

  private send(kind: number, payload: Uint8Array): void {
    this.line.send(writeMessage(kind, payload));
  }

  private tellPlayed(): void {
    this.send(Kind.played, bytesOf(new Uint32Array([Math.floor(this.played / FRAME)])));
  }

  private look(): void {
    if (this.listening && !this.held) this.send(Kind.ping, bytesOf(new Float64Array([performance.now()])));
  }

  /** What the visitor says while nothing is answered would come too late. */
  private hold(): void {
    if (!this.held) this.tell("hold");
    this.held = true;
  }

  private goOn(): void {
    if (this.held) this.tell("go-on");
    this.held = false;
  }

  private tell(message: FromLink): void {
    this.port.postMessage(message);
  }

  private take(message: ServerMessage): void {
    switch (message.kind) {
      case "handshake":
        this.begin();
        break;
      case "audio":
        this.hear(this.codec.decode(message.bytes));
        break;
      case "text":
        report({ type: "text", text: message.text, at: Math.max(0, this.heard - FRAME) });
        break;
      case "event":
        report({ type: "event", event: message.event });
        break;
      case "error":
        report({ type: "error", text: message.text });
        break;
      case "ping":
        report({ type: "round-trip", ms: performance.now() - new Float64Array(message.bytes.slice().buffer)[0] });
        break;
    }
  }

  private begin(): void {
    if (this.listening) return;
    this.listening = true;
    const opening = this.codec.opening();
    if (opening) this.send(Kind.audio, opening);
    this.tell("listening");
    report({ type: "listening" });
  }

  private hear(samples: Float32Array<ArrayBuffer>): void {
    this.heard += samples.length;
    if (!this.line.lost && this.said - this.heard < LONGEST_UNANSWERED / 2) this.goOn();
    if (samples.length > 0) this.port.postMessage(samples, [samples.buffer]);
  }
}

let link: Link | null = null;

async function open(asked: Open): Promise<void> {
  const codec: Codec = await OpusCodec.load().catch(() => new PlainCodec());
  link = new Link(asked, codec, asked.port);
}

onmessage = ({ data }: MessageEvent<Open | ToldLink>) => {
  if (data.type === "open") void open(data);
  else if (data.type === "tell") link?.tellText(data.text);
  else if (link) link.close();
  else close();
};
