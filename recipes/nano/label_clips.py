"""Transcribe clips without a text, by Whisper.

    python recipes/nano/label_clips.py FOLDER --whisper DIR

Adds "text" to each FOLDER/*.json that has none, and "text_by": "whisper". Clips on which Whisper is unsure (mean log
probability below -0.7) keep no text. Resumes where it stopped.
"""

import argparse
import json
from pathlib import Path

from faster_whisper import WhisperModel

UNSURE = -0.7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whisper", required=True, help="a Whisper model for CTranslate2")
    args = parser.parse_args()
    model = WhisperModel(args.whisper, device="cpu", compute_type="int8", cpu_threads=1)
    for path in sorted(args.folder.glob("*.json")):
        row = json.loads(path.read_text())
        if row.get("text") or row.get("text_by"):
            continue
        sound = next(p for p in args.folder.glob(f"{path.stem}.*") if p.suffix != ".json")
        segments = list(model.transcribe(str(sound), language="en", beam_size=2)[0])
        sure = bool(segments) and min(segment.avg_logprob for segment in segments) > UNSURE
        row["text"] = " ".join(segment.text.strip() for segment in segments) if sure else ""
        row["text_by"] = "whisper"
        path.write_text(json.dumps(row))
        print(path.stem, row["text"][:80], flush=True)


if __name__ == "__main__":
    main()
