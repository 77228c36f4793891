/**
 * A conversation's connection, which may be lost: the conversation waits at the server, a new connection takes it up,
 * and each side sends again what the other has not received. Knows messages and sockets, nothing about sound.
 */
import { Kind, readMessage, resumedAddress } from "./protocol";

export const AWAY_MS = 30_000; // for so long the server keeps a conversation whose connection is lost
export const AGAIN_MS = 500; // between two tries
// A server that says nothing for this long is gone, even if the socket has not noticed.
export const SILENT_MS = 2_500; // in a conversation, where sound comes every 80 ms
const SILENT_IN_QUEUE_MS = 16_000; // where news comes every 5 s
const WATCH_MS = 500;
const OPEN = 1; // WebSocket.OPEN, which tests without a browser do not have
const GOODBYE = 1000; // a close code, after which the server does not wait
const LOST = 4001; // one after which it does
const KEPT = 1000; // messages, to be sent again

/** The part of a WebSocket that is used. */
export type Socket = Pick<
  WebSocket,
  "send" | "close" | "readyState" | "bufferedAmount" | "binaryType" | "onopen" | "onmessage" | "onclose"
>;

export interface LineEvents {
  message(data: ArrayBuffer): void;
  /** The connection is gone; a new one is tried. Nothing that is sent now is lost. */
  lost(): void;
  /** The conversation goes on: all that was missing has been sent again. */
  resumed(): void;
  /** There will be no more. `opened`: whether there ever was a connection. */
  closed(opened: boolean, code: number): void;
}

export class Line {
  private socket: Socket | null = null;
  private token: string | null = null;
  private kept: Uint8Array<ArrayBuffer>[] = [];
  private sent = 0; // messages, in all
  private received = 0; // messages that are counted: all but pings
  private listening = false; // the agent has begun
  private opened = false;
  private ended = false; // the server said goodbye
  private lostAt: number | null = null;
  private heardAt = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private readonly watch: ReturnType<typeof setInterval>;

  constructor(
    private readonly address: string,
    private readonly events: LineEvents,
    private readonly dial: (address: string) => Socket = (address) => new WebSocket(address),
  ) {
    this.watch = setInterval(() => this.look(), WATCH_MS);
    this.connect(address);
  }

  /** Whether the conversation would outlive this connection. */
  get keeps(): boolean {
    return this.token !== null;
  }

  get lost(): boolean {
    return this.lostAt !== null;
  }

  /** Bytes that the network has not taken yet. */
  get backlog(): number {
    return this.socket?.bufferedAmount ?? 0;
  }

  send(message: Uint8Array<ArrayBuffer>): void {
    this.sent++;
    this.kept.push(message);
    if (this.kept.length > KEPT) this.kept.shift();
    if (this.lostAt === null && this.socket?.readyState === OPEN) this.socket.send(message);
  }

  /** The visitor ends the conversation: the server need not wait. `gone` is called once it knows that. */
  close(gone: () => void): void {
    this.stop();
    const { socket } = this;
    this.leave(GOODBYE);
    if (socket === null) gone();
    else socket.onclose = gone;
  }

  private connect(address: string): void {
    const socket = (this.socket = this.dial(address));
    this.heardAt = performance.now();
    socket.binaryType = "arraybuffer";
    socket.onopen = () => (this.opened = true);
    socket.onclose = ({ code }) => this.lose(code);
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      this.heardAt = performance.now();
      if (this.lostAt === null) this.take(data);
      else this.takeUp(data);
    };
  }

  private take(data: ArrayBuffer): void {
    const kind = new Uint8Array(data)[0];
    if (kind !== Kind.ping) this.received++;
    if (kind === Kind.handshake) this.listening = true;
    if (kind === Kind.event) this.note(data);
    this.events.message(data);
  }

  private note(data: ArrayBuffer): void {
    const message = readMessage(data);
    if (message.kind !== "event") return;
    if (message.event.type === "start") this.token = message.event.resume ?? null;
    if (message.event.type === "end") this.ended = true;
  }

  /** The first message of a new connection says what has arrived there, or that the conversation is over. */
  private takeUp(data: ArrayBuffer): void {
    const message = readMessage(data);
    const arrived = message.kind === "event" && message.event.type === "resumed" ? message.event.received : -1;
    const first = this.sent - this.kept.length;
    if (arrived < first || arrived > this.sent) {
      this.end(1008);
      return;
    }
    for (const kept of this.kept.slice(arrived - first)) this.socket?.send(kept);
    this.lostAt = null;
    this.events.resumed();
  }

  private lose(code: number): void {
    this.leave(code);
    const now = performance.now();
    if (this.token === null || this.ended || (this.lostAt !== null && now - this.lostAt > AWAY_MS)) {
      this.end(code);
      return;
    }
    if (this.lostAt === null) {
      this.lostAt = now;
      this.events.lost();
    }
    this.retry = setTimeout(() => this.connect(resumedAddress(this.address, this.token!, this.received)), AGAIN_MS);
  }

  private look(): void {
    const patience = this.listening ? SILENT_MS : SILENT_IN_QUEUE_MS;
    if (this.socket !== null && performance.now() - this.heardAt > patience) this.lose(1006);
  }

  private end(code: number): void {
    this.leave(code);
    this.stop();
    this.events.closed(this.opened, code);
  }

  private leave(code: number): void {
    const { socket } = this;
    if (socket === null) return;
    this.socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code === GOODBYE ? GOODBYE : LOST);
  }

  private stop(): void {
    clearInterval(this.watch);
    clearTimeout(this.retry);
  }
}
