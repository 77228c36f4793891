// The frame of `benchmarks/onnx.py` in WebAssembly: `node benchmarks/onnx_web.mjs FOLDER FRAMES [THREADS]`, with `npm ci`
// done in web/. One thread by default, in the engine that Chromium has too. Prints the processor's time of each frame in
// milliseconds, of all threads together, as JSON.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const runtime = join(import.meta.dirname, "../web/node_modules/onnxruntime-web/dist/ort.node.min.mjs");
const ort = await import(runtime);
ort.env.logLevel = "error";

const [folder, frames, threads = "1"] = process.argv.slice(2);
ort.env.wasm.numThreads = Number(threads);
const { parts, frame_size: size } = JSON.parse(readFileSync(join(folder, "model.json"), "utf8"));
const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array };
const sessions = {};
const state = {};
for (const [name, part] of Object.entries(parts)) {
  const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
  sessions[name] = await ort.InferenceSession.create(readFileSync(join(folder, part.file)), options);
  state[name] = part.state.map(({ type, shape, value }) => {
    const data = new ARRAYS[type](shape.reduce((a, b) => a * b, 1));
    return new ort.Tensor(type, data.fill(type === "int64" ? BigInt(value) : Number(value)), shape);
  });
}

async function run(name, feeds) {
  state[name].forEach((tensor, i) => (feeds[`state_${i}`] = tensor));
  const outputs = await sessions[name].run(feeds);
  state[name] = state[name].map((_, i) => outputs[`next_${i}`]);
  return outputs;
}

async function push(frame) {
  const { codes } = await run("encode", { wav: new ort.Tensor("float32", frame, [1, size]) });
  const { tokens } = await run("lm", { codes });
  const spoken = tokens.data.slice(1).map((token) => (token < 0n ? 0n : token));
  await run("decode", { codes: new ort.Tensor("int64", spoken, [1, spoken.length]) });
}

const ms = [];
for (let i = 0; i < Number(frames); i++) {
  const frame = Float32Array.from({ length: size }, () => 0.2 * Math.random() - 0.1);
  const before = process.cpuUsage();
  await push(frame);
  const { user, system } = process.cpuUsage(before);
  ms.push((user + system) / 1000);
}
console.log(JSON.stringify(ms));
process.exit(0); // further threads would keep it alive
