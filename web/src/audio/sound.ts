/** The page's half of the audio thread: microphone in, speaker out, blocks of both voices back. */
import workletAddress from "./duplex.worklet?worker&url";
import type { FromWorklet, ToWorklet } from "./blocks";
import { openMicrophone, useSpeaker } from "./devices";

export class Sound {
  private source: MediaStreamAudioSourceNode | null = null;
  private stream: MediaStream | null = null;

  private constructor(
    private readonly context: AudioContext,
    private readonly node: AudioWorkletNode,
    private readonly onMicrophoneLost: () => void,
  ) {}

  /** To be called from a press of a button: phones start sound for nothing less. */
  static async open(
    devices: { microphone: string; speaker: string },
    onBlock: (block: FromWorklet) => void,
    onMicrophoneLost: () => void,
  ): Promise<Sound> {
    const context = new AudioContext({ latencyHint: "interactive" });
    void context.resume();
    try {
      const stream = await openMicrophone(devices.microphone);
      await context.audioWorklet.addModule(workletAddress);
      const node = new AudioWorkletNode(context, "duplex", { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1] });
      node.port.onmessage = ({ data }: MessageEvent<FromWorklet>) => onBlock(data);
      node.connect(context.destination);
      const sound = new Sound(context, node, onMicrophoneLost);
      sound.take(stream);
      // A phone call or a sleeping tab suspends the sound without asking.
      context.onstatechange = () => {
        if (context.state !== "running" && context.state !== "closed") void context.resume();
      };
      if (devices.speaker) await sound.chooseSpeaker(devices.speaker).catch(() => undefined);
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
    this.send({ type: "mute", muted });
  }

  link(port: MessagePort): void {
    this.send({ type: "link", port }, [port]);
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
    this.source.connect(this.node);
    for (const track of stream.getAudioTracks()) track.onended = this.onMicrophoneLost;
  }

  private release(): void {
    this.source?.disconnect();
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
  }

  private send(message: ToWorklet, transfer: Transferable[] = []): void {
    this.node.port.postMessage(message, transfer);
  }
}
