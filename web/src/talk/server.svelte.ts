/** The server before and between conversations: what it says of itself, and why it would let nobody in. */
import { statusAddress, type Status } from "../wire/protocol";
import * as failures from "./failures";
import type { Notice } from "./failures";
import { loadKey, saveKey } from "./settings";

export class Server {
  status: Status | null = $state.raw(null);
  key = loadKey();
  /** Whether the page runs the model itself. */
  readonly alone = false;

  use(key: string): void {
    this.key = key;
    saveKey(key);
  }

  /** Asks anew. Returns what stands against a conversation now, null if nothing does. */
  async ask(): Promise<Notice | null> {
    let response: Response;
    try {
      const headers: HeadersInit = this.key ? { Authorization: `Bearer ${this.key}` } : {};
      response = await fetch(statusAddress(location.href), { headers, cache: "no-store" });
      if (response.ok) this.status = await response.json();
    } catch {
      return navigator.onLine ? failures.unreachable : failures.offline;
    }
    if (response.ok) return this.status && !this.status.ready ? failures.notReady : null;
    if (response.status === 401) return failures.keyNeeded(this.key !== "");
    if (response.status >= 500) return failures.unreachable;
    const said: unknown = await response.json().catch(() => null);
    return failures.turnedAway(response.status, said);
  }
}
