import { describe, expect, it } from "vitest";
import { chatAddress, Kind, readMessage, resumedAddress, statusAddress, writeMessage } from "./protocol";

const message = (kind: number, text = "") => writeMessage(kind, new TextEncoder().encode(text)).buffer;

describe("messages", () => {
  it("reads each kind", () => {
    expect(readMessage(message(Kind.handshake))).toEqual({ kind: "handshake" });
    expect(readMessage(new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0]).buffer)).toEqual({ kind: "handshake" });
    expect(readMessage(new Uint8Array([1, 7, 8]).buffer)).toEqual({ kind: "audio", bytes: Uint8Array.of(7, 8) });
    expect(readMessage(message(Kind.text, " né"))).toEqual({ kind: "text", text: " né" });
    expect(readMessage(message(Kind.error, "no"))).toEqual({ kind: "error", text: "no" });
    expect(readMessage(message(Kind.event, '{"type":"warning","reason":"idle","in_s":5}'))).toEqual({
      kind: "event",
      event: { type: "warning", reason: "idle", in_s: 5 },
    });
  });

  it.each(["", "{", "[1]", "null", "7", '{"text_temperature":0.7}'])("lets other servers' metadata pass: %s", (text) => {
    expect(readMessage(message(Kind.event, text))).toEqual({ kind: "unknown" });
  });

  it("lets unknown and empty messages pass", () => {
    expect(readMessage(message(9, "codes"))).toEqual({ kind: "unknown" });
    expect(readMessage(new ArrayBuffer(0))).toEqual({ kind: "unknown" });
  });
});

describe("addresses", () => {
  it("stay below the page's prefix and follow its scheme", () => {
    expect(statusAddress("https://example.org/talk/#key=x")).toBe("https://example.org/talk/api/status");
    expect(chatAddress("https://example.org/talk/?a=1#b", {}, { format: "opus" })).toBe(
      "wss://example.org/talk/api/chat?events=1&format=opus&resume=1",
    );
    expect(chatAddress("http://localhost:8998/", {}, { format: "pcm16" })).toBe(
      "ws://localhost:8998/api/chat?events=1&format=pcm16&resume=1",
    );
  });

  it("carry what was chosen, a zero too", () => {
    const address = chatAddress("http://localhost/", { text_temperature: 0 }, { seed: 0, key: "a&b", format: "opus" });
    expect(Object.fromEntries(new URL(address).searchParams)).toEqual({
      events: "1",
      format: "opus",
      resume: "1",
      text_temperature: "0",
      text_seed: "0",
      auth_id: "a&b",
    });
  });

  it("of a conversation that is taken up name it and what was received", () => {
    const address = chatAddress("http://localhost/", { text_temperature: 0 }, { key: "k", format: "opus" });
    const query = new URL(resumedAddress(address, "a+b", 7)).searchParams;
    expect([query.get("resume"), query.get("received"), query.get("auth_id")]).toEqual(["a+b", "7", "k"]);
  });
});
