/** The keys of a conversation. */
import type { Conversation } from "./conversation.svelte";

export const SHORTCUTS = [
  { keys: ["m"], does: "mute and unmute" },
  { keys: ["Space"], does: "hold to talk, if you chose so" },
  { keys: ["↑", "↓"], does: "volume" },
  { keys: ["Esc"], does: "close the settings" },
];

const VOLUME_STEP = 0.1;

function typing(event: KeyboardEvent): boolean {
  return event.target instanceof HTMLElement && event.target.closest("input, select, textarea, dialog") !== null;
}

export function pressed(event: KeyboardEvent, talk: Conversation): void {
  if (typing(event) || event.ctrlKey || event.metaKey || event.altKey || talk.state !== "talking") return;
  const scrolls = event.target instanceof HTMLElement && event.target.closest("[tabindex]") !== null;
  switch (event.key) {
    case "m":
      talk.mute(!talk.muted);
      break;
    case "ArrowUp":
    case "ArrowDown":
      if (scrolls) return;
      talk.setVolume(talk.choices.volume + (event.key === "ArrowUp" ? VOLUME_STEP : -VOLUME_STEP));
      break;
    case " ":
      if (!talk.choices.pushToTalk) return;
      if (!event.repeat) talk.mute(false);
      break;
    default:
      return;
  }
  event.preventDefault();
}

export function released(event: KeyboardEvent, talk: Conversation): void {
  if (event.key !== " " || typing(event) || !talk.choices.pushToTalk || talk.state !== "talking") return;
  talk.mute(true);
  event.preventDefault(); // else the button that has the focus would be pressed
}
