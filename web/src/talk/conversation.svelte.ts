/**
 * One visitor's conversation, from the press of the button to the recording: the states, and what the page shows.
 * Components read it; only their buttons change it.
 */
import { BLOCK, FRAME, RATE, type FromWorklet } from "../audio/blocks";
import { listDevices, type Device } from "../audio/devices";
import { Sound } from "../audio/sound";
import { wav } from "../audio/wav";
import LinkWorker from "../wire/link.worker?worker";
import type { LinkReport, Open } from "../wire/link.worker";
import { statusAddress, type EndReason, type ServerEvent, type Stats, type Status } from "../wire/protocol";
import { Captions, type Entry } from "./captions";
import * as failures from "./failures";
import type { Notice } from "./failures";
import { loadChoices, loadKey, saveChoices, saveKey } from "./settings";
import { Track } from "./track";
import { Turns } from "./turns";

export type State = "idle" | "asking" | "connecting" | "queued" | "talking" | "reconnecting" | "over";

const ATTEMPTS = 5;
/** What may pass while a connection is being restored. */
const TEMPORARY = ["unreachable", "offline", "not-ready"];
const LONGEST_RECORDING_S = 30 * 60;

export class Conversation {
  state: State = $state("idle");
  notice: Notice | null = $state.raw(null);
  status: Status | null = $state.raw(null);
  queue: { position: number; length: number; wait_s: number | null } | null = $state.raw(null);
  entries: Entry[] = $state.raw([]);
  muted = $state(false);
  speaking = $state({ you: false, agent: false });
  level = $state(0);
  seconds = $state(0);
  /** Milliseconds; null until known. */
  figures = $state({
    answer: null as number | null,
    delay: null as number | null,
    roundTrip: null as number | null,
    held: 0,
    late: 0,
    frames: 0,
  });
  stats: Stats | null = $state.raw(null);
  devices = $state.raw({ microphones: [] as Device[], speakers: [] as Device[] });
  choices = $state(loadChoices());
  recorded = $state(0);
  readonly track = new Track();

  private key = loadKey();
  private sound: Sound | null = null;
  private link: Worker | null = null;
  private captions = new Captions();
  private turns = new Turns();
  private recording: Int16Array<ArrayBuffer>[] = [];
  private answers: number[] = [];
  private attempt = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private said: string | null = null;
  private goodbye: { reason: EndReason; retry_s: number | null } | null = null;
  private timeLimit: number | null = null;
  private earlierLate = 0;
  private earlierFrames = 0;
  private wake: WakeLockSentinel | null = null;

  constructor() {
    if (!window.isSecureContext) this.notice = failures.insecurePage(location);
    else if (!navigator.mediaDevices || !("AudioWorkletNode" in window)) this.notice = failures.oldBrowser;
    else {
      void this.refreshDevices();
      navigator.mediaDevices.addEventListener?.("devicechange", () => void this.refreshDevices());
    }
    document.addEventListener("visibilitychange", () => void this.keepAwake());
    void this.askStatus();
  }

  get possible(): boolean {
    return this.notice?.id !== "insecure" && this.notice?.id !== "old-browser";
  }

  get busy(): boolean {
    return this.state !== "idle" && this.state !== "over";
  }

  async start(): Promise<void> {
    if (this.busy || !this.possible) return;
    this.clear();
    this.state = "asking";
    try {
      this.sound = await Sound.open(this.choices, (block) => this.hear(block), () => (this.notice = failures.microphoneLost));
    } catch (error) {
      this.finish(failures.microphoneFailure(error));
      return;
    }
    // The visitor may have changed their mind while the browser asked.
    if ((this.state as State) !== "asking") {
      this.release();
      return;
    }
    this.sound.mute(this.muted);
    void this.refreshDevices();
    void this.keepAwake();
    this.state = "connecting";
    await this.connect();
  }

  stop(): void {
    this.finish(null);
  }

  toggleMute(): void {
    this.muted = !this.muted;
    this.sound?.mute(this.muted);
  }

  dismiss(): void {
    if (this.possible) this.notice = null;
  }

  useKey(key: string): void {
    this.key = key;
    saveKey(key);
    void this.start();
  }

  async choose(kind: "microphone" | "speaker", id: string): Promise<void> {
    this.choices[kind] = id;
    this.save();
    try {
      if (kind === "speaker") await this.sound?.chooseSpeaker(id);
      else await this.sound?.chooseMicrophone(id);
      if (this.notice?.remedy === "devices") this.notice = null;
    } catch (error) {
      this.notice = failures.microphoneFailure(error);
    }
  }

  save(): void {
    saveChoices($state.snapshot(this.choices));
  }

  download(): void {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(wav(this.recording, RATE));
    link.download = `duologue-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.wav`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  private clear(): void {
    this.notice = null;
    this.queue = null;
    this.stats = null;
    this.captions = new Captions();
    this.entries = [];
    this.turns = new Turns();
    this.track.clear();
    this.recording = [];
    this.answers = [];
    this.recorded = this.seconds = this.earlierLate = this.earlierFrames = this.attempt = 0;
    this.figures = { answer: null, delay: null, roundTrip: null, held: 0, late: 0, frames: 0 };
    this.said = this.goodbye = null;
  }

  /** Null when the server cannot be asked. */
  private async askStatus(): Promise<Response | null> {
    try {
      const headers: HeadersInit = this.key ? { Authorization: `Bearer ${this.key}` } : {};
      const response = await fetch(statusAddress(location.href), { headers, cache: "no-store" });
      if (response.ok) this.status = await response.json();
      return response;
    } catch {
      return null;
    }
  }

  private async connect(): Promise<void> {
    const response = await this.askStatus();
    if (this.state !== "connecting" && this.state !== "reconnecting") return;
    const problem = await this.problemBefore(response);
    if (problem) {
      if (this.state === "reconnecting" && TEMPORARY.includes(problem.id)) this.tryAgain();
      else this.finish(problem);
      return;
    }
    this.said = this.goodbye = null;
    const channel = new MessageChannel();
    this.sound?.link(channel.port1);
    const link = new LinkWorker();
    this.link = link;
    link.onmessage = ({ data }: MessageEvent<LinkReport>) => {
      if (this.link === link) this.take(data);
    };
    link.onerror = () => {
      if (this.link === link) this.take({ type: "closed", opened: false, code: 1006 });
    };
    const open: Open = {
      page: location.href,
      sampling: $state.snapshot(this.choices.sampling),
      seed: this.choices.seed ?? undefined,
      key: this.key || undefined,
      port: channel.port2,
    };
    link.postMessage(open, [channel.port2]);
  }

  private async problemBefore(response: Response | null): Promise<Notice | null> {
    if (!response) return navigator.onLine ? failures.unreachable : failures.offline;
    if (response.ok) return this.status && !this.status.ready ? failures.notReady : null;
    if (response.status === 401) return failures.keyNeeded(this.key !== "");
    if (response.status >= 500) return failures.unreachable;
    const said: unknown = await response.json().catch(() => null);
    return failures.turnedAway(response.status, said);
  }

  private take(report: LinkReport): void {
    switch (report.type) {
      case "listening":
        this.begin();
        break;
      case "text":
        this.captions.push(report.text, report.at);
        break;
      case "event":
        this.event(report.event);
        break;
      case "error":
        this.said = report.text;
        break;
      case "round-trip":
        this.figures.roundTrip = report.ms;
        break;
      case "closed":
        this.closed(report.opened);
        break;
    }
  }

  private begin(): void {
    if (this.state === "reconnecting") {
      this.mark("reconnected");
      this.captions.note(this.seconds, "Reconnected. duologue begins afresh.");
      this.entries = [...this.captions.entries];
    }
    this.captions.newStream();
    this.attempt = 0;
    this.notice = null;
    this.queue = null;
    this.stats = null;
    this.state = "talking";
  }

  private event(event: ServerEvent): void {
    switch (event.type) {
      case "queue":
        this.queue = event;
        if (this.state === "connecting") this.state = "queued";
        break;
      case "start":
        this.timeLimit = event.time_limit_s;
        break;
      case "stats":
        this.stats = event;
        break;
      case "heard":
        this.captions.wrote(event.text, this.turns.setIn("you", this.seconds));
        this.entries = [...this.captions.entries];
        break;
      case "warning":
        this.notice = failures.warning(event.reason, event.in_s);
        break;
      case "end":
        this.goodbye = event;
        break;
    }
  }

  private closed(opened: boolean): void {
    this.dropLink();
    const { reason, retry_s } = this.goodbye ?? { reason: null, retry_s: null };
    const again = reason === null || reason === "shutdown" || reason === "slow" || reason === "error";
    const wasTalking = this.state === "talking" || this.state === "reconnecting";
    if (wasTalking && again && !(reason === null && this.said)) this.tryAgain(retry_s);
    else if (reason) this.finish(failures.ended(reason, this.timeLimit, retry_s, this.said));
    else if (this.said) this.finish(failures.ended("error", null, null, this.said));
    else if (opened) this.finish(failures.lost);
    else this.finish(failures.refused);
  }

  private tryAgain(after: number | null = null): void {
    if (this.state === "talking") {
      this.mark("connection lost");
      this.earlierLate = this.figures.late;
      this.earlierFrames = this.figures.frames;
    }
    if (++this.attempt > ATTEMPTS) {
      this.finish(failures.lost);
      return;
    }
    this.state = "reconnecting";
    this.notice = failures.reconnecting(this.attempt, ATTEMPTS);
    const wait = Math.min(8, Math.max(after ?? 0, 0.5 * 2 ** (this.attempt - 1)));
    this.retry = setTimeout(() => void this.connect(), 1000 * wait);
  }

  private finish(notice: Notice | null): void {
    clearTimeout(this.retry);
    this.release();
    this.notice = notice;
    this.queue = null;
    this.state = this.recording.length > 0 ? "over" : "idle";
    this.speaking = { you: false, agent: false };
    this.level = 0;
    void this.askStatus();
  }

  private release(): void {
    this.dropLink();
    this.sound?.close();
    this.sound = null;
    void this.wake?.release();
    this.wake = null;
  }

  private dropLink(): void {
    this.link?.terminate();
    this.link = null;
  }

  /** 20 ms of both voices, as they were heard. */
  private hear(block: FromWorklet): void {
    const { agent, you } = loudness(block.voices);
    this.level = you.peak;
    if (this.state !== "talking" && this.state !== "reconnecting") return;
    if (this.seconds < LONGEST_RECORDING_S) {
      this.recording.push(block.voices);
      this.recorded = this.recording.length * (BLOCK / RATE);
    }
    const events = this.turns.push({ you: you.mean, agent: agent.mean }, this.seconds, BLOCK / RATE);
    for (const event of events) {
      if (event.type === "answer") this.answered(event.after);
      if (event.type === "speech" && event.who === "you") this.captions.you(event.start, event.end - event.start);
      if (event.type === "interrupted") {
        this.mark(event.by === "you" ? "you cut in" : "duologue cut in", event.time);
        if (event.by === "you") this.captions.cut(event.time);
      }
    }
    this.track.push(you.peak, agent.peak);
    this.seconds = this.track.seconds;
    this.speaking.you = this.turns.speaking("you");
    this.speaking.agent = this.turns.speaking("agent");
    if (this.captions.heard(block.played, this.seconds) || events.length > 0) this.entries = [...this.captions.entries];
    if (this.state === "talking") this.measure(block);
  }

  private measure({ captured, played, pieces, late, held }: FromWorklet): void {
    this.figures.held = 1000 * held;
    this.figures.late = this.earlierLate + late;
    this.figures.frames = this.earlierFrames + pieces;
    if (held < 0.001) return; // nothing new is heard
    // Each frame of the agent answers one of ours, but for those the server had to fill in or throw away.
    const filled = this.stats ? (this.stats.missing - this.stats.dropped) * FRAME : 0;
    const delay = (captured - played + filled) / RATE + (this.sound?.outputLatency ?? 0);
    const before = this.figures.delay;
    this.figures.delay = before === null ? 1000 * delay : before + 0.02 * (1000 * delay - before);
  }

  private answered(after: number): void {
    this.answers.push(1000 * after);
    this.figures.answer = [...this.answers].sort((a, b) => a - b)[Math.floor(this.answers.length / 2)];
  }

  private mark(text: string, time = this.seconds): void {
    this.track.mark(time, text);
  }

  private async refreshDevices(): Promise<void> {
    this.devices = await listDevices();
  }

  /** Keeps a phone from dimming in mid-sentence. Browsers let go of it whenever the page is hidden. */
  private async keepAwake(): Promise<void> {
    if (!this.sound || document.visibilityState !== "visible") return;
    this.wake = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  }
}

function loudness(voices: Int16Array): Record<"agent" | "you", { peak: number; mean: number }> {
  const peak = [0, 0];
  const power = [0, 0];
  voices.forEach((value, i) => {
    const x = value / 32768;
    peak[i & 1] = Math.max(peak[i & 1], Math.abs(x));
    power[i & 1] += x * x;
  });
  const of = (channel: number) => ({ peak: peak[channel], mean: Math.sqrt(power[channel] / (voices.length / 2)) });
  return { agent: of(0), you: of(1) };
}
