"""The picture of a conversation."""

from pathlib import Path

import numpy as np
import pytest

from duologue.errors import InputError
from duologue.eval import picture
from duologue.eval.picture import COLORS, check_picture, draw_conversation
from duologue.types import AGENT, USER, Word

WORDS = [Word("Hello", 0.2, 0.6, USER), Word("100$ $x", 1.0, 1.5, AGENT), Word("\x10\u4e2d", 1.6, 2.0, AGENT)]


def pixels(path: Path, color: str) -> np.ndarray:
    """Where a picture has this color, bool [Y, X]."""
    image = pytest.importorskip("matplotlib.image").imread(path)[..., :3]
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.abs(image - wanted).max(-1) < 0.02


def test_both_channels_are_drawn_where_they_sound(tmp_path: Path):
    pytest.importorskip("matplotlib")
    agent_S, user_S = np.zeros(96_000, np.float32), np.zeros(96_000, np.float32)
    agent_S[24_000:48_000] = 0.3 * np.sin(np.arange(24_000))
    user_S[72_000:] = 0.3 * np.sin(np.arange(24_000))
    draw_conversation(tmp_path / "scene.png", agent_S, user_S, [])
    agent, user = (pixels(tmp_path / "scene.png", COLORS[who]) for who in (AGENT, USER))
    thick_agent, thick_user = (np.flatnonzero(found.sum(0) > 20) for found in (agent, user))
    assert thick_agent.max() < thick_user.min(), "time runs to the right"
    assert np.flatnonzero(agent.any(1)).max() < np.flatnonzero(user.any(1)).min(), "the agent is above"


def test_words_stand_over_their_channel_and_none_of_them_breaks_the_picture(tmp_path: Path):
    imread = pytest.importorskip("matplotlib.image").imread
    wav_S = np.zeros(24_000 * 40, np.float32)
    draw_conversation(tmp_path / "none.png", wav_S, wav_S, [])
    rows = []
    for who in (AGENT, USER):
        draw_conversation(
            tmp_path / "words.png", wav_S, wav_S, [word for word in WORDS if word.speaker == who]
        )
        changed = np.abs(imread(tmp_path / "words.png") - imread(tmp_path / "none.png")).max(-1) > 0.2
        assert changed.any()
        rows.append(np.flatnonzero(changed.any(1)))
    assert rows[0].max() < rows[1].min()
    draw_conversation(tmp_path / "short.svg", wav_S[:100], wav_S[:0], WORDS)
    assert (tmp_path / "short.svg").stat().st_size > 1000


def test_words_never_overlap():
    figure = pytest.importorskip("matplotlib.figure").Figure(dpi=110)
    words = [Word("understanding", 0.15 * n, 0.15 * n + 0.1, (AGENT, USER)[n % 2]) for n in range(80)]
    wav_S = np.zeros(24_000 * 14, np.float32)
    picture._draw(figure, wav_S, wav_S, words, 24_000)
    boxes = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    assert len(boxes) == 80
    for n, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[n + 1 :])


def test_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="a.txt: a picture is .png, .svg, .pdf by its suffix"):
        check_picture(tmp_path / "a.txt")
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"duologue\[plot\]"):
        draw_conversation(tmp_path / "a.png", np.zeros(10), np.zeros(10), [])
