// Runs OpenAI's clients for Node, unchanged, against a server:
//     node node_clients.mjs openai|agents FOLDER ADDRESS
// FOLDER holds their node_modules; ADDRESS is http://HOST:PORT or https://HOST:PORT. The user hums for a second. Prints, as
// JSON, what was heard.
import { createRequire } from "node:module";

const [name, folder, address] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const RATE = 24000;
const PIECE = 480;
const heard = { types: [], samples: 0, loudest: 0, errors: [] };

function take(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 1 < bytes.byteLength; at += 2) heard.loudest = Math.max(heard.loudest, Math.abs(view.getInt16(at, true)));
  heard.samples += bytes.byteLength >> 1;
}

async function hum(send, over) {
  const began = performance.now();
  for (let piece = 0; piece < 1000 && !over(); piece++) {
    const samples = new Int16Array(PIECE);
    if (piece < 50) samples.forEach((_, i) => (samples[i] = 8000 * Math.sin((2 * Math.PI * 300 * (piece * PIECE + i)) / RATE)));
    send(samples);
    await new Promise((go) => setTimeout(go, Math.max(0, began + 20 * (piece + 1) - performance.now())));
  }
}

async function openai() {
  const { OpenAI } = require("openai");
  const { OpenAIRealtimeWS } = require("openai/realtime/ws");
  const link = new OpenAIRealtimeWS({ model: "duologue" }, new OpenAI({ apiKey: "none", baseURL: `${address}/v1` }));
  let done = false;
  link.on("event", (event) => {
    heard.types.push(event.type);
    if (event.type === "response.output_audio.delta") take(Buffer.from(event.delta, "base64"));
    done ||= event.type === "response.done";
  });
  link.on("error", (error) => heard.errors.push(String(error)));
  await new Promise((go) => link.socket.on("open", go));
  link.send({ type: "session.update", session: { type: "realtime", instructions: "Be brief." } });
  await hum((samples) => link.send({ type: "input_audio_buffer.append", audio: Buffer.from(samples.buffer).toString("base64") }), () => done);
  link.close();
}

async function agents() {
  const { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebSocket } = require("@openai/agents/realtime");
  const url = `${address.replace(/^http/, "ws")}/v1/realtime?model=duologue`;
  const agent = new RealtimeAgent({ name: "duologue", instructions: "Be brief." });
  const session = new RealtimeSession(agent, { transport: new OpenAIRealtimeWebSocket({ url }), tracingDisabled: true });
  let done = false;
  session.on("audio", ({ data }) => take(new Uint8Array(data)));
  session.on("audio_stopped", () => (done = true));
  session.on("error", ({ error }) => heard.errors.push(JSON.stringify(error)));
  session.transport.on("*", (event) => heard.types.push(event.type));
  await session.connect({ apiKey: "none", url });
  await hum((samples) => session.sendAudio(samples.buffer), () => done);
  session.interrupt();
  session.close();
}

await { openai, agents }[name]();
console.log(JSON.stringify(heard));
process.exit(0);
