/** Every way a conversation can fail to begin or come to its end, in plain words: what happened, what to do. */
import type { EndReason } from "../wire/protocol";

export type Remedy = "retry" | "devices" | "key" | null;

export interface Notice {
  id: string;
  tone: "info" | "trouble";
  title: string;
  advice: string;
  remedy: Remedy;
}

const trouble = (id: string, title: string, advice: string, remedy: Remedy = "retry"): Notice => ({
  id,
  tone: "trouble",
  title,
  advice,
  remedy,
});
const info = (id: string, title: string, advice: string): Notice => ({ id, tone: "info", title, advice, remedy: null });

export function insecurePage(location: { host: string; port: string }): Notice {
  const port = location.port || "80";
  return trouble(
    "insecure",
    "This address cannot use a microphone",
    `Browsers hand out the microphone on https:// pages and on localhost only. Open https://${location.host} if the ` +
      `server has a certificate, or run “ssh -L ${port}:localhost:${port} YOUR-SERVER” and open http://localhost:${port}.`,
    null,
  );
}

export const oldBrowser = trouble(
  "old-browser",
  "This browser is too old for a conversation",
  "Use a current Chrome, Edge, Firefox or Safari.",
  null,
);

/** What `getUserMedia` rejected with. */
export function microphoneFailure(error: unknown): Notice {
  const name = error instanceof Error ? error.name : "";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return trouble(
        "denied",
        "The microphone is blocked",
        "Allow it for this page: press the icon beside the address, switch the microphone on, then try again. " +
          "If it is on there, look at your system’s privacy settings.",
      );
    case "NotFoundError":
      return trouble("no-microphone", "No microphone was found", "Plug one in or switch on a headset, then try again.");
    case "OverconstrainedError":
      return trouble("microphone-gone", "The chosen microphone is not there", "Choose another one.", "devices");
    case "NotReadableError":
    case "AbortError":
      return trouble(
        "microphone-busy",
        "The microphone does not answer",
        "Another program may be using it. Close that program, or choose another microphone.",
        "devices",
      );
    default:
      return trouble("microphone", "The microphone could not be opened", String(error));
  }
}

export const microphoneLost = trouble(
  "microphone-lost",
  "The microphone went away",
  "Nothing is heard of you now. Plug it in again or choose another one; the conversation goes on.",
  "devices",
);

export const offline = trouble("offline", "You are offline", "Connect to the network, then try again.");

export const unreachable = trouble(
  "unreachable",
  "The server does not answer",
  "It may be starting, or it has stopped. Try again in a moment.",
);

/** The page runs the model itself, which is not where it should be. */
export const noModel = trouble(
  "no-model",
  "The model is not here",
  "The folder “model” beside this page is missing: “duologue convert nano model --format onnx” makes it.",
);

/** `said` is what the model's runtime says. */
export function cannotRun(said: string): Notice {
  return trouble("cannot-run", "The model does not run in this browser", `${said} Try a current Chrome, Edge, Firefox or Safari, on a computer.`);
}

/** `done`: the part of the model's files that is there, 0 to 1. */
export function loading(done: number): Notice {
  const percent = Math.floor(100 * done);
  return percent < 100
    ? info("loading", `Fetching the model: ${percent} %`, "It comes once and stays in your browser. No sound leaves this computer.")
    : info("loading", "Starting the model", "A few seconds more.");
}

export const notReady = trouble("not-ready", "The server is getting ready", "It is loading its model. Try again in a moment.");

export const refused = trouble(
  "refused",
  "The server did not let the conversation begin",
  "A proxy in between may not pass WebSockets on.",
);

export function keyNeeded(wrong: boolean): Notice {
  return trouble(
    "key",
    wrong ? "That key was not accepted" : "This server asks for a key",
    "Whoever runs the server can give you one.",
    "key",
  );
}

/** Any other refusal; `said` is what the server answered. */
export function turnedAway(status: number, said: unknown): Notice {
  if (status === 429) return trouble("too-many", "Too many tries", "Wait a minute, then try again.");
  const own = typeof said === "object" && said !== null && "error" in said && typeof said.error === "string";
  return trouble("turned-away", "The server turned this page away", own ? String(said.error) : `It answered ${status}.`);
}

export function full(retryS: number | null): Notice {
  const when = retryS ? `Try again in about ${duration(retryS)}.` : "Try again in a few minutes.";
  return trouble("full", "Everyone is talking", `All places are taken and so is the queue. ${when}`);
}

export const lost = trouble(
  "lost",
  "The connection was lost",
  "Reconnecting did not work. Look at your network, then start again. The recording up to here is kept.",
);

export function reconnecting(attempt: number, attempts: number): Notice {
  return {
    id: "reconnecting",
    tone: "trouble",
    title: "Connection lost, reconnecting…",
    advice: `Try ${attempt} of ${attempts}. The conversation will begin afresh, without what was said before.`,
    remedy: null,
  };
}

/** The connection is lost, and the server keeps the conversation for a while. */
export const waiting: Notice = {
  id: "reconnecting",
  tone: "trouble",
  title: "Connection lost, reconnecting…",
  advice: "The conversation waits for you, for half a minute, and goes on where it was.",
  remedy: null,
};

/** Frames keep coming late. `here`: the server runs on this computer. */
export function tooSlow(slow: "server" | "network", here: boolean): Notice {
  if (slow === "network") {
    return info("slow-network", "Your connection is unsteady", "Some of the sound comes too late. Move closer to your router if you can.");
  }
  return here
    ? info("slow-server", "This computer is too slow for now", "Close other programs: until then answers come late.")
    : info("slow-server", "The server is too slow for now", "It has too much to do: answers come late.");
}

export const notCaught = info("not-caught", "I did not catch that", "Say it again, a little louder or closer to the microphone.");

/** The server closed and told why. `said` is its own sentence, if it sent one. */
export function ended(reason: EndReason, limitS: number | null, retryS: number | null, said: string | null): Notice {
  switch (reason) {
    case "time_limit":
      return info(
        "time-limit",
        "Time is up",
        `${limitS ? `A conversation here lasts up to ${duration(limitS)}. ` : ""}You can start another one.`,
      );
    case "idle":
      return info("idle", "Ended, because nothing was heard for a while", "Start again whenever you like.");
    case "full":
      return full(retryS);
    case "shutdown":
      return trouble("shutdown", "The server is being restarted", "Try again in a moment.");
    case "slow":
      return trouble("slow", "Your connection is too slow for a conversation", "Move closer to your router, then try again.");
    default:
      return trouble("server", "The server ended the conversation", said ?? "Try again in a few seconds.");
  }
}

export function warning(reason: "time_limit" | "idle" | "shutdown", inS: number): Notice {
  const when = duration(inS);
  switch (reason) {
    case "time_limit":
      return info("soon-time-limit", `${when} left`, "The conversation is about to reach its time limit.");
    case "idle":
      return info("soon-idle", "Are you still there?", `Nothing is heard from you; the conversation ends in ${when}.`);
    case "shutdown":
      return info("soon-shutdown", "The server is about to restart", `The conversation ends in ${when}.`);
  }
}

export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 90) return s === 1 ? "1 second" : `${s} seconds`;
  const minutes = Math.round(s / 60);
  return minutes < 90 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
}
