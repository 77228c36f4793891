"""A server with models of recognition and synthesis: the golden ones, which are small and random."""

from duologue.serve.settings import Settings
from duologue.serve.speech import Ears, Mouth
from duologue.serve.speech_routes import Speech
from duologue.weights import load
from tests.engine.speech_models import SPEECH, GoldenModel
from tests.serve.server import Server

VOICE = str(SPEECH / "voice0.safetensors")
RATE, FRAME_SIZE = 24_000, 1920


def speech_server(
    settings: Settings | None = None,
    slots: int = 2,
    ears: bool = True,
    mouth: bool = True,
    ping: float = 5.0,
) -> Server:
    """Its model of recognition is `lm_heads`, that of synthesis `lm_cond`."""
    tokenizer = load("tiny").tokenizer
    speech = Speech(
        Ears(GoldenModel("lm_heads", tokenizer), slots) if ears else None,
        Mouth(GoldenModel("lm_cond"), slots, voice=[VOICE]) if mouth else None,
    )
    return Server(settings or Settings(), speech=speech, ping=ping)
