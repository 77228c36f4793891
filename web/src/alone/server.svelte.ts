/** In place of `talk/server`: there is no server, only the model's folder beside the page. */
import * as failures from "../talk/failures";
import type { Notice } from "../talk/failures";
import type { Status } from "../wire/protocol";
import { isolate } from "./isolation";
import { modelAddress, type Manifest } from "./manifest";

export class Server {
  status: Status | null = $state.raw(null);
  readonly key = "";
  readonly alone = true;

  constructor() {
    void isolate();
  }

  use(_key: string): void {
    // Nobody asks for one.
  }

  async ask(): Promise<Notice | null> {
    try {
      const response = await fetch(modelAddress(location.href), { cache: "no-cache" });
      if (!response.ok) return failures.noModel;
      this.status = status(await response.json());
      return null;
    } catch {
      return navigator.onLine ? failures.noModel : failures.offline;
    }
  }
}

function status({ name, card }: Manifest): Status {
  const sampling = { text_temperature: 0, text_topk: 0, audio_temperature: 0, audio_topk: 0, pad_mult: 0 };
  const limits = { slots: 1, free: 1, queue: 0, queue_size: 0, time_limit_s: null, idle_limit_s: null };
  return { model: name, ready: true, needs_key: false, sampling, recorded: false, card, ...limits };
}
