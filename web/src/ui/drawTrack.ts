/** Draws both voices on one time line: you in the upper row, the agent in the lower one, marks across. */
import { BLOCK, RATE } from "../audio/blocks";
import type { Track } from "../talk/track";

export interface Look {
  you: string;
  agent: string;
  line: string;
  soft: string;
  paper: string;
  font: string;
}

const BAR = 4; // pixels from bar to bar
const INSET = 20; // above and below, for the names
const BLOCK_S = BLOCK / RATE;

export function drawTrack(canvas: HTMLCanvasElement, track: Track, now: number, mode: "scroll" | "pages" | "whole", look: Look): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const density = Math.min(3, window.devicePixelRatio || 1);
  if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
  }
  const context = canvas.getContext("2d");
  if (!context) return;
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);

  const bars = Math.floor(width / BAR);
  // A finished conversation fills the width, whatever its length.
  const blocksABar = mode === "whole" ? Math.max(1, track.blocks / bars) : width < 600 ? 4 : 2;
  const barS = blocksABar * BLOCK_S;
  const windowS = bars * barS;
  const origin = mode === "whole" ? 0 : mode === "pages" ? Math.floor(now / windowS) * windowS : now - windowS;
  const x = (time: number) => ((time - origin) / barS) * BAR;
  const row = (height - 2 * INSET) / 2;
  const centres = { you: INSET + row / 2, agent: INSET + row * 1.5 };

  drawSeconds(context, origin, windowS, x, height, look);
  for (const voice of ["you", "agent"] as const) {
    const y = centres[voice];
    context.fillStyle = look[voice];
    const first = Math.floor(origin / barS);
    for (let bar = first; bar <= first + bars + 1; bar++) {
      if (bar < 0 || bar * blocksABar >= track.blocks) continue;
      const peak = track.peak(voice, Math.floor(bar * blocksABar), Math.ceil((bar + 1) * blocksABar));
      const loudness = Math.min(1, peak ** 0.65 * 1.15);
      const size = Math.max(2, loudness * (row - 20));
      context.globalAlpha = loudness < 0.06 ? 0.35 : 1;
      context.beginPath();
      context.roundRect(x(bar * barS), y - size / 2, 2.4, size, 1.2);
      context.fill();
    }
    context.globalAlpha = 1;
  }
  drawMarks(context, track, x, width, height, look);
}

function drawSeconds(
  context: CanvasRenderingContext2D,
  origin: number,
  windowS: number,
  x: (time: number) => number,
  height: number,
  look: Look,
): void {
  const step = [1, 5, 15, 30, 60, 300].find((seconds) => windowS / seconds <= 14) ?? 600;
  context.fillStyle = look.line;
  for (let time = Math.max(0, Math.ceil(origin / step) * step); time <= origin + windowS; time += step) {
    context.fillRect(Math.round(x(time)), height / 2 - 3, 1, 6);
  }
}

function drawMarks(
  context: CanvasRenderingContext2D,
  track: Track,
  x: (time: number) => number,
  width: number,
  height: number,
  look: Look,
): void {
  context.font = `500 12px ${look.font}`;
  context.textBaseline = "middle";
  let free = 0; // labels that would lie on one another are left out, their lines stay
  for (const { time, text } of track.marks) {
    const at = x(time);
    if (at < -120 || at > width) continue;
    context.strokeStyle = context.fillStyle = text.startsWith("you") ? look.you : text.startsWith("duologue") ? look.agent : look.soft;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(at, INSET);
    context.lineTo(at, height - INSET);
    context.stroke();
    context.setLineDash([]);
    const size = context.measureText(text).width;
    const left = Math.min(Math.max(at + 5, 0), width - size);
    if (left < free) continue;
    const y = height / 2;
    const ink = context.fillStyle;
    context.fillStyle = look.paper;
    context.fillRect(left - 3, y - 8, size + 6, 16);
    context.fillStyle = ink;
    context.fillText(text, left, y);
    free = left + size + 8;
  }
}
