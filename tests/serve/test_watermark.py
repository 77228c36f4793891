"""What a server with --watermark sends carries the mark, and nothing else changes."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.cli.app import main
from duologue.engine.session import AgentFrame
from duologue.lm.sampling import Sampling
from duologue.serve.metrics import Metrics
from duologue.serve.pool import Call, Pool
from duologue.serve.settings import Settings

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))


@dataclass
class Engine:
    """Says ready frames; its one session is itself."""

    frames: list[AgentFrame]
    stuck: bool = False
    ended: str | None = None
    last_sound: float = field(default=0.0)

    def now(self) -> float:
        return 0.0

    def open(self, *_) -> "Engine":
        return self

    def take(self, most: int) -> list[AgentFrame]:
        return [self.frames.pop(0)]


@pytest.mark.parametrize("watermark", [True, False])
def test_what_is_sent_is_marked(watermark: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wav_S = np.concatenate([read_mono(path) for path in SPEECH[:6]])
    wav_S = wav_S[: len(wav_S) // 1920 * 1920]
    frames = [AgentFrame(k, part_S, "", -2) for k, part_S in enumerate(wav_S.reshape(-1, 1920))]
    settings = Settings(watermark=watermark)

    async def hear() -> np.ndarray:
        pool = Pool(Engine(frames), settings, Metrics(), None, "echo")  # pyright: ignore[reportArgumentType]
        call = Call(pool, Sampling(), "test")
        return np.concatenate([(await call.said())[0].wav_S for _ in range(len(frames))])

    sent_S = asyncio.run(hear())
    assert (np.abs(sent_S - wav_S).max() > 0) == watermark
    write_audio(tmp_path / "sent.wav", sent_S)
    main(["detect", str(tmp_path / "sent.wav")])
    assert ("sent.wav: marked" in capsys.readouterr().out) == watermark
