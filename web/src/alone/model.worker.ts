/**
 * The model itself, off the page's own thread: what `wire/link.worker` is to a page with a server. It says the same to
 * the page and to the audio thread.
 */
import { FRAME, RATE, type FromLink, type ToLink } from "../audio/blocks";
import type { LinkReport, Open, ToldLink } from "../wire/link.worker";
import type { Stats } from "../wire/protocol";
import { Duplex } from "./duplex";
import { fetchParts } from "./files";
import { modelAddress, type Manifest } from "./manifest";
import { TextStream } from "./text";

const FRAME_MS = 80;
const STATS_EVERY = 12; // frames
const LONGEST_BACKLOG = 6; // frames; what the model has no time for is left out
const WARM_UP = 3; // frames: the first are slow
const MOST_THREADS = 2; // more would mostly wait for each other: a frame is many small operations

/** Hear a recording as fast as possible. */
export interface Try {
  type: "try";
  page: string;
  sound: Float32Array;
}

/** What was said to it, and the milliseconds of each frame. */
export interface Tried {
  type: "tried";
  threads: number;
  tokens: number[];
  userTokens: number[];
  ms: number[];
}

function report(message: LinkReport | Tried): void {
  postMessage(message);
}

const threads = globalThis.crossOriginIsolated ? Math.max(1, Math.min(MOST_THREADS, navigator.hardwareConcurrency)) : 1;

async function load(page: string): Promise<{ manifest: Manifest; duplex: Duplex }> {
  const manifest: Manifest = await (await fetch(modelAddress(page), { cache: "no-cache" })).json();
  if (manifest.sample_rate !== RATE || manifest.frame_size !== FRAME) throw new Error("its frames are not of 80 ms at 24 kHz");
  const files = await fetchParts(page, manifest, (done) => report({ type: "loading", done }));
  const duplex = await Duplex.open(manifest, files, threads);
  for (let i = 0; i < WARM_UP; i++) await duplex.push(new Float32Array(manifest.frame_size));
  await duplex.restart();
  return { manifest, duplex };
}

class Conversation {
  private readonly agent: TextStream;
  private readonly user: TextStream;
  private readonly waiting: { frame: Float32Array<ArrayBuffer>; since: number }[] = [];
  private frame = new Float32Array(FRAME);
  private filled = 0;
  private busy = false;
  private readonly stats: Stats = { frames: 0, late: 0, missing: 0, dropped: 0, step_ms: 0, response_ms: 0, backlog_ms: 0 };

  constructor(
    manifest: Manifest,
    private readonly duplex: Duplex,
    private readonly port: MessagePort,
  ) {
    this.agent = new TextStream(manifest.tokens);
    this.user = new TextStream(manifest.tokens);
    port.onmessage = ({ data }: MessageEvent<ToLink>) => this.hear(data.words);
    port.postMessage("listening" satisfies FromLink);
    report({ type: "listening" });
  }

  private hear(words: Float32Array): void {
    this.frame.set(words, this.filled);
    this.filled += words.length;
    if (this.filled < FRAME) return;
    this.waiting.push({ frame: this.frame, since: performance.now() });
    this.frame = new Float32Array(FRAME);
    this.filled = 0;
    if (this.waiting.length > LONGEST_BACKLOG) {
      this.waiting.shift();
      this.stats.dropped++;
    }
    if (!this.busy) void this.answer().catch(fail);
  }

  private async answer(): Promise<void> {
    this.busy = true;
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) {
      const began = performance.now();
      const { wav, token, userToken } = await this.duplex.push(next.frame);
      const now = performance.now();
      const at = this.stats.frames * FRAME;
      this.port.postMessage(wav, [wav.buffer]);
      const text = this.agent.push(token);
      const heard = this.user.pushOnce(userToken, this.stats.frames);
      if (text) report({ type: "text", text, at });
      if (heard) report({ type: "event", event: { type: "heard", text: heard } });
      this.count(now - began, now - next.since);
    }
    this.busy = false;
  }

  private count(stepMs: number, responseMs: number): void {
    const { stats } = this;
    stats.frames++;
    stats.late += responseMs > FRAME_MS ? 1 : 0;
    stats.step_ms += (stepMs - stats.step_ms) / Math.min(stats.frames, STATS_EVERY);
    stats.response_ms += (responseMs - stats.response_ms) / Math.min(stats.frames, STATS_EVERY);
    stats.backlog_ms = FRAME_MS * this.waiting.length;
    if (stats.frames % STATS_EVERY === 0) report({ type: "event", event: { type: "stats", ...stats } });
  }
}

async function open({ page, port }: Open): Promise<void> {
  const { manifest, duplex } = await load(page);
  new Conversation(manifest, duplex, port);
}

async function hearAll({ page, sound }: Try): Promise<void> {
  const { duplex } = await load(page);
  const tried: Tried = { type: "tried", threads, tokens: [], userTokens: [], ms: [] };
  for (let start = 0; start + FRAME <= sound.length; start += FRAME) {
    const began = performance.now();
    const { token, userToken } = await duplex.push(sound.subarray(start, start + FRAME));
    tried.ms.push(performance.now() - began);
    tried.tokens.push(token);
    tried.userTokens.push(userToken);
  }
  report(tried);
}

function fail(error: unknown): void {
  console.error(error);
  report({ type: "error", text: `${error instanceof Error ? error.message : error}.` });
  report({ type: "closed", opened: true, code: 1011 });
  close();
}

onmessage = ({ data }: MessageEvent<Open | Try | ToldLink>) => {
  if (data.type === "open") void open(data).catch(fail);
  else if (data.type === "try") void hearAll(data).catch(fail);
  else if (data.type === "close") close();
};
