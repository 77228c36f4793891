/** What a visitor chose, kept in the browser. Only what differs from the server's own settings is sent. */
import type { Sampling } from "../wire/protocol";

export interface Choices {
  sampling: Partial<Sampling>;
  seed: number | null;
  microphone: string;
  speaker: string;
  /** 0 to 1, of the agent's voice. */
  volume: number;
  /** Whether the microphone is closed but while a key or a button is held. */
  pushToTalk: boolean;
  /** Whether the figures are unfolded. */
  figures: boolean;
}

const KEPT_AS = "duologue.choices";
const KEY_KEPT_AS = "duologue.key";

export function loadChoices(): Choices {
  const choices: Choices = { sampling: {}, seed: null, microphone: "", speaker: "", volume: 1, pushToTalk: false, figures: false };
  try {
    return { ...choices, ...JSON.parse(localStorage.getItem(KEPT_AS) ?? "{}") };
  } catch {
    return choices; // storage switched off, or something else's value
  }
}

export function saveChoices(choices: Choices): void {
  try {
    localStorage.setItem(KEPT_AS, JSON.stringify(choices));
  } catch {
    // Storage switched off: the choices last as long as the page.
  }
}

/** The server's key: from the address (`#key=...`), which is then cleaned, or from earlier in this tab. */
export function loadKey(): string {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) history.replaceState(null, "", location.pathname + location.search);
  try {
    if (given) sessionStorage.setItem(KEY_KEPT_AS, given);
    return given ?? sessionStorage.getItem(KEY_KEPT_AS) ?? "";
  } catch {
    return given ?? "";
  }
}

export function saveKey(key: string): void {
  try {
    sessionStorage.setItem(KEY_KEPT_AS, key);
  } catch {
    // As above.
  }
}
