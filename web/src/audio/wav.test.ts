import { expect, it } from "vitest";
import { wav } from "./wav";

it("writes a two-channel header and the samples in order", async () => {
  const blob = wav([Int16Array.of(1, -2), Int16Array.of(3, -4)], 24000);
  const view = new DataView(await blob.arrayBuffer());
  const text = (at: number) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));
  expect([text(0), text(8), text(36)]).toEqual(["RIFF", "WAVE", "data"]);
  expect([view.getUint32(4, true), view.getUint32(40, true), view.byteLength]).toEqual([44, 8, 52]);
  expect([view.getUint16(22, true), view.getUint32(24, true), view.getUint32(28, true), view.getUint16(32, true)]).toEqual([2, 24000, 96000, 4]);
  expect([0, 1, 2, 3].map((i) => view.getInt16(44 + 2 * i, true))).toEqual([1, -2, 3, -4]);
});
