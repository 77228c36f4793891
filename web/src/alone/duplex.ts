/** One conversation with a model in ONNX files: a frame of the user in, a frame of the agent out. */
import * as ort from "onnxruntime-web/wasm";
import loaderAddress from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmAddress from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { PARTS, type Manifest, type Part, type PartName } from "./manifest";

export interface Said {
  /** 24 kHz; silence while there are no tokens yet. */
  wav: Float32Array<ArrayBuffer>;
  /** Of the text that is spoken with it; -2: none yet. */
  token: number;
  /** Of the user's words; -1: the model writes none. */
  userToken: number;
}

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array };

export class Duplex {
  private state = {} as Record<PartName, ort.Tensor[]>;

  private constructor(
    private readonly manifest: Manifest,
    private readonly sessions: Record<PartName, ort.InferenceSession>,
  ) {}

  static async open(manifest: Manifest, files: Record<PartName, Uint8Array>, threads: number): Promise<Duplex> {
    ort.env.wasm.wasmPaths = { mjs: new URL(loaderAddress, self.location.href).href, wasm: new URL(wasmAddress, self.location.href).href };
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error";
    const sessions = {} as Record<PartName, ort.InferenceSession>;
    for (const name of PARTS) sessions[name] = await ort.InferenceSession.create(files[name], { executionProviders: ["wasm"], logSeverityLevel: 3 });
    const duplex = new Duplex(manifest, sessions);
    await duplex.restart();
    return duplex;
  }

  /** A new conversation. It begins with a silent frame: the model never hears its first. */
  async restart(): Promise<void> {
    for (const name of PARTS) this.state[name] = this.manifest.parts[name].state.map(filled);
    await this.push(new Float32Array(this.manifest.frame_size));
  }

  async push(frame: Float32Array): Promise<Said> {
    const wav = new ort.Tensor("float32", frame, [1, frame.length]);
    const { codes } = await this.run("encode", { wav });
    const { tokens, user_text } = await this.run("lm", { codes });
    const said = tokens.data as BigInt64Array;
    const userToken = Number((user_text.data as BigInt64Array)[0]);
    if (said.some((token) => token < 0n)) return { wav: new Float32Array(frame.length), token: -2, userToken };
    const spoken = new ort.Tensor("int64", said.slice(1), [1, said.length - 1]);
    const out = await this.run("decode", { codes: spoken });
    return { wav: Float32Array.from(out.wav.data as Float32Array), token: Number(said[0]), userToken };
  }

  private async run(name: PartName, inputs: Record<string, ort.Tensor>): Promise<Record<string, ort.Tensor>> {
    const feeds = { ...inputs };
    this.state[name].forEach((tensor, i) => (feeds[`state_${i}`] = tensor));
    const outputs = await this.sessions[name].run(feeds);
    this.state[name] = this.state[name].map((_, i) => outputs[`next_${i}`]);
    return outputs;
  }
}

function filled({ type, shape, value }: Part["state"][number]): ort.Tensor {
  const data = new ARRAYS[type](shape.reduce((a, b) => a * b, 1));
  if (data instanceof BigInt64Array) data.fill(BigInt(value));
  else data.fill(Number(value));
  return new ort.Tensor(type, data, shape);
}
