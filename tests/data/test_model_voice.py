"""Conversations whose voices are a model of synthesis (a small random one)."""

import json

import numpy as np
import pytest

from duologue.audio.files import read_audio
from duologue.data.director import Director
from duologue.data.manifest import read_manifest, read_transcript
from duologue.data.model_voice import ModelVoice
from duologue.data.options import Situations, Timing
from duologue.data.runner import run
from duologue.data.script import Script
from duologue.data.speakers import SynthesisedSpeakers
from duologue.data.synth import Synth, plans
from duologue.errors import InputError
from duologue.types import AGENT, USER
from tests.engine.speech_models import SPEECH, GoldenModel

VOICES = [str(SPEECH / f"voice{i}.safetensors") for i in range(2)]
TURNS = [["Is it you?", "It will be a fine day."], ["One two three.", "Yes it is."]]


@pytest.fixture(scope="module")
def voice() -> ModelVoice:
    return ModelVoice(GoldenModel("lm_cond"))


def test_words_and_their_times(voice: ModelVoice) -> None:
    wav_S, words = voice.say("It will be a fine day.", VOICES[0])
    assert [word.text for word in words] == ["It", "will", "be", "a", "fine", "day."]
    times = [at for word in words for at in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= len(wav_S) / 24_000 + 0.001
    again_S, _ = voice.say("It will be a fine day.", VOICES[0])
    np.testing.assert_array_equal(wav_S, again_S)
    other_S, _ = voice.say("It will be a fine day.", VOICES[1])
    assert len(other_S) != len(wav_S) or (other_S != wav_S).any()


def test_a_voice_that_is_none(voice: ModelVoice) -> None:
    with pytest.raises(InputError):
        voice.say("Hello.", "/nowhere/voice.safetensors")


def test_conversations_with_transcripts_that_can_be_resumed(voice: ModelVoice, tmp_path) -> None:
    (tmp_path / "script.jsonl").write_text(json.dumps({"id": "a", "turns": TURNS}) + "\n")
    script, out = Script.read(tmp_path / "script.jsonl"), tmp_path / "out"
    out.mkdir()
    calls = []

    class Counted(ModelVoice):
        def __init__(self) -> None:
            self.name = voice.name

        def say(self, text: str, name: str, speed: float = 1.0):
            calls.append(text)
            return voice.say(text, name, speed)

    def made(count: int) -> list:
        speakers = SynthesisedSpeakers(Counted(), script, VOICES[0], [VOICES[1]])
        director = Director(speakers, script, Situations(), Timing(), 10.0)
        run(Synth(director, out), plans(count, 3), out / "manifest.jsonl", label="conversations")
        return sorted(read_manifest(out / "manifest.jsonl"), key=lambda row: row["id"])

    first, spoken = made(1)[0], len(calls)
    assert spoken >= 4
    sound = read_audio(first["path"]).copy()
    assert len(made(2)) == 2
    np.testing.assert_array_equal(read_audio(first["path"]), sound)
    assert len(calls) == 2 * spoken  # only the second conversation was spoken
    assert sound.shape[0] == 2
    assert np.abs(sound).max(1).min() > 0.01
    words = read_transcript(first["path"]).words
    for who, which in ((USER, 0), (AGENT, 1)):
        said = [word.text for word in words if word.speaker == who]
        assert said == [word for turn in TURNS for word in turn[which].split()]
    for turn in first["turns"]:
        inside = [w for w in words if turn["start"] - 0.1 <= w.start and w.end <= turn["end"] + 0.1]
        assert {w.text for w in inside} >= set(turn["said"].split())
