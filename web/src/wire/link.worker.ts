/**
 * One connection to the server, off the page's own thread: the socket, Opus both ways, and a port to the audio thread.
 * A new connection is a new worker.
 */
import { createDecoder, createEncoder, Application, type OpusDecoderHandle, type OpusEncoderHandle } from "libopus-wasm";
import { BLOCK, FRAME, RATE } from "../audio/blocks";
import { OggOpusReader, OggOpusWriter } from "./ogg";
import { chatAddress, Kind, readMessage, writeMessage, type Sampling, type ServerEvent } from "./protocol";

export interface Open {
  page: string;
  sampling: Partial<Sampling>;
  seed?: number;
  key?: string;
  port: MessagePort;
}

export type LinkReport =
  | { type: "listening" }
  | { type: "event"; event: ServerEvent }
  | { type: "text"; text: string; at: number }
  | { type: "error"; text: string }
  | { type: "round-trip"; ms: number }
  | { type: "closed"; opened: boolean; code: number };

// A server that says nothing for this long is gone, even if the socket has not noticed.
const SILENT_MS = 4_000; // in a conversation, where sound comes every 80 ms
const SILENT_IN_QUEUE_MS = 16_000; // where news comes every 5 s
const PING_MS = 1_000;
const BIT_RATE = 32_000;
const LONGEST_PACKET = 0.12 * RATE;
const LONGEST_BACKLOG = 1 << 14; // bytes the network has not taken yet: beyond, sound would only come too late

/** How sound is written and read: Ogg Opus, or plain samples where WebAssembly is switched off. */
interface Codec {
  format: "opus" | "pcm16";
  opening(): Uint8Array | null;
  encode(block: Float32Array): Uint8Array;
  decode(bytes: Uint8Array): Float32Array;
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

  decode(bytes: Uint8Array): Float32Array {
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

  decode(bytes: Uint8Array): Float32Array {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return Float32Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
  }
}

function report(message: LinkReport): void {
  postMessage(message);
}

async function open({ page, sampling, seed, key, port }: Open): Promise<void> {
  const codec: Codec = await OpusCodec.load().catch(() => new PlainCodec());
  const socket = new WebSocket(chatAddress(page, sampling, { seed, key, format: codec.format }));
  socket.binaryType = "arraybuffer";
  let opened = false;
  let listening = false;
  let lastHeard = performance.now();
  let received = 0;

  const send = (kind: number, payload: Uint8Array) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(writeMessage(kind, payload));
  };
  const close = (code: number) => {
    clearInterval(watch);
    socket.onclose = socket.onmessage = null;
    socket.close();
    report({ type: "closed", opened, code });
  };
  const watch = setInterval(() => {
    if (performance.now() - lastHeard > (listening ? SILENT_MS : SILENT_IN_QUEUE_MS)) close(1006);
    else if (listening) send(Kind.ping, new Uint8Array(new Float64Array([performance.now()]).buffer));
  }, PING_MS);

  port.onmessage = ({ data }: MessageEvent<Float32Array>) => {
    if (listening && socket.bufferedAmount < LONGEST_BACKLOG) send(Kind.audio, codec.encode(data));
  };
  socket.onopen = () => (opened = true);
  socket.onclose = ({ code }) => close(code);
  socket.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
    lastHeard = performance.now();
    const message = readMessage(data);
    switch (message.kind) {
      case "handshake": {
        if (listening) break;
        const opening = codec.opening();
        if (opening) send(Kind.audio, opening);
        listening = true;
        port.postMessage("listening");
        report({ type: "listening" });
        break;
      }
      case "audio": {
        const samples = codec.decode(message.bytes);
        received += samples.length;
        if (samples.length > 0) port.postMessage(samples, [samples.buffer]);
        break;
      }
      case "text":
        report({ type: "text", text: message.text, at: Math.max(0, received - FRAME) });
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
  };
}

onmessage = ({ data }: MessageEvent<Open>) => void open(data);
