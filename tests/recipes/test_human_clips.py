"""Recordings of real people as clips of a user: from the corpora that are there, with their word times."""

import json
from pathlib import Path

from recipes.nano.human_clips import human_rows


def clip(folder: Path, key: str, text: str, **more) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{key}.flac").write_bytes(b"")
    row = {"key": key, "id": key, "role": "user", "text": text, "speaker": "one", "seconds": 2.0}
    (folder / f"{key}.json").write_text(json.dumps(row | more))


def test_words_keep_their_times_and_are_written_as_the_text(tmp_path: Path) -> None:
    times = [[0.1, 0.3], [0.3, 0.8], [0.9, 1.4]]
    shouted = [[word, *time] for word, time in zip(("CAN", "I", "STAY"), times, strict=True)]
    clip(tmp_path / "kathleen", "a", "CAN I STAY", words=shouted)
    clip(tmp_path / "kathleen", "b", "Can you stay", words=shouted[:2])  # as many words as nobody said
    clip(tmp_path / "alphanum", "c", "Where are you?")
    rows = {row["id"]: row for row in human_rows(tmp_path)}
    assert rows.keys() == {"human-a", "human-b", "human-c"}
    assert rows["human-a"]["text"] == "Can I stay."
    assert rows["human-a"]["words"] == [
        [word, *time] for word, time in zip(("Can", "I", "stay."), times, strict=True)
    ]
    assert "words" not in rows["human-b"] and "words" not in rows["human-c"]
