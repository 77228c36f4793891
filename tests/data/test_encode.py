from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.audio.files import write_audio
from duologue.audio.framing import pad_to_frames
from duologue.data import encode
from duologue.data.encode import WHOLE_FRAMES, Encode, encode_frames, samples_of
from duologue.data.manifest import Transcript, write_transcript
from duologue.data.runner import run
from duologue.data.shards import ShardReader, write_shards
from duologue.errors import InputError
from duologue.presets import tiny_codec
from duologue.types import Word
from duologue.weights.random import random_codec

from .sounds import buzz, silence


@pytest.fixture(scope="module")
def codec():
    return random_codec(tiny_codec()).eval()


def talk(seconds=0.5):
    return np.stack(
        [np.concatenate([silence(0.3), buzz(seconds)]), np.concatenate([buzz(seconds, 200), silence(0.3)])]
    )


def encode_stereo(codec, wav_CS, whole=WHOLE_FRAMES):
    return encode_frames(codec, np.split(pad_to_frames(wav_CS), -(-wav_CS.shape[1] // 1920), axis=1), whole)


def test_a_long_recording_is_streamed_to_the_same_codes(codec):
    wav_CS = talk()
    codes_CQT = encode_stereo(codec, wav_CS, whole=3)
    assert codes_CQT.dtype == np.int16
    assert codes_CQT.shape == (2, 8, 10)  # 0.8 s
    assert len(np.unique(codes_CQT)) > 10
    np.testing.assert_array_equal(codes_CQT, encode_stereo(codec, wav_CS))
    padded_BS = torch.from_numpy(wav_CS)
    with torch.inference_mode():
        np.testing.assert_array_equal(codes_CQT, codec.encode(padded_BS).numpy())
    assert encode_stereo(codec, wav_CS[:, :-1000]).shape == (2, 8, 10)


def test_conversations_become_shards_and_a_bad_file_is_left_out(codec, tmp_path):
    rows = []
    for name in "abc":
        path = tmp_path / f"{name}.wav"
        write_audio(path, talk())
        write_transcript(path, Transcript([Word("hi", 0.1, 0.4)], {"tone": "kind"}))
        rows.append({"path": str(path), "id": name, "duration": 0.8, "turns": []})
    (tmp_path / "b.wav").write_bytes(b"nothing")
    write_audio(tmp_path / "mono.wav", buzz(0.2))
    write_transcript(tmp_path / "mono.wav", Transcript([]))
    rows.append({"path": str(tmp_path / "mono.wav"), "id": "mono"})
    done = run(Encode(codec, tmp_path / "codes"), rows, tmp_path / "out.jsonl")
    assert [bad["id"] for bad in done.bad] == ["b", "mono"]
    assert "1 channels" in done.bad[1]["error"]
    assert [row["frames"] for row in done.rows] == [10, 10]
    write_shards(tmp_path / "shards", samples_of(done.rows))
    reader = ShardReader(tmp_path / "shards", shuffle=False)
    sample = next(reader)
    np.testing.assert_array_equal(sample["codes.npy"], encode_stereo(codec, talk()))
    assert sample["json"] == {
        "id": "a", "duration": 0.8, "turns": [], "frames": 10,
        "alignments": [[" hi", [0.1, 0.4], "SPEAKER_MAIN"]], "text_conditions": {"tone": "kind"},
    }  # fmt: skip
    assert next(reader)["json"]["id"] == "c"


def recording(path, seconds=0.5, words=(("hi", 0.1, 0.4),)):
    """A conversation with a transcript (none: no file); its row."""
    path.parent.mkdir(exist_ok=True)
    write_audio(path, talk(seconds))
    if words is not None:
        write_transcript(path, Transcript([Word(*word) for word in words]))
    return {"path": str(path)}


def test_codes_that_are_there_are_not_made_again(codec, tmp_path, monkeypatch):
    row, stage = recording(tmp_path / "a.wav"), Encode(codec, tmp_path / "codes")
    (first,) = stage([dict(row)])
    monkeypatch.setattr(encode, "encode_frames", None)
    assert stage([dict(row)]) == [first]
    monkeypatch.undo()
    Path(first["codes"]).unlink()
    assert stage([dict(row)]) == [first] and Path(first["codes"]).exists()


def test_two_recordings_of_one_name_have_codes_of_their_own(codec, tmp_path):
    rows = [recording(tmp_path / "s1" / "0001.wav", 0.5), recording(tmp_path / "s2" / "0001.wav", 1.0)]
    for some in (rows[:1], rows[1:], rows):  # one after the other, and both at once
        done = run(Encode(codec, tmp_path / "codes"), some, tmp_path / "out.jsonl")
        write_shards(tmp_path / "shards", samples_of(done.rows))
    reader = ShardReader(tmp_path / "shards", shuffle=False)
    first, second = next(reader), next(reader)
    np.testing.assert_array_equal(first["codes.npy"], encode_stereo(codec, talk(0.5)))
    np.testing.assert_array_equal(second["codes.npy"], encode_stereo(codec, talk(1.0)))


def test_a_replaced_recording_is_encoded_again(codec, tmp_path):
    row, stage = recording(tmp_path / "a.wav"), Encode(codec, tmp_path / "codes")
    assert run(stage, [row], tmp_path / "out.jsonl").rows[0]["frames"] == 10
    assert run(stage, [row], tmp_path / "out.jsonl").resumed == 1
    recording(tmp_path / "a.wav", 1.0)
    again = run(stage, [row], tmp_path / "out.jsonl")
    assert (again.resumed, again.rows[0]["frames"]) == (0, 17)
    np.testing.assert_array_equal(np.load(again.rows[0]["codes"]), encode_stereo(codec, talk(1.0)))


def test_a_folder_holds_the_codes_of_one_codec(codec, tmp_path):
    row = recording(tmp_path / "a.wav")
    run(Encode(codec, tmp_path / "codes"), [row], tmp_path / "out.jsonl")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other = random_codec(tiny_codec(), seed=5)
    with pytest.raises(InputError, match="other settings .*codec"):
        run(Encode(other, tmp_path / "codes"), [row], tmp_path / "out.jsonl")
    (kept,) = Encode(codec, tmp_path / "codes")([dict(row)])
    (made,) = Encode(other, tmp_path / "codes")([dict(row)])
    assert not np.array_equal(np.load(kept["codes"]), np.load(made["codes"]))


BROKEN = {
    "no words": None,
    "times that are none": '{"alignments": [[" 42", [null, null], "SPEAKER_MAIN"], [" x", [1, 1.2], "SPEAKER_MAIN"]]}',
    "a key twice": '{"alignments": [], "alignments": [[" x", [0.1, 0.2], "SPEAKER_MAIN"]]}',
    "NaN": '{"alignments": [[" x", [NaN, 0.2], "SPEAKER_MAIN"]]}',
    "an end before its start": '{"alignments": [[" x", [0.4, 0.2], "SPEAKER_MAIN"]]}',
    "a word after the end": '{"alignments": [[" x", [9.0, 9.2], "SPEAKER_MAIN"]]}',
    "another recording's": '{"alignments": [], "aligned": "0123"}',
    "nesting without end": "[" * 100_000,
}


def test_a_broken_transcript_costs_its_row_alone(codec, tmp_path):
    rows = []
    for number, body in enumerate(BROKEN.values()):
        rows.append(recording(tmp_path / f"{number}.wav", words=None))
        if body is not None:
            (tmp_path / f"{number}.json").write_text(body)
    rows.append(recording(tmp_path / "good.wav"))
    done = run(Encode(codec, tmp_path / "codes"), rows, tmp_path / "out.jsonl")
    assert [bad["id"] for bad in done.bad] == [row["path"] for row in rows[:-1]]
    assert all("\n" not in bad["error"] and bad["error"].startswith("InputError") for bad in done.bad)
    write_shards(tmp_path / "shards", samples_of(done.rows))
    assert len(ShardReader(tmp_path / "shards")) == 1
    # mended, it is packed as well
    write_transcript(tmp_path / "1.wav", Transcript([Word("hi", 0.1, 0.4)]))
    assert len(run(Encode(codec, tmp_path / "codes"), rows, tmp_path / "out.jsonl").rows) == 2


def test_sound_alone_is_packed_where_asked_for(codec, tmp_path):
    row = recording(tmp_path / "a.wav", words=None) | {"audio_only": True}
    done = run(Encode(codec, tmp_path / "codes"), [row], tmp_path / "out.jsonl")
    (sample,) = samples_of(done.rows)
    assert sample["json"]["audio_only"] and "alignments" not in sample["json"]
    del row["audio_only"]
    assert len(run(Encode(codec, tmp_path / "codes"), [row], tmp_path / "out.jsonl").bad) == 1


def test_a_name_of_any_length_and_letters_fits_a_tar(codec, tmp_path):
    rows = [recording(tmp_path / f"{name}.wav") for name in ("日" * 70, "x" * 230, "speaker é.v1", "...")]
    done = run(Encode(codec, tmp_path / "codes"), rows, tmp_path / "out.jsonl")
    write_shards(tmp_path / "shards", samples_of(done.rows))
    assert (len(done.bad), len(ShardReader(tmp_path / "shards"))) == (0, 4)
