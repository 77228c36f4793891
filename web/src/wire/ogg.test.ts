import { describe, expect, it } from "vitest";
import { join, oggCrc, OggOpusReader, OggOpusWriter } from "./ogg";

const packet = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7) & 255);
const stream = (packets: Uint8Array[], serial = 1) => {
  const writer = new OggOpusWriter(24000, 312, serial);
  return join([writer.headers(), ...packets.map((p) => writer.page([p], 960))]);
};

describe("writing", () => {
  it("has the checksum of the Ogg specification", () => {
    // CRC-32 with polynomial 04c11db7, no reflection, zero start: check value of "123456789".
    expect(oggCrc(new TextEncoder().encode("123456789"))).toBe(0x89a1897f);
  });

  it("opens with OpusHead and OpusTags", () => {
    const bytes = new OggOpusWriter(24000, 312, 0xdeadbeef).headers();
    const view = new DataView(bytes.buffer);
    expect(bytes[5]).toBe(2); // first page
    expect(view.getUint32(14, true)).toBe(0xdeadbeef);
    expect(new TextDecoder().decode(bytes.subarray(28, 36))).toBe("OpusHead");
    expect([bytes[36], bytes[37], view.getUint16(38, true), view.getUint32(40, true)]).toEqual([1, 1, 312, 24000]);
    const second = 28 + 19;
    expect(view.getUint32(second + 18, true)).toBe(1);
    expect(new TextDecoder().decode(bytes.subarray(second + 28, second + 36))).toBe("OpusTags");
  });

  it("counts granules in 48 kHz samples", () => {
    const writer = new OggOpusWriter(24000, 312, 1);
    writer.headers();
    writer.page([packet(5, 1)], 960);
    const page = writer.page([packet(5, 2)], 960);
    expect(new DataView(page.buffer).getBigUint64(6, true)).toBe(1920n);
  });

  it("refuses what does not fit one page", () => {
    expect(() => new OggOpusWriter(24000, 0, 1).page([new Uint8Array(255 * 255)], 960)).toThrow(RangeError);
  });
});

describe("reading", () => {
  const packets = [packet(1, 1), packet(254, 2), packet(255, 3), packet(256, 4), packet(1000, 5)];

  it.each([1, 7, 27, 300, 1e6])("gives the packets back from slices of %i bytes", (slice) => {
    const bytes = stream(packets);
    const reader = new OggOpusReader();
    const found: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += slice) found.push(...reader.push(bytes.subarray(at, at + slice)));
    expect(found).toEqual(packets);
  });

  it("reads several packets a page", () => {
    const writer = new OggOpusWriter(24000, 312, 1);
    const bytes = join([writer.headers(), writer.page(packets, 960 * 5)]);
    expect(new OggOpusReader().push(bytes)).toEqual(packets);
  });

  it("finds the next page after garbage and after a broken page", () => {
    const bytes = stream(packets);
    const broken = stream([packet(40, 9)]).slice();
    broken[broken.length - 1] ^= 1;
    const found = new OggOpusReader().push(join([packet(50, 3), broken, packet(9, 1), bytes]));
    expect(found).toEqual(packets);
  });

  it("joins a packet that goes on in the next page", () => {
    const writer = new OggOpusWriter(24000, 312, 1);
    const headers = writer.headers();
    const whole = packet(300, 6);
    const first = writer.page([whole.slice(0, 255)], 960);
    first.set([255], 27); // the lacing 255, 0 becomes an unfinished 255
    const open = retouch(join([first.subarray(0, 26), Uint8Array.of(1, 255), first.subarray(29)]));
    const rest = writer.page([whole.slice(255)], 960);
    rest[5] = 1; // goes on from the page before
    expect(new OggOpusReader().push(join([headers, open, retouch(rest)]))).toEqual([whole]);
  });

  it("drops a tail whose head never came", () => {
    const writer = new OggOpusWriter(24000, 312, 1);
    const headers = writer.headers();
    const tail = writer.page([packet(20, 1), packet(21, 2)], 1920);
    tail[5] = 1;
    expect(new OggOpusReader().push(join([headers, retouch(tail)]))).toEqual([packet(21, 2)]);
  });

  it("begins afresh with a new stream", () => {
    const reader = new OggOpusReader();
    expect(reader.push(join([stream([packets[0]], 1), stream([packets[1]], 2)]))).toEqual([packets[0], packets[1]]);
  });
});

function retouch(page: Uint8Array): Uint8Array {
  const fixed = page.slice();
  const view = new DataView(fixed.buffer);
  view.setUint32(22, 0, true);
  view.setUint32(22, oggCrc(fixed), true);
  return fixed;
}
