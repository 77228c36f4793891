"""Sentences of real readers as user questions that nano cannot answer, with scripted replies that say so.

`python -m recipes.nano.human_clips CORPUS CLIPS SCRIPT.jsonl` writes a folder of clips (links to the audio files) and
the script. They teach nano to transcribe words outside its scripts and to say "I do not know".
"""

import argparse
import json
import os
from pathlib import Path

from duologue.data.split import HUMAN, clip_set, fraction
from duologue.data.voices import read_index
from recipes.nano.extra_speech import sentence_case

LONGEST = 9.0  # seconds
FEWEST_WORDS = 3
ANSWERS = (
    "I do not know that one. Ask me about animals or numbers.",
    "I am sorry, I never learned about that.",
    "I have no idea, I am afraid.",
    "I do not know, and I do not want to guess.",
    "I do not know. Shall we talk about something else?",
)


def human_rows(corpus: Path) -> list[dict]:
    """Index rows of the corpus's transcribed clips with the role of user, from those of its folders that are there;
    "file" and "place" locate the recording."""
    found = []
    for name in HUMAN:
        if not (corpus / name).is_dir():
            continue
        for row in read_index(corpus / name):
            text = row["text"].strip()
            if row["seconds"] > LONGEST or len(text.split()) < FEWEST_WORDS:
                continue
            text = sentence_case(text) if text.isupper() else text if text[-1] in ".?!" else text + "."
            found.append(
                dict(
                    key=f"user-human/{row['key']}", id=f"human-{row['key']}", index=0, role="user", text=text,
                    voice=f"{name}:{row['speaker']}", seconds=row["seconds"], place=row["place"], file=row["file"],
                    split="valid" if clip_set(row) == "valid-human" else "train",
                )
                | _timed_words(text, row.get("words") or [])
            )  # fmt: skip
    return found


def _timed_words(text: str, words: list[list]) -> dict:
    """The recording's word times with the words as `text` writes them; nothing where these are not as many."""
    written = text.split()
    if len(written) != len(words):
        return {}
    return {"words": [[word, start, end] for word, (_, start, end) in zip(written, words, strict=True)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("script", type=Path)
    args = parser.parse_args()
    folder, items = args.clips, {}
    folder.mkdir(parents=True, exist_ok=True)
    for row in human_rows(args.corpus):
        sound = Path(row.pop("place")) / row.pop("file")
        link = folder / sound.name
        if not link.exists():
            link.symlink_to(os.path.relpath(sound, folder))
        link.with_suffix(".json").write_text(json.dumps(row))
        answer = ANSWERS[int(fraction(row["text"]) * len(ANSWERS))]
        items.setdefault(row["text"], dict(
            id=row["id"], topic="human", user=[row["text"]], agent=answer, split=[row["split"]]
        ))  # fmt: skip
    args.script.write_text("".join(json.dumps(item) + "\n" for item in items.values()))


if __name__ == "__main__":
    main()
