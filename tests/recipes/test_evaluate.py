"""The recipes that measure nano and that make a text model: their commands are valid, and no evaluation is left out."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro

from duologue.cli.app import CONFIG, Verb
from duologue.cli.eval import Eval
from duologue.data.script import Script
from duologue.data.split import valid_agent_text
from duologue.data.voices import read_index, write_clip
from duologue.eval.abx import read_items
from duologue.eval.fdb_run import find_scenes, kind_of
from duologue.eval.likelihood import read_mmlu, read_pairs
from duologue.eval.questions import read_questions
from duologue.eval.safety import read_prompts
from recipes.nano.evaluation_sets import HERE, write_sets

RECIPES = Path(HERE).parent


def commands(folder: Path, recipe: str, *arguments: str) -> list[list[str]]:
    """What a recipe runs, with programs that only write down how they were called."""
    log, programs = folder / "calls", folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("duologue", "python"):
        (programs / name).write_text(f'#!/bin/bash\nprintf "%q " {name} "$@" >> {log}; echo >> {log}\n')
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    command = ["bash", str(RECIPES / recipe), *arguments]
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    calls = [shlex.split(line) for line in log.read_text().splitlines()]
    log.unlink()
    return calls


def parsed(calls: list[list[str]]) -> list[Any]:
    return [tyro.cli(Verb, args=call[1:], config=CONFIG) for call in calls if call[0] == "duologue"]


def test_every_evaluation_is_run_and_only_once(tmp_path: Path):
    arguments = ("corpus", "whisper", "model", "results")
    calls = commands(tmp_path, "nano/evaluate.sh", *arguments)
    verbs = {call[2] for call in calls if call[:2] == ["duologue", "eval"]}
    assert verbs == {get_args(one)[1].name for one in get_args(Eval)}
    assert [type(one).__name__ for one in parsed(calls)][-1] == "Card"
    again = commands(tmp_path, "nano/evaluate.sh", *arguments)
    assert [call[:2] for call in again] == [["python", "-c"], ["duologue", "card"]]


def test_a_text_model_is_made_and_read(tmp_path: Path):
    calls = commands(tmp_path, "text/run.sh", "crawl.jsonl", "runs", "10", "books", "wikipedia")
    assert [call[1:4] for call in calls[-2:]] == [
        ["train", "export-lm", "--preset"],
        ["eval", "text", "runs/packed/valid"],
    ]
    assert len(parsed(calls)) == 10


def clip(folder: Path, name: str, text: str, **row: str) -> None:
    rng = np.random.default_rng(len(text))
    words = [[word, 0.2 * k, 0.2 * k + 0.18] for k, word in enumerate(text.split())]
    wav_S = rng.normal(0, 0.1, round(0.2 * len(words) * 24_000)).astype(np.float32)
    write_clip(
        folder, name, wav_S, {"key": f"{folder.name}/{name}", "id": name, "text": text, "words": words, **row}
    )


def test_sets_are_read_by_the_evaluations_they_are_for(tmp_path: Path):
    script = Script.read(HERE)
    asked = [item for item in script.items.values() if item.topic == "capital"][:20]
    for number, item in enumerate(asked):
        text = item.phrasings[0]
        clip(tmp_path / "user-eval", f"{item.id}-0-{number}", text, role="user", voice="af_river")
        clip(tmp_path / "user-eval", f"{item.id}-0-{number}b", text, role="user", voice="af_river")
    kept = [
        i.answer for i in script.items.values() if valid_agent_text(i.answer) and len(i.answer.split()) > 4
    ][:4]
    for number, answer in enumerate(kept):
        clip(tmp_path / "agent", str(number), answer, role="agent", voice="af_heart")
    rows = [row for name in ("agent", "user-eval") for row in read_index(tmp_path / name)]
    out = tmp_path / "sets"
    write_sets(rows, script, out, 6)
    assert {q.answers for q in read_questions(out / "questions.jsonl")} <= {(i.answer,) for i in asked}
    assert [pair.kind for pair in read_pairs(out / "pairs.jsonl")] == ["order", "word"] * 4
    items = read_items(out / "words.item")
    assert {item.context for item in items} == {("of", "#")} and len({item.phone for item in items}) > 3
    assert all((out / "words" / f"{item.file}.wav").exists() for item in items)
    assert {kind_of(task) for task in find_scenes(out / "fdb")} == {
        "pause_handling", "turn_taking", "user_interruption",
    }  # fmt: skip
    tests = read_mmlu(out / "mmlu", "test")["capitals"]
    answers = {item.phrasings[0]: item.answer for item in script.items.values()}
    assert all(q.choices[q.answer] in answers[q.text] and len(set(q.choices)) == 4 for q in tests)
    assert len(read_prompts(out / "prompts.jsonl")) == 12
    assert len((out / "documents/answers.jsonl").read_text().splitlines()) > 1000
    note = json.loads((out / "fdb/synthetic_user_interruption/1/interrupt.json").read_text())[0]
    assert note["timestamp"][1] > note["timestamp"][0] > 1.2
