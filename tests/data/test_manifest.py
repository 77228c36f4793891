import gzip
import json

import pytest

from duologue.data.manifest import (
    AGENT,
    USER,
    Transcript,
    Word,
    read_manifest,
    read_transcript,
    write_manifest,
    write_transcript,
)
from duologue.errors import InputError


def test_a_moshi_finetune_set_is_read(tmp_path):
    audio = tmp_path / "data_stereo"
    audio.mkdir()
    (audio / "a.wav").touch()
    (tmp_path / "data.jsonl").write_text('{"path": "data_stereo/a.wav", "duration": 24.52}\n')
    (audio / "a.json").write_text(
        json.dumps(
            {
                "alignments": [
                    [" hello", [0.5, 0.82], "SPEAKER_MAIN"],
                    [" there.", [0.82, 1.1], "SPEAKER_MAIN"],
                ],
                "text_conditions": {"description": "kind"},
            }
        )
    )
    (row,) = read_manifest(tmp_path / "data.jsonl")
    assert row == {"path": str(audio / "a.wav"), "duration": 24.52}
    transcript = read_transcript(row["path"])
    assert transcript.words == [Word("hello", 0.5, 0.82, AGENT), Word("there.", 0.82, 1.1, AGENT)]
    assert transcript.text_conditions == {"description": "kind"}


def test_what_is_written_is_what_moshi_finetune_reads(tmp_path):
    (tmp_path / "audio").mkdir()
    path = tmp_path / "audio" / "b.wav"
    path.touch()
    write_manifest(tmp_path / "set.jsonl", [{"path": str(path), "duration": 2.0, "id": "b"}])
    write_transcript(
        path, Transcript([Word("ah", 1.2, 1.5, USER), Word("hi", 0.1234567, 0.4)], extra={"by": "whisper"})
    )
    assert json.loads((tmp_path / "set.jsonl").read_text()) == {
        "path": "audio/b.wav",
        "duration": 2.0,
        "id": "b",
    }
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "alignments": [[" hi", [0.123, 0.4], "SPEAKER_MAIN"], [" ah", [1.2, 1.5], "SPEAKER_USER"]],
        "by": "whisper",
    }
    again = read_transcript(path)
    assert again.of(AGENT) == [Word("hi", 0.123, 0.4)]
    assert again.extra == {"by": "whisper"}


def test_folders_and_compressed_manifests_are_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.jsonl").write_text('{"path": "1.wav", "duration": 1}\n\n')
    with gzip.open(tmp_path / "two.jsonl.gz", "wt") as file:
        file.write('{"path": "/abs/2.wav", "duration": 2}\n')
    assert [row["path"] for row in read_manifest(tmp_path)] == [str(tmp_path / "deep" / "1.wav")]
    assert read_manifest(tmp_path / "two.jsonl.gz")[0]["path"] == "/abs/2.wav"
    write_manifest(tmp_path / "three.jsonl.gz", [{"path": "/abs/2.wav"}])
    assert read_manifest(tmp_path / "three.jsonl.gz") == [{"path": "/abs/2.wav"}]


@pytest.mark.parametrize("line", ["{", "[]", '"x"', '{"duration": 1}', "null"])
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "bad.jsonl").write_text('{"path": "ok.wav"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"bad.jsonl, line 2"):
        read_manifest(tmp_path / "bad.jsonl")


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"alignments": [["a", 1, "b"]]}', '{"alignments": 3}'])
def test_a_malformed_transcript_is_an_input_error(tmp_path, body):
    (tmp_path / "x.json").write_text(body)
    with pytest.raises(InputError, match="not a transcript"):
        read_transcript(tmp_path / "x.wav")
    with pytest.raises(InputError, match="no transcript"):
        read_transcript(tmp_path / "y.wav")
