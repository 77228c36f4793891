/**
 * One visitor's conversation, from the press of the button to the recording: the states, and what the page shows.
 * Components read it; only their buttons change it.
 */
import { LinkWorker, Server } from "#host";
import { BLOCK, RATE, type FromWorklet } from "../audio/blocks";
import { listDevices, type Device } from "../audio/devices";
import { Sound } from "../audio/sound";
import type { LinkReport, Open, ToldLink } from "../wire/link.worker";
import type { EndReason, Question, ServerEvent } from "../wire/protocol";
import { Captions, type Entry } from "./captions";
import * as failures from "./failures";
import type { Notice } from "./failures";
import { Keepsake } from "./keepsake.svelte";
import { loudness } from "./loudness";
import { Measures } from "./measures.svelte";
import { loadChoices, saveChoices } from "./settings";
import { Track } from "./track";
import { Turns, type TurnEvent } from "./turns";
import { Unheard } from "./unheard";

export type State = "idle" | "asking" | "connecting" | "queued" | "talking" | "reconnecting" | "over";

const ATTEMPTS = 5;
/** What may pass while a connection is being restored. */
const TEMPORARY = ["unreachable", "offline", "not-ready"];
/** What is said in passing, and gives way to anything else. */
const REMARKS = ["slow-server", "slow-network", "not-caught"];
const REMARK_S = 8; // after which a remark about one moment is out of date

export class Conversation {
  state: State = $state("idle");
  notice: Notice | null = $state.raw(null);
  queue: { position: number; length: number; wait_s: number | null } | null = $state.raw(null);
  entries: Entry[] = $state.raw([]);
  /** The question that the visitor chose to ask. */
  question: Question | null = $state.raw(null);
  muted = $state(false);
  speaking = $state({ you: false, agent: false });
  level = $state(0);
  seconds = $state(0);
  measures = $state.raw(new Measures());
  devices = $state.raw({ microphones: [] as Device[], speakers: [] as Device[] });
  choices = $state(loadChoices());
  keepsake = $state.raw(new Keepsake());
  readonly server = new Server();
  readonly track = new Track();

  private sound: Sound | null = null;
  private link: Worker | null = null;
  private captions = new Captions();
  private turns = new Turns();
  private unheard = new Unheard();
  private remarkedAt = 0;
  private attempt = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private said: string | null = null;
  private goodbye: { reason: EndReason; retry_s: number | null } | null = null;
  private timeLimit: number | null = null;
  private wake: WakeLockSentinel | null = null;

  constructor() {
    if (!window.isSecureContext) this.notice = failures.insecurePage(location);
    else if (!navigator.mediaDevices || !("AudioWorkletNode" in window)) this.notice = failures.oldBrowser;
    else {
      void this.refreshDevices();
      navigator.mediaDevices.addEventListener?.("devicechange", () => void this.refreshDevices());
    }
    document.addEventListener("visibilitychange", () => void this.keepAwake());
    void this.server.ask();
  }

  get possible(): boolean {
    return this.notice?.id !== "insecure" && this.notice?.id !== "old-browser";
  }

  get busy(): boolean {
    return this.state !== "idle" && this.state !== "over";
  }

  /** The model's name, as its makers would have it. */
  get title(): string {
    return this.server.status?.card?.title ?? this.server.status?.model ?? "duologue";
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
    this.mute(this.choices.pushToTalk);
    void this.refreshDevices();
    void this.keepAwake();
    this.state = "connecting";
    await this.connect();
  }

  stop(): void {
    this.finish(null);
  }

  /** Asks one of the model's example questions: its recording if there is one, else the visitor reads it out. */
  async ask(question: Question): Promise<void> {
    this.question = question;
    if (this.state === "talking") await this.playQuestion();
    else await this.start();
  }

  mute(muted: boolean): void {
    this.muted = muted;
    this.sound?.mute(muted);
  }

  /** Something for the model to know, in writing. */
  tell(text: string): void {
    this.post({ type: "tell", text });
    this.captions.note(this.seconds, `You wrote: ${text}`);
    this.entries = [...this.captions.entries];
  }

  dismiss(): void {
    if (this.possible) this.notice = null;
  }

  useKey(key: string): void {
    this.server.use(key);
    void this.start();
  }

  async choose(kind: "microphone" | "speaker", id: string): Promise<void> {
    this.choices[kind] = id;
    this.keepChoices();
    try {
      if (kind === "speaker") await this.sound?.chooseSpeaker(id);
      else await this.sound?.chooseMicrophone(id);
      if (this.notice?.remedy === "devices") this.notice = null;
    } catch (error) {
      this.notice = failures.microphoneFailure(error);
    }
  }

  setVolume(volume: number): void {
    this.choices.volume = Math.min(1, Math.max(0, volume));
    this.sound?.volume(this.choices.volume);
    this.keepChoices();
  }

  setPushToTalk(on: boolean): void {
    this.choices.pushToTalk = on;
    this.mute(on);
    this.keepChoices();
  }

  keepChoices(): void {
    saveChoices($state.snapshot(this.choices));
  }

  private clear(): void {
    this.notice = null;
    this.queue = null;
    this.measures = new Measures();
    this.captions = new Captions();
    this.entries = [];
    this.turns = new Turns();
    this.unheard = new Unheard();
    this.track.clear();
    this.keepsake = new Keepsake();
    this.seconds = this.attempt = 0;
    this.said = this.goodbye = null;
  }

  private async connect(): Promise<void> {
    const problem = await this.server.ask();
    if (this.state !== "connecting" && this.state !== "reconnecting") return;
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
      type: "open",
      page: location.href,
      sampling: $state.snapshot(this.choices.sampling),
      seed: this.choices.seed ?? undefined,
      key: this.server.key || undefined,
      port: channel.port2,
    };
    link.postMessage(open, [channel.port2]);
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
      case "loading":
        this.notice = failures.loading(report.done);
        break;
      case "round-trip":
        this.measures.roundTrip = report.ms;
        break;
      case "lost":
        this.mark("connection lost");
        this.state = "reconnecting";
        this.notice = failures.waiting;
        break;
      case "resumed":
        this.mark("goes on");
        this.state = "talking";
        this.notice = null;
        break;
      case "closed":
        this.closed(report.opened);
        break;
    }
  }

  private begin(): void {
    if (this.state === "reconnecting") {
      this.mark("reconnected");
      this.captions.note(this.seconds, "Reconnected. The conversation begins afresh.");
      this.entries = [...this.captions.entries];
      this.measures.startAgain();
    }
    this.captions.newStream();
    this.attempt = 0;
    this.notice = null;
    this.queue = null;
    this.state = "talking";
    if (this.question) void this.playQuestion();
  }

  private async playQuestion(): Promise<void> {
    if (this.question?.sound) await this.sound?.ask(this.question.sound).catch(() => undefined);
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
        this.judge(this.measures.told(event));
        break;
      case "heard":
        this.wrote(event.text);
        break;
      case "warning":
        this.notice = failures.warning(event.reason, event.in_s);
        break;
      case "end":
        this.goodbye = event;
        break;
    }
  }

  /** What was written down of your words. Nobody's words, made out in noise, are not shown. */
  private wrote(text: string): void {
    this.unheard.caught();
    const began = this.turns.setIn("you", this.seconds);
    if (began === null) return;
    this.captions.wrote(text, began);
    this.entries = [...this.captions.entries];
  }

  private judge(slow: "server" | "network" | null): void {
    const here = this.server.alone || ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    if (slow) this.remark(failures.tooSlow(slow, here));
    else if (this.notice?.id.startsWith("slow-")) this.notice = null;
  }

  private remark(notice: Notice): void {
    if (this.notice && !REMARKS.includes(this.notice.id)) return;
    this.notice = notice;
    this.remarkedAt = this.seconds;
  }

  private closed(opened: boolean): void {
    this.link = null; // it has closed itself
    const { reason, retry_s } = this.goodbye ?? { reason: null, retry_s: null };
    const again = reason === null || reason === "shutdown" || reason === "slow" || reason === "error";
    const wasTalking = this.state === "talking" || this.state === "reconnecting";
    if (wasTalking && again && !(reason === null && this.said)) this.tryAgain(retry_s);
    else if (reason) this.finish(failures.ended(reason, this.timeLimit, retry_s, this.said));
    else if (this.said) this.finish(this.server.alone ? failures.cannotRun(this.said) : failures.ended("error", null, null, this.said));
    else if (opened) this.finish(failures.lost);
    else this.finish(failures.refused);
  }

  private tryAgain(after: number | null = null): void {
    if (this.state === "talking") this.mark("connection lost");
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
    this.queue = this.question = null;
    this.state = this.keepsake.seconds > 0 ? "over" : "idle";
    this.speaking = { you: false, agent: false };
    this.level = 0;
    void this.server.ask();
  }

  private release(): void {
    this.post({ type: "close" });
    this.link = null;
    this.sound?.close();
    this.sound = null;
    void this.wake?.release();
    this.wake = null;
  }

  private post(message: ToldLink): void {
    this.link?.postMessage(message);
  }

  /** 20 ms of both voices, as they were heard. */
  private hear(block: FromWorklet): void {
    const { agent, you } = loudness(block.voices);
    this.level = you.peak;
    if (this.state !== "talking" && this.state !== "reconnecting") return;
    this.keepsake.push(block.voices);
    const events = this.turns.push({ you: you.mean, agent: agent.mean }, this.seconds, BLOCK / RATE);
    for (const event of events) this.turn(event);
    this.track.push(you.peak, agent.peak);
    this.seconds = this.track.seconds;
    this.speaking.you = this.turns.speaking("you");
    this.speaking.agent = this.turns.speaking("agent");
    if (this.speaking.agent) this.unheard.caught();
    const shown = this.captions.heard(block.played, this.seconds, this.speaking.agent);
    if (shown || events.length > 0) this.entries = [...this.captions.entries];
    if (this.state !== "talking") return;
    this.measures.heard(block, this.sound?.outputLatency ?? 0);
    if (this.unheard.check(this.seconds)) this.remark(failures.notCaught);
    if (this.notice?.id === "not-caught" && (this.speaking.agent || this.seconds - this.remarkedAt > REMARK_S)) this.notice = null;
  }

  private turn(event: TurnEvent): void {
    switch (event.type) {
      case "answer":
        this.measures.answered(event.after);
        break;
      case "speech":
        if (event.who === "agent") break;
        this.captions.you(event.start, event.end - event.start);
        this.unheard.spoke(event.start, event.end);
        break;
      case "interrupted":
        this.mark(event.by === "you" ? "you cut in" : `${this.title} cut in`, event.time);
        if (event.by === "you") this.captions.cut(event.time);
        break;
    }
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
