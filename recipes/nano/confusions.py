"""Write confusions.json: for each word of the scripts, similar-sounding words with weights.

`python -m recipes.nano.confusions` needs espeak-ng: similarity is the edit distance of phonemes, in which replacing a
vowel by a vowel, or a consonant by one with the same place of articulation, costs less.
"""

import json
import re
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from math import exp
from pathlib import Path

import numpy as np

from duologue.data.script import Script
from duologue.errors import InputError
from duologue.files import atomic_write

HERE = Path(__file__).parent
CANDIDATES = 40
MOST = 8  # similar words per word
FURTHEST = 0.45  # distance for each phoneme of the longer word
SHARPNESS = 6.0
VOWELS = set("aeiouæɑɒɔəɛɜɪʊʌɐᵻ")
NEAR = ("pb", "td", "kɡ", "fv", "sz", "ʃʒ", "θð", "mnŋ", "lrɹɾ", "wv", "tθ", "dð", "sθ", "ʃs", "hf", "td")


def phonemes(words: Sequence[str]) -> dict[str, str]:
    """Phonemes of each word in IPA, without stress and length. InputError without espeak-ng."""
    command = ["espeak-ng", "-q", "--ipa", "-v", "en-us"]
    try:
        out = subprocess.run(
            command, input="\n".join(words), capture_output=True, check=True, text=True
        ).stdout
    except FileNotFoundError:
        raise InputError("espeak-ng is not installed: apt install espeak-ng") from None
    said = [re.sub(r"[\sˈˌː]", "", line) for line in out.strip().splitlines()]
    if len(said) != len(words):
        raise InputError(f"espeak-ng gave {len(said)} lines for {len(words)} words")
    return dict(zip(words, said, strict=True))


def cost(a: str, b: str) -> float:
    """Of one phoneme in place of another."""
    if a == b:
        return 0.0
    if a in VOWELS and b in VOWELS:
        return 0.5
    return 0.4 if any(a in near and b in near for near in NEAR) else 1.0


def distance(one: str, other: str, limit: float) -> float:
    """Edit distance of two strings of phonemes; more than `limit` may come out too small, but never below it."""
    row = [0.8 * k for k in range(len(other) + 1)]
    for a in one:
        last, row = row, [row[0] + 0.8]
        for k, b in enumerate(other):
            row.append(min(last[k] + cost(a, b), last[k + 1] + 0.8, row[k] + 0.8))
        if min(row) > limit:
            return min(row)
    return row[-1]


def candidates(said: dict[str, str]) -> dict[str, list[str]]:
    """For each word those whose phonemes, and pairs of neighbouring ones, are most nearly the same."""
    words = sorted(said)
    parts = [
        dict.fromkeys(said[w], 1.0) | dict.fromkeys(map("".join, pairwise(f"^{said[w]}$")), 1.0)
        for w in words
    ]
    names = {name: k for k, name in enumerate(sorted({name for part in parts for name in part}))}
    matrix_WF = np.zeros((len(words), len(names)), np.float32)
    for row, part in enumerate(parts):
        matrix_WF[row, [names[name] for name in part]] = 1
    matrix_WF /= np.linalg.norm(matrix_WF, axis=1, keepdims=True)
    found = {}
    for row, word in enumerate(words):
        nearest = np.argpartition(-(matrix_WF @ matrix_WF[row]), CANDIDATES + 1)[: CANDIDATES + 1]
        found[word] = [words[k] for k in nearest if k != row]
    return found


def confusions(said: dict[str, str]) -> dict[str, dict[str, float]]:
    """For each word the most similar others, with weights that sum to one."""
    table = {}
    for word, others in candidates(said).items():
        far = {}
        for other in others:
            longer = max(len(said[word]), len(said[other]))
            apart = distance(said[word], said[other], FURTHEST * longer) / longer
            if apart <= FURTHEST:
                far[other] = apart
        nearest = sorted(far, key=lambda other: (far[other], other))[:MOST]
        weights = {other: exp(-SHARPNESS * far[other]) for other in nearest}
        total = sum(weights.values())
        table[word] = {other: round(weight / total, 3) for other, weight in weights.items()}
    return table


def vocabulary(scripts: Path) -> list[str]:
    """The words that users say, letters in lower case."""
    texts = (text for item in Script.read(scripts).items.values() for text in item.phrasings)
    return sorted({word.strip("'") for text in texts for word in re.findall(r"[a-z']+", text.lower())} - {""})


def main() -> None:
    table = confusions(phonemes(vocabulary(HERE)))
    with atomic_write(HERE / "confusions.json") as temporary:
        lines = (f"{json.dumps(word)}: {json.dumps(others)}" for word, others in table.items())
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(table)} words, {sum(map(bool, table.values()))} of them with others that sound alike")


if __name__ == "__main__":
    main()
