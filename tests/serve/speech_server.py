"""A server with models of recognition and synthesis: the golden ones, which are small and random."""

from dataclasses import replace

from duologue.lm.sampling import Sampling
from duologue.serve.settings import Settings
from duologue.serve.speech import Ears, Mouth
from duologue.serve.speech_routes import Speech
from duologue.weights import load
from tests.engine.speech_models import SPEECH, GoldenModel
from tests.serve.server import Server

VOICE = str(SPEECH / "voice0.safetensors")
RATE, FRAME_SIZE = 24_000, 1920


class Sampled(GoldenModel):
    """Its text is sampled: a greedy random model may write nothing at all in some recording."""

    @property
    def sampling(self) -> Sampling:
        return replace(super().sampling, text_temperature=1.0, text_top_k=0)


def speech_server(
    settings: Settings | None = None,
    slots: int = 2,
    ears: bool = True,
    mouth: bool = True,
    ping: float = 5.0,
    sampled: bool = False,
) -> Server:
    """Its model of recognition is `lm_heads`, greedy unless `sampled`; that of synthesis `lm_cond`."""
    tokenizer = load("tiny").tokenizer
    hearing = Sampled if sampled else GoldenModel
    speech = Speech(
        Ears(hearing("lm_heads", tokenizer), slots) if ears else None,
        Mouth(GoldenModel("lm_cond"), slots, voice=[VOICE]) if mouth else None,
    )
    return Server(settings or Settings(), speech=speech, ping=ping)
