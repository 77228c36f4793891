"""The duplex evaluation on the tiny model: from the command line to its files, and in training."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from duologue.cli.app import CONFIG
from duologue.cli.eval import Eval
from duologue.data.manifest import read_transcript
from duologue.engine.session import Session
from duologue.errors import InputError
from duologue.eval.duplex import Parts, evaluate_duplex
from duologue.eval.duplex_play import Played
from duologue.eval.duplex_scenes import ClipLibrary
from duologue.eval.duplex_score import Judge, Score
from duologue.weights import load
from tests.engine.virtual import listening
from tests.eval.duplex_actor import make_library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ClipLibrary:
    return make_library(tmp_path_factory.mktemp("library"))


def run(*args: object) -> None:
    tyro.cli(Eval, args=["duplex", *map(str, args)], config=CONFIG).run()


def test_command(library: ClipLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("matplotlib")
    make_library(tmp_path)
    out, saved, png = tmp_path / "out.json", tmp_path / "saved", tmp_path / "scene.png"
    common = ["--model", "tiny", "--set", tmp_path / "clips", "--script", tmp_path / "script.jsonl"]
    files = ["--json", out, "--save", saved, "--png", "turn-heard-001", png]
    run(*common, "--scenes", 2, "--kinds", "turn", *files)
    report = json.loads(out.read_text())
    assert report["model"] == "tiny"
    assert report["frame_ms"]["p99"] >= report["frame_ms"]["p50"] > 0
    names = ["turn-heard-000", "turn-heard-001", "turn-unheard-000"]
    assert [score["name"] for score in report["scores"]] == names
    assert png.read_bytes()[:4] == b"\x89PNG"
    words = read_transcript(saved / "turn-heard-001.flac").words
    assert any(word.speaker == "SPEAKER_USER" for word in words)
    table = capsys.readouterr().out
    assert "right answer, text" in table and "ms a frame, one conversation" in table
    with pytest.raises(InputError, match="nothing: they are called turn-heard-000 to turn-unheard-000"):
        run(*common, "--scenes", 1, "--kinds", "turn", "--png", "nothing", png)
    with pytest.raises(InputError, match="--set DIR --script FILE"):
        run("--model", "tiny")


def test_one_that_was_stopped_goes_on(library: ClipLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the same figures at the end; another model's scores are not taken for its own."""
    make_library(tmp_path)
    out = tmp_path / "out.json"
    part = tmp_path / "out.json.part"
    common = ["--model", "tiny", "--set", tmp_path / "clips", "--script", tmp_path / "script.jsonl"]
    asked = [*common, "--scenes", 3, "--slots", 1, "--kinds", "turn", "pause", "--json", out]
    run(*asked)
    whole = json.loads(out.read_text())["scores"]
    judged = []

    def score(self: Judge, played: Played) -> Score:
        judged.append(played.scene.name)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return real(self, played)

    real = Judge.score
    monkeypatch.setattr(Judge, "score", score)
    out.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(*asked)
    assert not out.exists() and len(part.read_text().splitlines()) == 3
    with part.open("a") as file:
        file.write('{"name": "cut sho')
    run(*asked)
    assert json.loads(out.read_text())["scores"] == whole and not part.exists()
    assert len(judged) == len(whole) + 1  # the one that was stopped was played twice

    part.write_text('{"another": "model"}\n' + json.dumps(whole[0]) + "\n")
    judged.clear()
    monkeypatch.setattr(Judge, "score", lambda self, played: judged.append(1) or real(self, played))
    run(*asked)
    assert len(judged) == len(whole)


def test_a_model_in_training(library: ClipLibrary):
    """Parts put together by hand; the modes of its modules are as they were."""
    tiny = load("tiny")
    tiny.lm.train()
    parts = Parts(tiny.lm, tiny.codec, tiny.tokenizer, tiny.sampling)
    report = evaluate_duplex(parts, library, scenes=1, kinds=["turn"], time_frames=0)
    assert report.scenes["turn"]["played"] == 2
    assert tiny.lm.training and not tiny.codec.training
    assert all(score.heard is None for score in report.scores), "it writes down nothing"
    same = evaluate_duplex(tiny, library, scenes=1, kinds=["turn"], time_frames=0, slots=1)
    assert [score.turns for score in report.scores] == [score.turns for score in same.scores]


def test_what_is_written_down_of_the_user_is_what_a_conversation_writes_down(library: ClipLibrary):
    """The same tokens as in a session that hears the scene's user."""
    model = listening()
    played: list[Played] = []
    report = evaluate_duplex(
        model, library, scenes=1, kinds=["turn"], time_frames=0, slots=1, keep=lambda p, _: played.append(p)
    )
    scene = played[0]
    seed = zlib.crc32(f"0 {scene.scene.name}".encode())
    session = Session(model, replace(model.sampling, seed=seed))
    said = [session.push(frame_S) for frame_S in scene.user_S.reshape(-1, session.frame_size)]
    assert scene.captions == "".join(s.user_text for s in said) != ""
    assert report.scores[0].heard is not None and report.value("turn", "WER of the user's words") is not None


def test_kinds_that_do_not_exist(library: ClipLibrary):
    with pytest.raises(InputError, match="no kind of scene is called dance"):
        evaluate_duplex(load("tiny"), library, kinds=["dance"])
