"""From the options of `duologue eval duplex` to a table, a JSON file, recordings and a picture."""

import json
from dataclasses import asdict
from typing import Any

from duologue.data.script import Script
from duologue.errors import InputError
from duologue.eval.duplex import evaluate_duplex, plan_scenes, read_library, save_scene
from duologue.eval.duplex_play import Played
from duologue.eval.duplex_report import tables
from duologue.eval.duplex_scenes import SceneMaker
from duologue.eval.duplex_score import Score
from duologue.eval.options import EvalDuplex
from duologue.eval.picture import draw_conversation
from duologue.eval.resume_log import ResumeLog
from duologue.eval.speech import Recognizer
from duologue.files import atomic_write, check_writable
from duologue.progress import progress
from duologue.weights import Model, load


def run_duplex(options: EvalDuplex) -> None:
    """Play, score, print and write. InputError before any work if something is missing."""
    if options.set is None or options.script is None:
        raise InputError(
            "name the clips to make scenes of and the script they follow: --set DIR --script FILE"
        )
    if options.scenes < 1 or options.slots < 1:
        raise InputError("--scenes and --slots are numbers from 1 up")
    for path in (options.json, options.png and options.png[1]):
        if path is not None:
            check_writable(path)
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
    library = read_library(options.set, Script.read(options.script), options.babble, options.voices)
    long, short = plan_scenes(
        SceneMaker(library, options.seed, options.minutes), options.scenes, options.kinds
    )
    names = [plan.name for plan in long + short]
    if options.png and options.png[0] not in names:
        raise InputError(f"no scene is called {options.png[0]}: they are called {names[0]} to {names[-1]}")
    asr = Recognizer(options.whisper) if options.whisper else None

    model = load(options.model)
    kept = ResumeLog(options.json, _about(options, model))

    def keep(played: Played, score: Score) -> None:
        if options.save is not None:
            save_scene(options.save, played, score)
        if options.png and options.png[0] == score.name:
            draw_conversation(options.png[1], played.agent_S, played.user_S, played.transcript())
        kept.add(score)

    with progress("talking", 1.0) as advance:
        report = evaluate_duplex(
            model, library, scenes=options.scenes, kinds=options.kinds, slots=options.slots, seed=options.seed,
            asr=asr, minutes=options.minutes, known=tuple(kept.scores), keep=keep, advance=advance,
        )  # fmt: skip
    if options.json is not None:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
    kept.finish()
    from rich.console import Console

    table, notes = tables(report)
    Console().print(table)
    Console().print(notes, soft_wrap=True)


def _about(options: EvalDuplex, model: Model) -> dict[str, Any]:
    """What a scene's score depends on, and which of its files were asked for: not how many others there are."""
    settings = {
        name: repr(value) for name, value in vars(options).items() if name not in ("scenes", "kinds", "slots")
    }
    weights = [*model.lm.state_dict().values(), *model.codec.state_dict().values()]
    total = sum(float(tensor.double().sum()) for tensor in weights)
    return settings | {"sampling": asdict(model.sampling), "weights": total}
