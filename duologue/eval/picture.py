"""A picture of a conversation: both channels, one above the other, with the words over them."""

import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duologue.data.voices import SAMPLE_RATE
from duologue.errors import InputError
from duologue.files import atomic_write, check_writable
from duologue.types import AGENT, USER, StrPath, Word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_SECONDS, ROW_INCHES = 15.0, 2.8
LANES, LANE = 3, 0.22  # lines of words over a voice, and the distance between them
COLORS = {AGENT: "#2b6cb0", USER: "#c05621"}
SUFFIXES = (".png", ".svg", ".pdf")
NAMES = {AGENT: "agent", USER: "user"}


def check_picture(path: StrPath) -> None:
    """Call it before long work: raises InputError if `draw_conversation` will not be able to write the file."""
    check_writable(path)
    if Path(path).suffix not in SUFFIXES:
        raise InputError(f"cannot draw {path}: a picture is {', '.join(SUFFIXES)} by its suffix")
    if find_spec("matplotlib") is None:
        raise InputError("a picture needs matplotlib: pip install 'duologue[plot]'")


def draw_conversation(
    path: StrPath, agent_wav: np.ndarray, user_wav: np.ndarray, words: Iterable[Word], rate: int = SAMPLE_RATE
) -> None:
    """Writes a picture (.png, .svg or .pdf) of two channels, float32 [S] each, in rows of 15 s at most.

    `words` are those of both, told apart by `speaker` (`manifest.AGENT`, `manifest.USER`). Raises InputError without
    matplotlib or if the file cannot be written.
    """
    check_picture(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(dpi=110)
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an untrained model may write any character
        _draw(figure, agent_wav, user_wav, list(words), rate)
        figure.savefig(temporary)


def _draw(
    figure: "Figure", agent_wav: np.ndarray, user_wav: np.ndarray, words: list[Word], rate: int
) -> None:
    seconds = max(len(agent_wav), len(user_wav), rate) / rate
    rows = int(np.ceil(seconds / ROW_SECONDS))
    span = seconds / rows
    width = max(6.0, 1.1 * span)
    figure.set_size_inches(width, ROW_INCHES * rows + 0.5)
    bottom = 0.45 / (ROW_INCHES * rows + 0.5)
    figure.subplots_adjust(0.7 / width, bottom, 1 - 0.2 / width, 0.99, hspace=0.15)
    for row, axes in enumerate(np.atleast_1d(figure.subplots(rows, 1))):
        first = row * span
        for speaker, wav_S, base in ((AGENT, agent_wav, 1.0), (USER, user_wav, -1.0)):
            time_P, low_P, high_P = _outline(wav_S, first, span, rate)
            axes.fill_between(time_P, base + low_P, base + high_P, color=COLORS[speaker], linewidth=0.3)
            mine = [word for word in words if word.speaker == speaker and first <= word.start < first + span]
            _write(axes, mine, base + 0.66, COLORS[speaker], first, span)
        axes.set_yticklabels([NAMES[AGENT], NAMES[USER]])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.25)
    figure.supxlabel("seconds", fontsize=8)


def _write(axes: "Axes", words: list[Word], base: float, color: str, first: float, span: float) -> None:
    """Each word where it begins, in the lowest of `LANES` lines that is free there; where none is, further right."""
    axes.set(xlim=(first, first + span), ylim=(-2.0, 2.4), yticks=[1.0, -1.0])
    free = [first] * LANES
    for word in words:
        text = axes.text(
            word.start, base, "".join(filter(str.isprintable, word.text)),
            fontsize=7, color=color, clip_on=True, parse_math=False,
        )  # fmt: skip
        box = text.get_window_extent().transformed(axes.transData.inverted())
        lane = next((n for n, at in enumerate(free) if at <= word.start), int(np.argmin(free)))
        at = max(word.start, free[lane])
        text.set_position((at, base + LANE * lane))
        free[lane] = at + box.width + 0.02 * span


def _outline(
    wav_S: np.ndarray, first: float, seconds: float, rate: int, points: int = 1200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time, lowest and highest sample of `points` stretches; the loudest sample of the channel fills the height."""
    hop = max(1, round(seconds * rate / points))
    start = round(first * rate)
    piece_S = wav_S[start : start + points * hop]
    piece_S = np.pad(piece_S, (0, points * hop - len(piece_S))).reshape(points, hop)
    scale = 0.55 / max(float(np.abs(wav_S).max(initial=0.0)), 0.05)
    time_P = first + (np.arange(points) + 0.5) * hop / rate
    return time_P, scale * piece_S.min(axis=1), scale * piece_S.max(axis=1)
