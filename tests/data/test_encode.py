import numpy as np
import pytest
import torch

from duologue.audio.files import write_audio
from duologue.data.encode import Encode, encode_stereo, samples_of
from duologue.data.manifest import Transcript, Word, write_transcript
from duologue.data.runner import run
from duologue.data.shards import ShardReader, write_shards
from duologue.presets import random_codec, tiny_codec

from .sounds import buzz, silence


@pytest.fixture(scope="module")
def codec():
    return random_codec(tiny_codec()).eval()


def talk(seconds=0.5):
    return np.stack(
        [np.concatenate([silence(0.3), buzz(seconds)]), np.concatenate([buzz(seconds, 200), silence(0.3)])]
    )


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
    assert next(reader)["key"] == "c"


def test_codes_that_are_there_are_not_made_again(codec, tmp_path):
    write_audio(tmp_path / "a.wav", talk())
    stage = Encode(codec, tmp_path / "codes")
    (first,) = stage([{"path": str(tmp_path / "a.wav")}])
    (tmp_path / "a.wav").unlink()
    assert stage([{"path": str(tmp_path / "a.wav")}]) == [first]
