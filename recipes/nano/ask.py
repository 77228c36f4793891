"""What nano answers to questions that people ask who have never met it, each in a conversation of its own.

    python -m recipes.nano.ask recipes/nano/questions.txt --clips RUNS/questions --kokoro DIR

Prints what was asked, what the model wrote down of it, and its answer, to judge by hand, and how many words were
written down wrong; `--json` keeps the questions and answers.
The voices take turns; none of them was trained on. Spoken questions are kept in the folder of --clips.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import duologue
from duologue.data.fingerprint import fingerprint
from duologue.data.split import VALID_VOICES
from duologue.data.voices import SAMPLE_RATE, Kokoro, read_clip, read_index, write_clip
from duologue.engine.offline import talk
from duologue.eval.speech import word_error_rate

BEFORE, AFTER = 0.8, 1.0  # seconds of silence around a question


def spoken(questions: list[str], folder: Path, kokoro: Path | None) -> list[dict]:
    """A clip of each question, spoken if it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {row["text"]: row for row in read_index(folder)}
    missing = [(n, text) for n, text in enumerate(questions) if text not in there]
    if missing:
        if kokoro is None:
            raise SystemExit(f"{folder} has no clip of {missing[0][1]!r}: name Kokoro's folder with --kokoro")
        voices = Kokoro(kokoro)
        for number, text in missing:
            name, voice = fingerprint(text), VALID_VOICES[number % len(VALID_VOICES)]
            row = dict(key=f"ask/{name}", id="ask", role="user", text=text, voice=voice)
            write_clip(folder, name, voices.speak(text, voice), row)
        there = {row["text"]: row for row in read_index(folder)}
    return [there[text] for text in questions]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", type=Path, help="a question a line")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--kokoro", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    questions = [line for line in options.questions.read_text().splitlines() if line.strip()]
    rows = spoken(questions, options.clips, options.kokoro)
    model, answers = duologue.load(options.model), []
    for row in rows:
        silence = [np.zeros(int(seconds * SAMPLE_RATE), np.float32) for seconds in (BEFORE, AFTER)]
        sound_S = np.concatenate([silence[0], read_clip(row), silence[1]])
        report = talk(model, sound_S, tail=8.0).report
        heard = report.get("user", {}).get("text", "")
        answer = {"asked": row["text"], "voice": row["voice"], "heard": heard, "said": report["text"]}
        answers.append(answer)
        line = [answer["asked"], " ".join(heard.split()), " ".join(answer["said"].split())]
        print(f"{line[0]:45} {line[1]:45} {line[2]}", flush=True)
    rate = word_error_rate([a["asked"] for a in answers], [a["heard"] for a in answers])
    print(f"{100 * rate:.1f} % of the words of {len(answers)} questions are written down wrong")
    if options.json:
        options.json.write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
