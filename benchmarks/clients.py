"""Third-party clients of moshi-server, unmodified, against this server.

    python -m benchmarks.clients FOLDER --python PYTHON [--address HOST:PORT]

FOLDER holds checkouts of github.com/kyutai-labs/unmute and github.com/kyutai-labs/delayed-streams-modeling, by these
names; PYTHON is an interpreter (3.12) of an environment with their requirements. Without --address, a server of small
random models is started. Stubs replace the microphone, the loudspeaker and the display; the rest is their code.
Exits with 1 if any client fails.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from duologue.audio.files import read_mono, write_audio
from tests.serve.speech_server import speech_server

PATIENCE = 240.0  # timeout of a client in seconds
RATE = 24_000
TEXT = "It will be a fine day, I think."

STAND_INS = {
    # a microphone that hears the recording DUOLOGUE_MICROPHONE in real time, and then silence
    "sounddevice.py": """
import contextlib, os, threading, time
import numpy as np
import sphn

class InputStream:
    def __init__(self, samplerate, channels, dtype, callback, blocksize):
        self.callback, self.size, self.rate = callback, blocksize, samplerate
        self.over = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.run, daemon=True).start()

    def __exit__(self, *_):
        self.over.set()

    def run(self):
        wav, _ = sphn.read(os.environ["DUOLOGUE_MICROPHONE"], sample_rate=self.rate)
        wav = np.concatenate([wav[0], np.zeros(3600 * self.rate, np.float32)])
        at = 0
        while not self.over.wait(self.size / self.rate):
            with contextlib.suppress(RuntimeError):
                self.callback(wav[at : at + self.size, None], self.size, None, None)
            at += self.size
""",
    "librosa.py": "",
    "pydub/__init__.py": "class AudioSegment:\n    def __init__(self, *_, **__): pass\n",
    "pydub/playback.py": "def play(_): pass\n",
}

CUSTOM_VOICE = """
import asyncio, sys
import msgpack, numpy as np, sphn
from unmute.tts.text_to_speech import TextToSpeech, TTSAudioMessage, TTSClientEosMessage, TTSTextMessage
from unmute.tts.voice_cloning import voice_embeddings_cache

async def main(text, voice, out):
    vectors = np.load(voice)
    message = {"type": "Voice", "embeddings": vectors.ravel().tolist(), "shape": list(vectors.shape)}
    voice_embeddings_cache.set("custom:me", msgpack.packb(message))
    tts = TextToSpeech(voice="custom:me")
    await tts.start_up()
    await tts.send(text)
    await tts.send(TTSClientEosMessage())
    messages = [message async for message in tts]
    words = [m.text for m in messages if isinstance(m, TTSTextMessage)]
    assert words == text.split(), words
    pcm = [m.pcm for m in messages if isinstance(m, TTSAudioMessage)]
    sphn.write_wav(out, np.concatenate(pcm).astype(np.float32), 24000)

asyncio.run(main(*sys.argv[1:]))
"""
FLUSH = """
import asyncio, math, sys
import numpy as np, sphn
from unmute.kyutai_constants import FRAME_TIME_SEC, SAMPLES_PER_FRAME, STT_DELAY_SEC
from unmute.stt.speech_to_text import SpeechToText, STTWordMessage

async def main(path):
    wav, _ = sphn.read(path, sample_rate=24000)
    stt = SpeechToText()
    await stt.start_up()
    words = []

    async def listen():
        async for message in stt:
            if isinstance(message, STTWordMessage):
                words.append(message.text)

    task = asyncio.create_task(listen())
    for at in range(0, wav.shape[1], SAMPLES_PER_FRAME):
        await stt.send_audio(wav[0, at : at + SAMPLES_PER_FRAME])
    paused = stt.sent_samples / 24000
    for _ in range(math.ceil(STT_DELAY_SEC / FRAME_TIME_SEC) + 1):
        await stt.send_audio(np.zeros(SAMPLES_PER_FRAME, np.float32))
    async with asyncio.timeout(100):
        while stt.current_time <= paused - STT_DELAY_SEC:
            await asyncio.sleep(0.02)
    await stt.shutdown()
    await task
    assert words and 0 <= stt.pause_prediction.value <= 1
    print(" ".join(words))

asyncio.run(main(sys.argv[1]))
"""
FULL = """
import asyncio, sys
from unmute.exceptions import MissingServiceAtCapacity
from unmute.service_discovery import find_instance
from unmute.stt.speech_to_text import SpeechToText
from unmute.tts.text_to_speech import TextToSpeech

async def main(slots):
    for name, factory in (("stt", SpeechToText), ("tts", lambda url: TextToSpeech(tts_instance=url))):
        held = [await find_instance(name, factory, timeout_sec=30) for _ in range(slots)]
        try:
            await find_instance(name, factory, timeout_sec=30)
            raise SystemExit(f"{name}: one more than there are slots was let in")
        except MissingServiceAtCapacity:
            print(f"{name}: {slots} held, one more refused")
        for one in held:
            await one.websocket.close()

asyncio.run(main(int(sys.argv[1])))
"""


class Clients:
    def __init__(self, folder: Path, python: str, address: str, work: Path):
        self.unmute, self.streams = folder / "unmute", folder / "delayed-streams-modeling"
        for checkout in (self.unmute, self.streams):
            if not checkout.is_dir():
                raise SystemExit(f"there is no folder {checkout}")
        self._python, self._work, self._url = python, work, f"ws://{address}"
        self.recording, self.text = work / "said.wav", work / "text.txt"
        rng = np.random.default_rng(0)
        write_audio(self.recording, 0.2 * rng.standard_normal(2 * RATE).astype(np.float32), RATE)
        self.text.write_text(TEXT + "\n")
        for name, source in STAND_INS.items():
            path = work / "stand_ins" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)

    def run(self, *arguments: str, until: str | None = None) -> str:
        """What a client prints. Raises AssertionError if it fails. `until`: interrupted, as a person would, once it has
        printed this."""
        paths = [str(self._work / "stand_ins"), str(self.unmute)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "KYUTAI_STT_URL": self._url,
            "KYUTAI_TTS_URL": self._url,
            "KYUTAI_LLM_API_KEY": "none",
            "DUOLOGUE_MICROPHONE": str(self.recording),
            "PYTHONUNBUFFERED": "1",
        }
        if until is None:
            done = subprocess.run(
                [self._python, *arguments], env=environment, cwd=self._work, capture_output=True, text=True,
                timeout=PATIENCE,
            )  # fmt: skip
            assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
            return done.stdout
        started = [self._python, *arguments]
        process = subprocess.Popen(started, env=environment, cwd=self._work, stdout=subprocess.PIPE)
        timer = threading.Timer(PATIENCE, process.kill)  # of a client that prints nothing
        timer.start()
        try:
            assert process.stdout is not None
            seen = b""
            while until.encode() not in seen or len(seen.split()) < len(until.split()) + 10:
                piece = process.stdout.read(1)
                assert piece, seen
                seen += piece
        finally:
            timer.cancel()
            process.terminate()
            process.wait()
        return seen.decode()

    # Each returns what is to be shown of it

    def unmute_hears(self) -> str:
        out = self.run("-m", "unmute.scripts.stt_from_file_example", str(self.recording))
        words = out.count("type='Word'")
        assert words, out
        return f"{words} words"

    def unmute_flushes(self) -> str:
        return f"{len(self.run('-c', FLUSH, str(self.recording)).split())} words"

    def unmute_speaks(self) -> str:
        out = self._work / "unmute.wav"
        self.run("-m", "unmute.scripts.tts_example", TEXT, "--output-path", str(out))
        return _seconds(out)

    def unmute_speaks_with_a_voice_of_its_own(self) -> str:
        outs = []
        for seed in (1, 2):
            voice, out = self._work / f"voice{seed}.npy", self._work / f"custom{seed}.wav"
            np.save(voice, np.random.default_rng(seed).standard_normal((1, 12, 125)).astype(np.float32))
            self.run("-c", CUSTOM_VOICE, TEXT, str(voice), str(out))
            outs.append(out)
        assert not np.array_equal(*map(read_mono, outs)), "two voices, but the recordings are the same"
        return _seconds(outs[0])

    def unmute_finds_no_slot(self) -> str:
        return self.run("-c", FULL, "2").strip().replace("\n", "; ")

    def streams_hear(self) -> str:
        script = self.streams / "scripts" / "stt_from_file_rust_server.py"
        out = self.run(str(script), str(self.recording), "--url", self._url, "--rtf", "1000")
        words = [line for line in out.splitlines() if " - " in line]
        assert words, out
        return f"{len(words)} words with their times"

    def streams_hear_a_microphone(self) -> str:
        script = self.streams / "scripts" / "stt_from_mic_rust_server.py"
        began = "Starting the transcription"
        out = self.run(str(script), "--url", self._url, "--show-vad", until=began)
        return f"{len(out.split(began)[1].split())} words"

    def streams_speak(self) -> str:
        out = self._work / "streams.wav"
        script = self.streams / "scripts" / "tts_rust_server.py"
        self.run(str(script), str(self.text), str(out), "--url", self._url)
        return _seconds(out)


def _seconds(path: Path) -> str:
    assert soundfile.info(path).samplerate == RATE
    wav_S = read_mono(path)
    assert wav_S.size > RATE / 2 and np.abs(wav_S).max() > 0
    return f"{wav_S.size / RATE:.1f} s of speech"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--address")
    options = parser.parse_args()
    server = None if options.address else speech_server(sampled=True)
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        address = options.address or (server.address if server else "")
        clients = Clients(options.folder.resolve(), options.python, address, Path(work))
        checks: list[Callable[[], str]] = [
            clients.unmute_hears, clients.unmute_flushes, clients.unmute_speaks,
            clients.unmute_speaks_with_a_voice_of_its_own, clients.unmute_finds_no_slot, clients.streams_hear,
            clients.streams_hear_a_microphone, clients.streams_speak,
        ]  # fmt: skip
        for check in checks:
            name = check.__name__.replace("_", " ")
            try:
                print(f"{name}: {check()}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"{name}: FAILED\n{error}", flush=True)
    if server is not None:
        server.close()
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
