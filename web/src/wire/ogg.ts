/** Opus in Ogg (RFC 3533, RFC 7845), only as much as one mono stream needs. Knows nothing about sound or sockets. */

const CAPTURE = [0x4f, 0x67, 0x67, 0x53]; // "OggS"
const HEADER_BYTES = 27;
const CONTINUED = 1;
const FIRST_PAGE = 2;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});

export function oggCrc(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = (crc << 8) ^ CRC_TABLE[(crc >>> 24) ^ byte];
  return crc >>> 0;
}

export class OggOpusWriter {
  private sequence = 0;
  private granule = 0; // in 48 kHz samples whatever the input rate, as RFC 7845 has it

  constructor(
    private readonly inputRate: number,
    private readonly preSkip: number,
    private readonly serial: number,
  ) {}

  /** The two pages that open the stream: OpusHead and OpusTags. */
  headers(): Uint8Array {
    const head = new Uint8Array(19);
    head.set(ascii("OpusHead"));
    const view = new DataView(head.buffer);
    head[8] = 1; // version
    head[9] = 1; // channels
    view.setUint16(10, this.preSkip, true);
    view.setUint32(12, this.inputRate, true);
    const vendor = ascii("duologue");
    const tags = new Uint8Array(8 + 4 + vendor.length + 4);
    tags.set(ascii("OpusTags"));
    new DataView(tags.buffer).setUint32(8, vendor.length, true);
    tags.set(vendor, 12);
    return join([this.write([head], FIRST_PAGE), this.write([tags], 0)]);
  }

  /** One page of whole packets that together last `samples48` samples of 48 kHz. */
  page(packets: Uint8Array[], samples48: number): Uint8Array {
    this.granule += samples48;
    return this.write(packets, 0);
  }

  private write(packets: Uint8Array[], flags: number): Uint8Array {
    const lacing = packets.flatMap(({ length }) => [
      ...Array<number>(Math.floor(length / 255)).fill(255),
      length % 255,
    ]);
    if (lacing.length > 255) throw new RangeError("too much sound for one Ogg page");
    const header = new Uint8Array(HEADER_BYTES + lacing.length);
    const view = new DataView(header.buffer);
    header.set(CAPTURE);
    header[5] = flags;
    view.setBigUint64(6, BigInt(this.granule), true);
    view.setUint32(14, this.serial, true);
    view.setUint32(18, this.sequence++, true);
    header[26] = lacing.length;
    header.set(lacing, HEADER_BYTES);
    const page = join([header, ...packets]);
    new DataView(page.buffer).setUint32(22, oggCrc(page), true);
    return page;
  }
}

/** Cuts a stream of bytes, however it was sliced into messages, into Opus packets. Headers are swallowed. */
export class OggOpusReader {
  private rest = new Uint8Array(0);
  private partial: Uint8Array[] = [];
  private headersLeft = 0;

  push(bytes: Uint8Array): Uint8Array[] {
    let data = join([this.rest, bytes]);
    const packets: Uint8Array[] = [];
    for (;;) {
      const start = findCapture(data);
      data = data.subarray(start);
      const size = pageSize(data);
      if (size === null || size > data.length) break;
      const page = data.slice(0, size);
      if (intact(page)) {
        this.readPage(page, packets);
        data = data.subarray(size);
      } else {
        data = data.subarray(1); // a false or a broken page: look for the next one
      }
    }
    this.rest = data.slice();
    return packets;
  }

  private readPage(page: Uint8Array, packets: Uint8Array[]): void {
    const flags = page[5];
    if (flags & FIRST_PAGE) this.headersLeft = 2; // a new stream replaces the old one
    let orphan = false; // the tail of a packet whose beginning never came
    if (flags & CONTINUED) orphan = this.partial.length === 0;
    else this.partial = [];
    let at = HEADER_BYTES + page[26];
    for (const length of page.subarray(HEADER_BYTES, at)) {
      this.partial.push(page.subarray(at, at + length));
      at += length;
      if (length === 255) continue;
      const packet = join(this.partial);
      this.partial = [];
      if (orphan) orphan = false;
      else if (this.headersLeft > 0) this.headersLeft--;
      else if (packet.length > 0) packets.push(packet);
    }
  }
}

export function join(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Where the next page may begin; all but the last three bytes are passed over when there is none. */
function findCapture(data: Uint8Array): number {
  for (let i = 0; i + 4 <= data.length; i++) {
    if (CAPTURE.every((byte, k) => data[i + k] === byte)) return i;
  }
  return Math.max(0, data.length - 3);
}

function pageSize(data: Uint8Array): number | null {
  if (data.length < HEADER_BYTES || data.length < HEADER_BYTES + data[26]) return null;
  const lacing = data.subarray(HEADER_BYTES, HEADER_BYTES + data[26]);
  return HEADER_BYTES + data[26] + lacing.reduce((sum, length) => sum + length, 0);
}

function intact(page: Uint8Array): boolean {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  const stated = view.getUint32(22, true);
  view.setUint32(22, 0, true);
  const sound = oggCrc(page) === stated;
  view.setUint32(22, stated, true);
  return sound;
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
