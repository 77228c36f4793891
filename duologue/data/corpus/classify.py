"""A linear classifier of lines over hashed words and word pairs: fastText's model, by scikit-learn.

It says how good a document is (paper, section 3.2: nine classes, lines weighted by their lengths) and which lines are
page furniture. A model is one .npz file: names, weights, no code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duologue.errors import InputError
from duologue.files import atomic_write
from duologue.npy import read_npz
from duologue.types import StrPath

WEB = "web"  # the class of uncurated pages
FEATURES = 1 << 18
GROUP = 200  # characters: shorter lines are judged together with the next


def need(module: str) -> None:
    """InputError unless what the extra `text` brings is installed."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise InputError(f"{module} is missing: pip install 'duologue[text]'")


def line_groups(text: str, least: int = GROUP) -> list[str]:
    """The lines of a text, short ones joined to the next until there are `least` characters."""
    groups: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if groups and len(groups[-1]) < least:
            groups[-1] += "\n" + line
        else:
            groups.append(line)
    if len(groups) > 1 and len(groups[-1]) < least:
        tail = groups.pop()
        groups[-1] += "\n" + tail
    return groups


@dataclass(frozen=True)
class Quality:
    """How good a document is, 0..1, the likeliest class of the whole, and the score of each of its line groups."""

    score: float
    kind: str
    groups: list[float]


class LineClassifier:
    """Class probabilities of lines. `weights_VC` float32 [FEATURES, C], `bias_C` [C]."""

    def __init__(self, names: Sequence[str], weights_VC: np.ndarray, bias_C: np.ndarray):
        need("sklearn")
        from sklearn.feature_extraction.text import HashingVectorizer

        self.names, self.weights_VC, self.bias_C = list(names), weights_VC, bias_C
        self._vectorizer = HashingVectorizer(
            n_features=weights_VC.shape[0],
            ngram_range=(1, 2),
            alternate_sign=False,
            token_pattern=r"\w+|[^\w\s]",
        )

    @classmethod
    def fit(cls, examples: Iterable[tuple[str, str]], seed: int = 0, epochs: int = 5) -> "LineClassifier":
        """Learn from (text, class) pairs; each class counts the same, however many examples it has.

        InputError with fewer than two classes.
        """
        need("sklearn")
        from sklearn.linear_model import SGDClassifier

        pairs = list(examples)
        names = sorted({name for _, name in pairs})
        if len(names) < 2:
            raise InputError("a classifier needs examples of at least two classes")
        empty = cls(names, np.zeros((FEATURES, len(names)), np.float32), np.zeros(len(names)))
        features = empty._vectorizer.transform([text for text, _ in pairs])
        settings: dict[str, Any] = {
            "alpha": 1e-6,
            "max_iter": epochs,
            "tol": None,
            "class_weight": "balanced",
        }
        model: Any = SGDClassifier(loss="log_loss", random_state=seed, **settings)
        model.fit(features, [name for _, name in pairs])
        coef, bias = model.coef_, model.intercept_
        if len(names) == 2:  # one against the other
            coef, bias = np.concatenate([-coef, coef]), np.concatenate([-bias, bias])
        return cls(names, np.ascontiguousarray(coef.T, np.float32), bias.astype(np.float32))

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[N, C], each row summing to 1: each class against the rest, then normalised."""
        if not texts:
            return np.zeros((0, len(self.names)))
        logits_NC = self._vectorizer.transform(texts) @ self.weights_VC + self.bias_C
        one_NC = 1 / (1 + np.exp(-np.clip(logits_NC, -30, 30)))
        return one_NC / one_NC.sum(1, keepdims=True)

    def of(self, name: str, texts: Sequence[str]) -> list[float]:
        """The probability of one class for each text."""
        return self.probabilities(texts)[:, self.names.index(name)].tolist()

    def quality(self, text: str) -> Quality:
        """1 - P(web) of each line group, and their mean weighted by length."""
        groups = line_groups(text)
        if not groups:
            return Quality(0.0, WEB, [])
        probability_NC = self.probabilities(groups)
        lengths_N = np.array([len(group) for group in groups], float)
        mean_C = lengths_N @ probability_NC / lengths_N.sum()
        web = self.names.index(WEB)
        scores = [round(float(p), 3) for p in 1 - probability_NC[:, web]]
        return Quality(float(1 - mean_C[web]), self.names[int(mean_C.argmax())], scores)

    def save(self, path: StrPath) -> None:
        """Write the model as .npz, whole or not at all."""
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file, names=self.names, weights=self.weights_VC.astype(np.float16), bias=self.bias_C
            )

    @classmethod
    def load(cls, path: StrPath) -> "LineClassifier":
        """InputError if the file is missing or no such model."""
        if not Path(path).is_file():
            raise InputError(f"there is no file {path}")
        try:
            names_C, weights_VC, bias_C = read_npz(path, "names", "weights", "bias")
            return cls(names_C.tolist(), weights_VC.astype(np.float32), bias_C)
        except (ValueError, TypeError, IndexError):
            raise InputError(
                f"{path} is no classifier: make one with `duologue data text classifier`"
            ) from None
