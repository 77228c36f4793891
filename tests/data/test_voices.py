import json
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.data.voices import (
    SAMPLE_RATE,
    Espeak,
    Kokoro,
    Piper,
    PocketTTS,
    parse_mixture,
    read_clip,
    read_index,
    tidy,
)
from duologue.errors import InputError

from .sounds import buzz, clip_folder, silence


def test_mixtures_are_parsed_and_normalised():
    assert parse_mixture("af_sky") == {"af_sky": 1.0}
    assert parse_mixture("a:1+b:3") == {"a": 0.25, "b": 0.75}
    for bad in ("a:x", "a:-1+b:2", "a:0"):
        with pytest.raises(InputError):
            parse_mixture(bad)


def test_a_clip_is_trimmed_and_kept_below_the_peak():
    wav_S = tidy(np.concatenate([silence(0.5), buzz(0.4, level=1.5), silence(0.7)]))
    assert len(wav_S) / SAMPLE_RATE == pytest.approx(0.52, abs=0.01)
    assert np.abs(wav_S).max() == pytest.approx(0.7)
    assert wav_S[0] == wav_S[-1] == 0
    assert len(tidy(silence(1))) == 0


def test_clips_in_folders_and_tars_are_the_same(tmp_path):
    folder = tmp_path / "some"
    clip_folder(folder, [("hi-0", "user", "ann", "hello there"), ("hi-1", "user", "bob", "hello there")])
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    for place in (folder, tmp_path / "some.tar"):
        assert [row["voice"] for row in read_index(place)] == ["ann", "bob"]
        np.testing.assert_array_equal(read_clip(read_index(place)[1]), read_clip(read_index(folder)[1]))
    with pytest.raises(InputError, match="neither"):
        read_index(tmp_path / "nowhere")


def test_the_old_name_of_the_agent_is_read(tmp_path):
    clip_folder(
        tmp_path, [("a", "moshi", "ann", "one"), ("b", "agent", "ann", "two"), ("c", "user", "bob", "three")]
    )
    assert [row["role"] for row in read_index(tmp_path)] == ["agent", "agent", "user"]


def test_an_unfinished_clip_is_not_listed(tmp_path):
    clip_folder(tmp_path, [("a", "user", "ann", "one")])
    (tmp_path / "b.flac").write_bytes(b"half")
    assert [row["text"] for row in read_index(tmp_path)] == ["one"]


@pytest.fixture
def kokoro(tmp_path, monkeypatch):
    """A Kokoro whose network returns a buzz and keeps what it was fed."""
    fed = []

    class Session:
        def __init__(self, path, options):
            assert options.intra_op_num_threads == 1

        def run(self, _, feed):
            fed.append(feed)
            return [buzz(0.5)[None]]

    fake = types.SimpleNamespace(InferenceSession=Session, SessionOptions=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    (tmp_path / "voices").mkdir()
    (tmp_path / "model.onnx").touch()
    (tmp_path / "vocab.json").write_text(json.dumps({"vocab": {"h": 5, "i": 7}}))
    for number, name in enumerate(["af_a", "bf_b"], 1):
        rows = np.arange(510, dtype=np.float32)[:, None, None] * np.ones((1, 1, 256), np.float32)
        (number * rows).tofile(tmp_path / "voices" / f"{name}.bin")
    asked = []

    def phonemizer(language):
        asked.append(language)
        return types.SimpleNamespace(phonemize=lambda texts: [text.replace("y", "i") for text in texts])

    monkeypatch.setattr("duologue.data.voices._phonemizer", phonemizer)
    return Kokoro(tmp_path), fed, asked


def test_kokoro_is_fed_tokens_style_and_speed(kokoro):
    voice, fed, asked = kokoro
    wav_S = voice.speak("hi? hy!", "af_a:1+bf_b:3", 1.2)
    assert len(wav_S) == SAMPLE_RATE // 2
    np.testing.assert_array_equal(fed[0]["tokens"], [[0, 5, 7, 5, 7, 0]])
    np.testing.assert_allclose(fed[0]["style"], np.full((1, 256), 0.25 * 4 + 0.75 * 8))
    np.testing.assert_allclose(fed[0]["speed"], [1.2])
    voice.speak("hi", "af_a")
    assert asked == ["en-gb", "en-us"]
    for text, name in (("xyz" * 0 + "qq", "af_a"), ("hi" * 300, "af_a"), ("hi", "zz_none")):
        with pytest.raises(InputError):
            voice.speak(text, name)


def test_kokoro_says_where_its_model_is_missing(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="no Kokoro model"):
        Kokoro(tmp_path)


def test_piper_is_fed_phonemes_and_tells_when_its_words_are_spoken(tmp_path, monkeypatch):
    fed, asked = [], []

    class Session:
        def __init__(self, model, options):
            assert model == b"with ceil" and options.intra_op_num_threads == 1

        def run(self, _, feed):
            fed.append(feed)
            frames = np.full(feed["input"].shape[1], 5, np.float32)
            return [buzz(0.5)[: 6000 // len(frames) * len(frames)][None, None], frames[None, None]]

    node = types.SimpleNamespace(op_type="Ceil", output=["ceil"])
    graph = types.SimpleNamespace(node=[node], output=[])
    model = types.SimpleNamespace(graph=graph, SerializeToString=lambda: b"with " + graph.output[0].encode())
    onnx = types.SimpleNamespace(load=lambda path: model, ValueInfoProto=lambda name: name)
    run = types.SimpleNamespace(InferenceSession=Session, SessionOptions=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "onnx", onnx)
    monkeypatch.setitem(sys.modules, "onnxruntime", run)
    monkeypatch.setattr(
        "duologue.data.voices._phonemizer",
        lambda language: asked.append(language) or types.SimpleNamespace(phonemize=list),
    )
    with pytest.raises(InputError, match="0 voices of Piper here"):
        Piper(tmp_path)
    (tmp_path / "joe.onnx").touch()
    config = {
        "audio": {"sample_rate": 12_000}, "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.5, "length_scale": 1.2, "noise_w": 0.8},
        "phoneme_id_map": {"_": [0], "^": [1], "$": [2], "h": [5], "i": [7, 8], " ": [3], ".": [10]},
    }  # fmt: skip
    (tmp_path / "joe.onnx.json").write_text(json.dumps(config))
    voice = Piper(tmp_path)
    wav_S, words = voice.say("hih. hx", speed=2.0)
    np.testing.assert_array_equal(fed[0]["input"], [[1, 0, 5, 0, 7, 8, 0, 5, 0, 10, 0, 3, 0, 5, 0, 2]])
    np.testing.assert_array_equal(fed[0]["input_lengths"], [16])
    np.testing.assert_allclose(fed[0]["scales"], [0.5, 0.6, 0.8])
    seconds = 6000 / 12_000  # a sixteenth for each id; the sound is loud all along
    assert len(wav_S) / SAMPLE_RATE == pytest.approx(seconds, abs=0.01)
    assert [word.text for word in words] == ["hih.", "hx"]
    assert [word.start for word in words] == pytest.approx([2 / 16 * seconds, 13 / 16 * seconds], abs=0.01)
    assert [word.end for word in words] == pytest.approx([9 / 16 * seconds, 15 / 16 * seconds], abs=0.01)
    assert voice.say("hih hih")[1] and not voice.say("hi?hi x hi")[1]  # "x" has no phoneme
    with pytest.raises(InputError, match="no phoneme"):
        voice.speak("?")
    assert asked == ["en-us"]

    smaller_S, faster = voice.say("hih. hx", "joe@1.25", speed=2.0)
    np.testing.assert_allclose(
        fed[-1]["scales"], [0.5, 0.6 * 1.25, 0.8]
    )  # as much longer as it is then shortened
    assert len(smaller_S) / SAMPLE_RATE == pytest.approx(seconds / 1.25, abs=0.01)
    assert [w.end for w in faster] == pytest.approx([w.end / 1.25 for w in words], abs=0.01)
    with pytest.raises(InputError, match="NAME@1.2"):
        voice.say("hi", "joe@high")
    node.op_type = "Floor"
    with pytest.raises(InputError, match="how long its phonemes last"):
        Piper(tmp_path)


def test_espeak_is_run_as_a_program(tmp_path):
    program = tmp_path / "espeak-ng"
    sound = (buzz(0.5)[::2] * 32767).astype("<i2").tobytes()
    header = (
        b"RIFF\xff\xff\xff\x7fWAVEfmt " + bytes([16, 0, 0, 0, 1, 0, 1, 0]) + (12_000).to_bytes(4, "little")
    )
    (tmp_path / "wav").write_bytes(header + bytes(6) + b"\x10\x00data\xff\xff\xff\x7f" + sound)
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/args\ncat {tmp_path}/wav\n')
    program.chmod(0o755)
    wav_S = Espeak(str(program)).speak("hello", "en-us+f3", 1.5)
    assert len(wav_S) / SAMPLE_RATE == pytest.approx(0.5, abs=0.03)
    assert (tmp_path / "args").read_text().split() == [
        "--stdout",
        "-v",
        "en-us+f3",
        "-s",
        "255",
        "--",
        "hello",
    ]
    program.write_text("#!/bin/sh\necho no such voice >&2\nexit 1\n")
    with pytest.raises(InputError, match="no such voice"):
        Espeak(str(program)).speak("hello", "xx")
    with pytest.raises(InputError, match="not installed"):
        Espeak(str(Path(tmp_path) / "missing")).speak("hello")


def test_pocket_tts_is_asked_for_a_voice_once(monkeypatch):
    asked = []

    class TTSModel:
        sample_rate = 24_000

        @classmethod
        def load_model(cls):
            return cls()

        def get_state_for_audio_prompt(self, audio_conditioning):
            asked.append(audio_conditioning)
            return {"voice": audio_conditioning}

        def generate_audio(self, model_state, text_to_generate):
            assert model_state == {"voice": "alba"}
            return torch.from_numpy(buzz(0.1 * len(text_to_generate.split())))

    monkeypatch.setitem(sys.modules, "pocket_tts", types.SimpleNamespace(TTSModel=TTSModel))
    voice = PocketTTS()
    assert len(voice.speak("one two three four", "alba")) / SAMPLE_RATE == pytest.approx(0.4, abs=0.01)
    assert len(voice.speak("one two three four", "alba", 2.0)) / SAMPLE_RATE == pytest.approx(0.2, abs=0.01)
    assert asked == ["alba"]


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocket_tts", None)
    with pytest.raises(InputError, match="pip install pocket-tts"):
        PocketTTS()


BAD_CLIPS = [
    "[]", "null", "{", "", '{"text": 3}', '{"text": "a", "voice": []}', '{"text": "a", "words": 3}',
    '{"text": "a", "words": [["a", 1]]}', '{"text": "a", "words": [["a", null, 1]]}', '{"text": "a", "seconds": "3"}',
    '{"text": "a", "words": [["a", 2, 1]]}', "[" * 100_000, "\udcff", '{"text": "a", "text": "b"}',
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_CLIPS)
def test_a_clip_that_is_none_is_named(tmp_path, body):
    folder = tmp_path / "some"
    clip_folder(folder, [("hi-0", "user", "ann", "hello there")])
    (folder / "hi-0.json").write_bytes(body.encode(errors="surrogateescape"))
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    for place in (folder, tmp_path / "some.tar"):
        with pytest.raises(InputError, match=r"hi-0.json") as caught:
            read_index(place)
        assert "\n" not in str(caught.value)


def test_a_damaged_clip_is_named(tmp_path):
    clip_folder(tmp_path, [("hi-0", "user", "ann", "hello there")])
    (row,) = read_index(tmp_path)
    body = (tmp_path / "hi-0.flac").read_bytes()
    (tmp_path / "hi-0.flac").write_bytes(body[: len(body) // 2])
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for name in ("hi-0.json", "hi-0.flac"):
            tar.add(tmp_path / name, name)
    for bad in (row, *read_index(tmp_path / "some.tar"), row | {"file": "absent.flac"}):
        with pytest.raises(InputError, match=r"hi-0.flac|absent.flac"):
            read_clip(bad)
    with pytest.raises(InputError, match=r"some.tar is damaged"):
        read_clip(row | {"place": str(tmp_path / "some.tar"), "file": "absent.flac"})
