/** The model's files, kept in the browser: a second visit downloads nothing. */
import { modelAddress, PARTS, type Manifest, type PartName } from "./manifest";

const CACHE = "duologue-model";

/** The graphs, from the cache or the network. `onProgress` gets the part of all bytes that is there, 0 to 1. */
export async function fetchParts(
  page: string,
  manifest: Manifest,
  onProgress: (done: number) => void,
): Promise<Record<PartName, Uint8Array>> {
  const total = PARTS.reduce((sum, name) => sum + manifest.parts[name].bytes, 0);
  const cache = await globalThis.caches?.open(CACHE).catch(() => null);
  const wanted = PARTS.map((name) => `${modelAddress(page, manifest.parts[name].file)}?${manifest.parts[name].sha256}`);
  await forgetOthers(cache, page, wanted);
  const parts: Partial<Record<PartName, Uint8Array>> = {};
  let done = 0;
  for (const [i, name] of PARTS.entries()) {
    parts[name] = await fetchPart(cache, wanted[i], manifest.parts[name].bytes, (bytes) => onProgress((done += bytes) / total));
  }
  return parts as Record<PartName, Uint8Array>;
}

async function fetchPart(cache: Cache | null | undefined, address: string, size: number, onBytes: (bytes: number) => void): Promise<Uint8Array> {
  const kept = await cache?.match(address);
  const response = kept ?? (await fetch(address));
  if (!response.ok || !response.body) throw new Error(`${address}: ${response.status}`);
  const whole = new Uint8Array(size);
  let length = 0;
  const reader = response.body.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    if (length + piece.value.length > size) throw new Error(`${address} is longer than model.json says`);
    whole.set(piece.value, length);
    length += piece.value.length;
    onBytes(piece.value.length);
  }
  if (length < size) throw new Error(`${address} is shorter than model.json says`);
  // A browser without room for it downloads it again next time.
  if (!kept) await cache?.put(address, new Response(whole)).catch(() => undefined);
  return whole;
}

/** The files of earlier models at this address. */
async function forgetOthers(cache: Cache | null | undefined, page: string, wanted: string[]): Promise<void> {
  const here = modelAddress(page, "");
  for (const { url } of (await cache?.keys()) ?? []) {
    if (url.startsWith(here) && !wanted.includes(url)) await cache?.delete(url);
  }
}
