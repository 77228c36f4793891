/** The page's half of the audio thread: microphone in, speaker out, blocks of both voices back. */
import workletAddress from "./duplex.worklet?worker&url";
import type { FromWorklet, ToWorklet } from "./blocks";
import { openMicrophone, useSpeaker } from "./devices";

const FADE_S = 0.005; // time constant of muting and of the volume: no clicks

export class Sound {
  private source: MediaStreamAudioSourceNode | null = null;
  private stream: MediaStream | null = null;

  private constructor(
    private readonly context: AudioContext,
    private readonly node: AudioWorkletNode,
    private readonly gate: GainNode, // of the microphone
    private readonly loudness: GainNode, // of the agent
    private readonly onMicrophoneLost: () => void,
  ) {}

  /** To be called from a press of a button: phones start sound for nothing less. */
  static async open(
    choices: { microphone: string; speaker: string; volume: number },
    onBlock: (block: FromWorklet) => void,
    onMicrophoneLost: () => void,
  ): Promise<Sound> {
    const context = new AudioContext({ latencyHint: "interactive" });
    void context.resume();
    try {
      const stream = await openMicrophone(choices.microphone);
      await context.audioWorklet.addModule(workletAddress);
      const node = new AudioWorkletNode(context, "duplex", { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1] });
      node.port.onmessage = ({ data }: MessageEvent<FromWorklet>) => onBlock(data);
      const [gate, loudness] = [context.createGain(), context.createGain()];
      gate.connect(node).connect(loudness).connect(context.destination);
      const sound = new Sound(context, node, gate, loudness, onMicrophoneLost);
      sound.volume(choices.volume);
      sound.take(stream);
      // A phone call or a sleeping tab suspends the sound without asking.
      context.onstatechange = () => {
        if (context.state !== "running" && context.state !== "closed") void context.resume();
      };
      if (choices.speaker) await sound.chooseSpeaker(choices.speaker).catch(() => undefined);
      return sound;
    } catch (error) {
      void context.close();
      throw error;
    }
  }

  /** Seconds the sound card adds, where the browser tells. */
  get outputLatency(): number {
    return (this.context.outputLatency || 0) + (this.context.baseLatency || 0);
  }

  mute(muted: boolean): void {
    this.gate.gain.setTargetAtTime(muted ? 0 : 1, this.context.currentTime, FADE_S);
  }

  /** How loud the agent is heard, from 0 to 1. A recording has it in full. */
  volume(volume: number): void {
    this.loudness.gain.setTargetAtTime(volume, this.context.currentTime, FADE_S);
  }

  /** Says a recording in the visitor's place, also while the microphone is muted; the visitor hears it. */
  async ask(address: string): Promise<void> {
    const response = await fetch(address);
    const question = this.context.createBufferSource();
    question.buffer = await this.context.decodeAudioData(await response.arrayBuffer());
    question.connect(this.node);
    question.connect(this.loudness);
    question.start();
  }

  link(port: MessagePort): void {
    const message: ToWorklet = { port };
    this.node.port.postMessage(message, [port]);
  }

  async chooseMicrophone(id: string): Promise<void> {
    this.take(await openMicrophone(id));
  }

  async chooseSpeaker(id: string): Promise<void> {
    await useSpeaker(this.context, id);
  }

  close(): void {
    this.node.port.onmessage = null;
    this.context.onstatechange = null;
    this.release();
    void this.context.close();
  }

  private take(stream: MediaStream): void {
    this.release();
    this.stream = stream;
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.gate);
    for (const track of stream.getAudioTracks()) track.onended = this.onMicrophoneLost;
  }

  private release(): void {
    this.source?.disconnect();
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
  }
}
