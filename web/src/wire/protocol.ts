/** The messages of `api/chat`: one byte for the kind, then the payload. Pure: bytes and addresses only. */

export const Kind = { handshake: 0, audio: 1, text: 2, control: 3, event: 4, error: 5, ping: 6, played: 7 } as const;

export interface Stats {
  frames: number;
  late: number;
  missing: number;
  dropped: number;
  step_ms: number;
  response_ms: number;
  backlog_ms: number;
}

export type EndReason = "time_limit" | "idle" | "full" | "shutdown" | "error" | "slow" | "invalid" | "too_big";

export type ServerEvent =
  | { type: "queue"; position: number; length: number; wait_s: number | null }
  | { type: "start"; session: string; model: string; seed: number | null; sampling: Sampling; time_limit_s: number | null; resume?: string | null }
  | { type: "resumed"; received: number }
  | ({ type: "stats" } & Stats)
  | { type: "heard"; text: string }
  | { type: "warning"; reason: "time_limit" | "idle" | "shutdown"; in_s: number }
  | { type: "end"; reason: EndReason; retry_s: number | null };

export type ServerMessage =
  | { kind: "handshake" }
  | { kind: "audio"; bytes: Uint8Array }
  | { kind: "text"; text: string }
  | { kind: "event"; event: ServerEvent }
  | { kind: "error"; text: string }
  | { kind: "ping"; bytes: Uint8Array }
  | { kind: "unknown" };

export interface Sampling {
  text_temperature: number;
  text_topk: number;
  audio_temperature: number;
  audio_topk: number;
  pad_mult: number;
}

/** What a model says of itself to those who do not know it: card.json in its folder. */
export interface Card {
  title: string;
  topics: string[];
  questions: Question[];
}

export interface Question {
  text: string;
  /** The address of a recording in which it is asked. */
  sound?: string;
}

/** What `GET api/status` answers. Servers of other versions may leave out what is optional. */
export interface Status {
  model: string;
  ready: boolean;
  needs_key: boolean;
  slots: number;
  free: number;
  queue: number;
  queue_size: number;
  time_limit_s: number | null;
  idle_limit_s: number | null;
  sampling: Sampling;
  /** Whether the server keeps a recording of every conversation. */
  recorded?: boolean;
  card?: Card | null;
  voice?: string | null;
  role?: string | null;
  /** Whether the model can be told something in writing. */
  reads_text?: boolean;
}

export function readMessage(data: ArrayBuffer): ServerMessage {
  const bytes = new Uint8Array(data);
  const payload = bytes.subarray(1);
  switch (bytes[0]) {
    case Kind.handshake:
      return { kind: "handshake" };
    case Kind.audio:
      return { kind: "audio", bytes: payload };
    case Kind.text:
      return { kind: "text", text: utf8(payload) };
    case Kind.event:
      return readEvent(utf8(payload));
    case Kind.error:
      return { kind: "error", text: utf8(payload) };
    case Kind.ping:
      return { kind: "ping", bytes: payload };
    default:
      return { kind: "unknown" };
  }
}

export function writeMessage(kind: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(1 + payload.length);
  message[0] = kind;
  message.set(payload, 1);
  return message;
}

/** The address of the conversation beside the page's own, so that a proxy may put both below a prefix. */
export function chatAddress(page: string, sampling: Partial<Sampling>, options: { seed?: number; key?: string; format: string }): string {
  const address = new URL("api/chat", page);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  const query = new URLSearchParams({ events: "1", format: options.format, resume: "1" });
  for (const [name, value] of Object.entries(sampling)) query.set(name, String(value));
  if (options.seed !== undefined) query.set("text_seed", String(options.seed));
  if (options.key) query.set("auth_id", options.key);
  address.search = query.toString();
  return address.href;
}

/** The address at which the conversation begun at `address` is taken up, after `received` messages. */
export function resumedAddress(address: string, token: string, received: number): string {
  const again = new URL(address);
  again.searchParams.set("resume", token);
  again.searchParams.set("received", String(received));
  return again.href;
}

export function statusAddress(page: string): string {
  const address = new URL("api/status", page);
  address.hash = "";
  return address.href;
}

function readEvent(text: string): ServerMessage {
  try {
    const event: unknown = JSON.parse(text);
    if (typeof event === "object" && event !== null && "type" in event) {
      return { kind: "event", event: event as ServerEvent };
    }
  } catch {
    // Not ours: other servers put their own metadata here.
  }
  return { kind: "unknown" };
}

function utf8(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
