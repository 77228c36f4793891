import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { AGAIN_MS, AWAY_MS, Line, SILENT_MS, type Socket } from "./line";
import { Kind, writeMessage } from "./protocol";

class Fake implements Socket {
  readyState = 1 as const;
  bufferedAmount = 0;
  binaryType: BinaryType = "blob";
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  sent: number[] = [];
  closedWith: number | undefined;

  constructor(readonly address: string) {}

  send(data: Parameters<Socket["send"]>[0]): void {
    this.sent.push((data as Uint8Array)[1]);
  }

  close(code?: number): void {
    this.closedWith = code;
  }

  take(kind: number, text = ""): void {
    const data = writeMessage(kind, new TextEncoder().encode(text)).buffer;
    this.onmessage?.call(this as never, { data } as MessageEvent<ArrayBuffer>);
  }

  event(event: object): void {
    this.take(Kind.event, JSON.stringify(event));
  }

  cut(code = 1006): void {
    this.onclose?.call(this as never, { code } as CloseEvent);
  }
}

let sockets: Fake[];
let told: string[];

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  told = [];
});
afterEach(() => void vi.useRealTimers());

function line(resume: string | null = "token"): Line {
  const events = {
    message: () => undefined,
    lost: () => void told.push("lost"),
    resumed: () => void told.push("resumed"),
    closed: (opened: boolean, code: number) => void told.push(`closed ${opened} ${code}`),
  };
  const made = new Line("ws://x/api/chat?resume=1", events, (address) => {
    sockets.push(new Fake(address));
    return sockets.at(-1)!;
  });
  sockets[0].onopen?.call(sockets[0] as never, {} as Event);
  sockets[0].event({ type: "start", resume });
  sockets[0].take(Kind.handshake);
  return made;
}

const say = (to: Line, ...numbers: number[]) => numbers.forEach((n) => to.send(Uint8Array.of(Kind.audio, n)));

it("sends again exactly what had not arrived, and tells what has been received", () => {
  const made = line();
  sockets[0].take(Kind.audio);
  sockets[0].take(Kind.ping); // is not counted
  say(made, 1, 2, 3);
  sockets[0].cut();
  say(made, 4);
  expect(told).toEqual(["lost"]);
  vi.advanceTimersByTime(AGAIN_MS);
  expect(new URL(sockets[1].address).search).toBe("?resume=token&received=3");
  sockets[1].event({ type: "resumed", received: 2 });
  say(made, 5);
  expect(sockets[0].sent).toEqual([1, 2, 3]);
  expect(sockets[1].sent).toEqual([3, 4, 5]);
  expect(told).toEqual(["lost", "resumed"]);
  sockets[1].take(Kind.audio);
  sockets[1].cut();
  vi.advanceTimersByTime(AGAIN_MS);
  expect(new URL(sockets[2].address).searchParams.get("received")).toBe("4"); // "resumed" is not counted
});

it("notices a connection that is dead without saying so", () => {
  line();
  vi.advanceTimersByTime(SILENT_MS + 600);
  expect(told).toEqual(["lost"]);
  expect(sockets[0].closedWith).toBeGreaterThan(1001); // these two would say that we do not come back
});

it("gives up after as long as the server waits", () => {
  line();
  sockets[0].cut();
  for (let i = 0; i < 2 * (AWAY_MS / AGAIN_MS) && told.length < 2; i++) {
    vi.advanceTimersByTime(AGAIN_MS);
    sockets.at(-1)!.cut();
  }
  expect(told).toEqual(["lost", "closed true 1006"]);
  expect(sockets.length).toBeGreaterThan(50);
});

it("tries again although a connection hangs while it is made", () => {
  line();
  sockets[0].cut();
  vi.advanceTimersByTime(AGAIN_MS + SILENT_MS + 1000 + AGAIN_MS);
  expect(sockets.length).toBe(3);
});

it("ends when the conversation is over at the server", () => {
  line();
  sockets[0].cut();
  vi.advanceTimersByTime(AGAIN_MS);
  sockets[1].take(Kind.error, "That conversation is over");
  expect(told).toEqual(["lost", "closed true 1008"]);
});

it("ends when more is missing than was kept", () => {
  const made = line();
  say(made, ...Array(1500).fill(7));
  sockets[0].cut();
  vi.advanceTimersByTime(AGAIN_MS);
  sockets[1].event({ type: "resumed", received: 10 });
  expect(told.at(-1)).toBe("closed true 1008");
  expect(sockets[1].sent).toEqual([]);
});

it.each([["a server that keeps nothing", null], ["a goodbye", "token"]])("does not come back after %s", (_, token) => {
  line(token);
  if (token) sockets[0].event({ type: "end", reason: "time_limit" });
  sockets[0].cut(1000);
  vi.advanceTimersByTime(2 * AWAY_MS);
  expect(told).toEqual(["closed true 1000"]);
  expect(sockets.length).toBe(1);
});

it("says goodbye when the visitor ends it, and comes to rest", () => {
  line().close(() => void told.push("gone"));
  expect(sockets[0].closedWith).toBe(1000);
  expect(told).toEqual([]);
  sockets[0].cut(1000);
  vi.advanceTimersByTime(2 * AWAY_MS);
  expect(sockets.length).toBe(1);
  expect(told).toEqual(["gone"]);
});
