/** Microphones and speakers. */

export interface Device {
  id: string;
  label: string;
}

export async function listDevices(): Promise<{ microphones: Device[]; speakers: Device[] }> {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const named = (kind: MediaDeviceKind) =>
    all
      // Before permission is given browsers name nothing; "default" repeats another entry.
      .filter((device) => device.kind === kind && device.deviceId !== "" && device.deviceId !== "default")
      .map((device, i) => ({ id: device.deviceId, label: device.label || `${kind === "audioinput" ? "Microphone" : "Speaker"} ${i + 1}` }));
  return { microphones: named("audioinput"), speakers: canChooseSpeaker() ? named("audiooutput") : [] };
}

export async function openMicrophone(id: string): Promise<MediaStream> {
  return navigator.mediaDevices.getUserMedia({
    audio: {
      channelCount: 1,
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      ...(id ? { deviceId: { exact: id } } : {}),
    },
  });
}

type WithSink = AudioContext & { setSinkId(id: string): Promise<void> };

export function canChooseSpeaker(): boolean {
  return typeof AudioContext !== "undefined" && "setSinkId" in AudioContext.prototype;
}

export async function useSpeaker(context: AudioContext, id: string): Promise<void> {
  if (canChooseSpeaker()) await (context as WithSink).setSinkId(id);
}
