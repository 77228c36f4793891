"""Full-Duplex-Bench's scores against hand-computed cases, its three example scenes, and its layout."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import read_mono, write_audio
from duologue.cli.app import main
from duologue.errors import InputError
from duologue.eval import fdb
from duologue.eval.fdb_run import find_scenes, run_fdb
from duologue.eval.result import read_result
from duologue.weights import load

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))


def spread(count: int, start: float, end: float) -> list[fdb.Word]:
    """Words from the first's start to the last's end."""
    return [("word", float(a), float(b)) for a, b in pairwise(np.linspace(start, end, count + 1))]


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ([], False),
        (spread(3, 0, 0.9), False),
        (spread(4, 0, 0.9), True),
        (spread(1, 0, 1.0), True),
        (spread(3, 0, 1.2), True),
    ],
)
def test_taking_over_needs_a_second_or_four_words(words: list[fdb.Word], taken: bool) -> None:
    assert fdb.takes_over(words) is taken


def test_the_three_example_scenes_of_the_benchmark() -> None:
    # Words, first start and last end of the transcripts that its repository carries, and its annotations.
    pause, turn, cut = spread(12, 0.0, 4.68), spread(22, 3.36, 10.38), spread(31, 17.224, 28.124)
    assert fdb.takes_over(pause) and fdb.takes_over(turn) and fdb.takes_over(cut)
    assert fdb.latency(turn, 2.0100000000000016) == pytest.approx(1.35)
    assert fdb.latency(cut, 13.144) == pytest.approx(4.08)
    assert fdb.latency(turn, 5.0) == 0  # who spoke before


def test_backchannels_by_hand() -> None:
    people = [1 / 10] * 10
    one = fdb.backchannel([(1.0, 1.4)], [("mm", 1.0, 1.3)], 10.0, people)
    assert (one.takes_over, one.frequency) == (False, 0.1)
    assert fdb.backchannel([(1, 4.5)], [], 10.0, people) == fdb.Backchannel(True, 0.0, 1.0)
    assert fdb.backchannel([(1, 1.9)], spread(4, 1, 1.9), 10.0, people).takes_over
    assert fdb.backchannel([(1, 2.5)], [], 10.0, people).takes_over  # longer than a second
    # The last segment's verdict counts, unless one asks for any.
    both = [(1.0, 2.5), (4.0, 4.4)]
    assert not fdb.backchannel(both, [], 10.0, people).takes_over
    assert fdb.backchannel(both, [], 10.0, people, faithful=False).takes_over
    assert not fdb.backchannel([], [], 10.0, people).takes_over


def test_the_distance_is_the_root_of_the_divergence() -> None:
    assert fdb.timing_distance([], [0.5, 0.5], 1.0) == 1.0
    even = fdb.timing_distance([(0, 1.0)], [1.0] * 6, 1.0)
    assert even == pytest.approx(0, abs=1e-4)
    # All mass in the first of six bins against all in the last: nothing shared, log 2.
    apart = fdb.timing_distance([(0, 0.1)], [0, 0, 0, 0, 0, 1.0], 1.0)
    assert apart == pytest.approx(math.sqrt(math.log(2)), abs=1e-3)


def test_stop_and_response_times() -> None:
    user, model = [(0.0, 1.0), (1.5, 2.0), (6.0, 8.0)], [(4.0, 6.4), (6.8, 7.0), (9.0, 10.0)]
    # The user's first two are one (0.5 s apart), as are the model's first two (0.4 s).
    stops, responses = fdb.stop_and_response(user, model)
    assert stops == pytest.approx([1000.0])
    assert responses == pytest.approx([2000.0, 1000.0])
    assert fdb.merged([(0, 1), (1.5, 2)], 0.5) == [(0, 2)]


def test_the_detector_stretches_time_when_it_is_faithful() -> None:
    wav_S = np.concatenate([np.zeros(24_000, np.float32), read_mono(SPEECH[0])])
    stretched, real = (fdb.detector_spans(wav_S, 24_000, faithful) for faithful in (True, False))
    assert stretched[0][0] == pytest.approx(1.5 * real[0][0], abs=0.25)
    assert all(round(edge, 1) == edge for span in real for edge in span)


def benchmark(root: Path) -> Path:
    question_S = read_mono(SPEECH[-1])
    for task, name, note in (
        ("candor_turn_taking", "turn_taking.json", [{"text": "[TURN-TAKING]", "timestamp": [1.0, 1.2]}]),
        ("synthetic_pause_handling", "pause.json", [{"text": "[PAUSE]", "timestamp": [0.5, 1.0]}]),
        (
            "synthetic_user_interruption",
            "interrupt.json",
            [{"interrupt": "b", "timestamp": [0.4, 1.0]}],
        ),
        ("icc_backchannel", "transcription.json", []),
    ):
        for number in ("1", "2"):
            scene = root / task / number
            scene.mkdir(parents=True)
            write_audio(scene / "input.wav", question_S[: 2 * 24_000])
            (scene / name).write_text(json.dumps(note))
    scene = root / "user_backchannel/1"
    scene.mkdir(parents=True)
    for name in ("input.wav", "clean_input.wav"):
        write_audio(scene / name, question_S[: 2 * 24_000])
    return root


def test_a_model_is_run_on_the_layout_and_scored(tmp_path: Path) -> None:
    root = benchmark(tmp_path / "fdb")
    assert list(find_scenes(root)) == [
        "candor_turn_taking", "icc_backchannel", "synthetic_pause_handling", "synthetic_user_interruption",
        "user_backchannel",
    ]  # fmt: skip
    heard: list[int] = []

    def words(wav_S: np.ndarray) -> list[fdb.Word]:
        heard.append(len(wav_S))
        return spread(5, 0.1, 1.5)

    people = {"1": [0.1] * 10, "2": [0.1] * 10}
    result = run_fdb(load("tiny"), root, tmp_path / "out", words, people)
    values = {figure.name: (figure.value, figure.count) for figure in result.figures}
    assert values["candor_turn_taking: takes over"] == (1.0, 2)
    assert values["candor_turn_taking: latency"] == (0.0, 2)
    assert values["synthetic_user_interruption: latency"] == (pytest.approx(0.1), 2)  # cropped, and put back
    assert sorted(set(heard)) == [24_000, 48_000]
    assert len(read_mono(tmp_path / "out/candor_turn_taking/1/output.wav")) == 48_000
    again = run_fdb(None, root, tmp_path / "out", None, people)
    assert [figure.value for figure in again.figures] == [figure.value for figure in result.figures]
    with pytest.raises(InputError, match="--people"):
        run_fdb(None, root, tmp_path / "out", None, {})


def test_the_verb_scores_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = benchmark(tmp_path / "fdb") / "candor_turn_taking"
    for number, words in (("1", spread(5, 2.0, 3.5)), ("2", spread(1, 1.0, 1.1))):
        out = tmp_path / "out/candor_turn_taking" / number
        out.mkdir(parents=True)
        chunks = [{"text": text, "timestamp": [start, end]} for text, start, end in words]
        (out / "output.json").write_text(json.dumps({"text": "", "chunks": chunks}))
    main(
        ["eval", "fdb", str(root), str(tmp_path / "out"), "--score-only", "--json", str(tmp_path / "x.json")]
    )
    result = read_result(tmp_path / "x.json")
    assert result.value("candor_turn_taking: takes over") == 0.5
    assert result.value("candor_turn_taking: latency") == pytest.approx(1.0)
    assert "takes over" in capsys.readouterr().out
    (tmp_path / "out/candor_turn_taking/2/output.json").unlink()
    with pytest.raises(SystemExit):
        main(["eval", "fdb", str(root), str(tmp_path / "out"), "--score-only"])
    assert "there is no file" in capsys.readouterr().err
