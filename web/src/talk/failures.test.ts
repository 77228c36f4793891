import { expect, it } from "vitest";
import { duration, ended, full, insecurePage, microphoneFailure, turnedAway, warning } from "./failures";

const rejection = (name: string) => Object.assign(new Error("…"), { name });

it.each([
  ["NotAllowedError", "denied"],
  ["NotFoundError", "no-microphone"],
  ["NotReadableError", "microphone-busy"],
  ["OverconstrainedError", "microphone-gone"],
  ["TypeError", "microphone"],
])("names %s", (name, id) => {
  const notice = microphoneFailure(rejection(name));
  expect(notice.id).toBe(id);
  expect(notice.advice).not.toBe("");
});

it("says on plain http which addresses would work", () => {
  const { advice } = insecurePage({ host: "box.lan:8998", port: "8998" });
  expect(advice).toContain("https://box.lan:8998");
  expect(advice).toContain("http://localhost:8998");
});

it("passes the server's own sentence on", () => {
  expect(ended("invalid", null, null, "That was no Opus.").advice).toBe("That was no Opus.");
});

it("tells limits in words", () => {
  expect(ended("time_limit", 3600, null, null).advice).toContain("60 minutes");
  expect(full(40).advice).toContain("40 seconds");
  expect(warning("idle", 10).advice).toContain("10 seconds");
  expect([duration(1), duration(120), duration(7200)]).toEqual(["1 second", "2 minutes", "2 hours"]);
});

it("passes on why the server turned the page away", () => {
  expect(turnedAway(403, { error: "This page may not connect." }).advice).toBe("This page may not connect.");
  expect(turnedAway(404, null).advice).toContain("404");
  expect(turnedAway(429, null).id).toBe("too-many");
});
