/** What a visitor chose, kept in the browser. Only what differs from the server's own settings is sent. */
import type { Sampling } from "../wire/protocol";

export interface Choices {
  sampling: Partial<Sampling>;
  seed: number | null;
  microphone: string;
  speaker: string;
}

const KEPT_AS = "duologue.choices";
const KEY_KEPT_AS = "duologue.key";

export function loadChoices(): Choices {
  const choices: Choices = { sampling: {}, seed: null, microphone: "", speaker: "" };
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
