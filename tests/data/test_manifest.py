import gzip
import json

import pytest

from duologue.data import manifest, strict_json
from duologue.data.manifest import (
    Transcript,
    read_manifest,
    read_transcript,
    write_manifest,
    write_transcript,
)
from duologue.errors import InputError
from duologue.types import AGENT, USER, Word


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


BAD_LINES = [
    "{", "[]", '"x"', '{"duration": 1}', "null", '{"path": 3}', '{"path": null}', '{"path": ["a"]}', "3", "\udcff",
    '{"path": "a\\u0000b"}', "[" * 100_000, '{"path": "a", "path": "b"}', '{"path": "a", "duration": NaN}',
]  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named(tmp_path, line):
    body = ('{"path": "ok.wav"}\n' + line + "\n").encode(errors="surrogateescape")
    (tmp_path / "bad.jsonl").write_bytes(body)
    with pytest.raises(InputError, match=r"bad.jsonl, line 2"):
        read_manifest(tmp_path / "bad.jsonl")


def test_a_path_that_no_file_can_have_is_the_business_of_who_opens_it(tmp_path):
    for name in ("x" * 5000, "\\ud800"):
        (tmp_path / "odd.jsonl").write_text(f'{{"path": "{name}"}}')
        assert len(read_manifest(tmp_path / "odd.jsonl")) == 1


def test_damaged_and_oversized_manifests_are_input_errors(tmp_path, monkeypatch):
    whole = gzip.compress(b'{"path": "ok.wav"}\n' * 1000, mtime=0)
    place = tmp_path / "set.jsonl.gz"
    for body in (whole[:-10], whole[:20] + b"\xff" * 30 + whole[50:], b"no gzip"):
        place.write_bytes(body)
        with pytest.raises(InputError, match=r"set.jsonl.gz is damaged"):
            read_manifest(place)
    place.write_bytes(whole)
    monkeypatch.setattr(strict_json, "LARGEST", 18)
    with pytest.raises(InputError, match="line 1: longer than"):
        read_manifest(place)
    monkeypatch.setattr(strict_json, "LARGEST", 19)
    assert len(read_manifest(place)) == 1000
    monkeypatch.setattr(manifest, "LARGEST_MANIFEST", 1000)
    with pytest.raises(InputError, match="divide it"):
        read_manifest(place)


def test_words_are_sorted_as_they_are_read(tmp_path):
    body = {"alignments": [[" b", [1, 2], "SPEAKER_MAIN"], [" a", [0.5, 0.5], "SPEAKER_MAIN"]]}
    (tmp_path / "x.json").write_text(json.dumps(body))
    assert read_transcript(tmp_path / "x.wav").words == [Word("a", 0.5, 0.5), Word("b", 1, 2)]


NO_TRANSCRIPTS = [
    "", "[]", "{}", '{"alignments": 3}', '{"alignments": [], "cuts": [null]}', '{"alignments": [], "alignments": []}',
    "[" * 100_000, '{"alignments": [' + "9" * 5000 + "]}", "\udcff\udcfe",
    *(
        f'{{"alignments": [["ok", [0, 1], "A"], {word}]}}'
        for word in (
            '["a", 1, "b"]', '["a", [null, null], "b"]', '["a", [1, 2]]', '[1, [1, 2], "b"]', '["a", [2, 1], "b"]',
            '["a", [NaN, 2], "b"]', '["a", [0, 1e999], "b"]', '["a", [-1, 2], "b"]', '["a", ["1", "2"], "b"]',
            '["a", [true, 2], "b"]', '["a", [1, 2, 3], "b"]', '["a", [1, 2], null]', "null", "{}",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("body", NO_TRANSCRIPTS)
def test_a_malformed_transcript_is_an_input_error(tmp_path, body):
    (tmp_path / "x.json").write_bytes(body.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="not a transcript|no json") as caught:
        read_transcript(tmp_path / "x.wav")
    assert "x.json" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    with pytest.raises(InputError, match="no transcript"):
        read_transcript(tmp_path / "y.wav")
