"""What `make_speech.py` has the reference say and hear, and a tokenizer small enough for its models."""

from typing import Any

VOICE_FRAMES, MAX_SPEAKERS = 125, 5
TEXT_CARD = 24


class Letters:
    """A word is a token for each of its first three letters."""

    def encode(self, word: str) -> list[int]:
        return [4 + ord(letter) % (TEXT_CARD - 5) for letter in word[:3]]


TURNS = ["Hello there, my old friend (again):", "Is it you?", 'One <break time="0.5s"/> two three.']
LONG = (
    "a much longer text than the context of sixteen frames holds, so that the first of it has been forgotten"
)

# Of the model `lm_cond`: speaker by cross-attention, guidance as a condition, look-ahead of two words.
TTS_CASES: dict[str, dict[str, Any]] = {
    "plain": {"script": ["It will be a fine day."], "voices": [0], "guidance": 2.0},
    "other_voice": {"script": ["It will be a fine day."], "voices": [1], "guidance": 3.5},
    "turns": {"script": TURNS, "voices": [0, 1], "guidance": 1.0},
    "long": {"script": [LONG], "voices": [1], "guidance": 2.0},
    "slow": {"script": ["It will be a fine day."], "voices": [0], "guidance": 2.0, "bonus": 6.0},
    "fewer": {"script": ["It will be a fine day."], "voices": [0], "guidance": 2.0, "codebooks": 5},
}
# Of the model `lm_prefix`: the voice is a recording that comes first, guidance by a second half of the batch.
PREFIX_CASES: dict[str, dict[str, Any]] = {
    "prefix": {"script": ["It will be a fine day."], "prefix": 9, "guidance": 2.0},
    "unguided": {"script": [LONG], "prefix": 5, "guidance": 1.0},
}
TRANSLATION = {"guidance": 3.0, "steps": 40}
STT = {"frames": 50, "batch": 2}
PROMPT = [9, 17, 4]  # tokens that recognition must write first
