import json
import re
import sys
import types

import numpy as np
import pytest
import tyro

from duologue.audio.files import write_audio
from duologue.cli import CONFIG
from duologue.data import align, diarize
from duologue.data.commands import Align, Augment, Data, Diarize, Encode, Synth
from duologue.data.manifest import Word, read_manifest, read_transcript, write_manifest
from duologue.data.shards import ShardReader
from duologue.errors import InputError

from .sounds import buzz, clip_folder


class Hears:
    """Stands in for Whisper."""

    def __init__(self, folder, device="cpu", threads=1):
        assert str(folder) == "whisper"

    def known(self, wav_S, text):
        return [Word(text, 0.1, 0.3)]

    def unknown(self, wav_S):
        return [Word("heard", 0.1, 0.3)]


def parse(*args):
    return tyro.cli(Data, args=[str(arg) for arg in args], config=CONFIG)


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for name in ("a", "b", "c"):
        write_audio(tmp_path / f"{name}.wav", np.stack([buzz(0.5), buzz(0.5, 200)]))
        rows.append({"path": str(tmp_path / f"{name}.wav"), "duration": 0.5, "id": name})
    (tmp_path / "b.wav").write_bytes(b"broken")
    write_manifest(tmp_path / "set.jsonl", rows)
    return tmp_path / "set.jsonl"


def test_every_verb_is_understood():
    verbs = {
        Synth: ("synth", "script.jsonl", "out", "--pause", "0.2", "0.9"),
        Align: ("align", "set.jsonl", "--whisper", "w"),
        Diarize: ("diarize", "set.jsonl", "out", "--speakers", "None"),
        Augment: ("augment", "set.jsonl", "out", "--telephone", "0.5"),
        Encode: ("encode", "set.jsonl", "out", "--model", "tiny"),
    }
    for verb, args in verbs.items():
        assert isinstance(parse(*args), verb)
    assert parse(*verbs[Synth]).timing.pause == (0.2, 0.9)


def test_conversations_are_aligned_augmented_and_encoded(tmp_path, manifest, monkeypatch):
    monkeypatch.setattr(align, "WhisperAligner", Hears)
    parse("align", manifest, "--whisper", "whisper").run()
    assert [w.text for w in read_transcript(tmp_path / "c.wav").words] == ["heard", "heard"]
    parse("augment", manifest, tmp_path / "loud", "--take", "2").run()
    parse("encode", tmp_path / "loud" / "manifest.jsonl", tmp_path / "codes", "--model", "tiny").run()
    assert [row["id"] for row in read_manifest(tmp_path / "codes" / "manifest.jsonl")] == ["a", "c"]
    reader = ShardReader(tmp_path / "codes" / "shards", shuffle=False)
    sample = next(reader)
    assert (len(reader), sample["json"]["id"], sample["codes.npy"].shape) == (2, "a", (2, 8, 7))
    assert re.fullmatch("a-[0-9a-f]{16}", sample["key"])
    assert sample["json"]["alignments"][0] == [" heard", [0.1, 0.3], "SPEAKER_MAIN"]
    for place in ("set.errors", "loud/manifest.errors"):
        assert json.loads((tmp_path / place).read_text())["id"] == "b"


def test_clips_are_aligned_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(align, "WhisperAligner", Hears)
    clip_folder(tmp_path, [("x-0", "user", "ann", "hello"), ("x-1", "user", "ann", "hello there")])
    place = tmp_path / "x-0.json"
    place.write_text(
        json.dumps(json.loads(place.read_text()) | {"words": None}).replace(', "words": null', "")
    )
    parse("align", tmp_path, "--whisper", "whisper").run()
    assert json.loads(place.read_text())["words"] == [["hello", 0.1, 0.3]]


def test_recordings_are_diarized(tmp_path, manifest, monkeypatch):
    asked = {}

    def fake(model, token, device, speakers):
        asked.update(model=model, token=token, speakers=speakers)
        return lambda wav_S: [diarize.Turn(0.0, 0.3, "A")]

    monkeypatch.setattr(diarize, "Pyannote", fake)
    parse("diarize", manifest, tmp_path / "out", "--token", "secret").run()
    assert asked["token"] == "secret"
    assert asked["speakers"] == 2
    assert [row["main"] for row in read_manifest(tmp_path / "out" / "manifest.jsonl")] == ["A", "A"]


def test_a_synthesiser_needs_voices(tmp_path, monkeypatch):
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": "a", "user": ["Hi."], "moshi": "Hello."}))
    with pytest.raises(InputError, match="say who speaks"):
        parse("synth", tmp_path / "s.jsonl", tmp_path / "out").run()
    with pytest.raises(InputError, match="needs --agent NAME and --users"):
        parse("synth", tmp_path / "s.jsonl", tmp_path / "out", "--voice", "espeak").run()
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace())
    with pytest.raises(InputError, match="no Kokoro model"):
        parse("synth", tmp_path / "s.jsonl", tmp_path / "out", "--kokoro", tmp_path).run()
