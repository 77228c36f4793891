"""From the options of `duologue eval duplex` to a table, a JSON file, recordings and a picture."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from duologue.data.script import Script
from duologue.errors import InputError
from duologue.eval.duplex import evaluate_duplex, read_stock, save_scene
from duologue.eval.duplex_play import Played
from duologue.eval.duplex_report import tables
from duologue.eval.duplex_score import Score
from duologue.eval.picture import draw_conversation
from duologue.eval.speech import Recognizer
from duologue.files import atomic_write, check_writable
from duologue.progress import progress
from duologue.weights import load

if TYPE_CHECKING:
    from duologue.eval.commands import EvalDuplex


def run_duplex(options: "EvalDuplex") -> None:
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
    stock = read_stock(options.set, Script.read(options.script), options.babble)
    asr = Recognizer(options.whisper) if options.whisper else None
    keeper = _Keeper(options)
    with progress("talking", 1.0) as advance:
        report = evaluate_duplex(
            load(options.model), stock, scenes=options.scenes, kinds=options.kinds, slots=options.slots,
            seed=options.seed, asr=asr, minutes=options.minutes, keep=keeper.keep, advance=advance,
        )  # fmt: skip
    if options.json is not None:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
    from rich.console import Console

    table, notes = tables(report)
    Console().print(table)
    Console().print(notes, soft_wrap=True)
    if options.png and not keeper.drawn:
        raise InputError(f"no scene is called {options.png[0]}: the names are in the file of --json")


@dataclass
class _Keeper:
    """Writes what is asked for of each scene."""

    options: "EvalDuplex"
    drawn: bool = False

    def keep(self, played: Played, score: Score) -> None:
        if self.options.save is not None:
            save_scene(self.options.save, played, score)
        if self.options.png and self.options.png[0] == score.name:
            draw_conversation(self.options.png[1], played.agent_S, played.user_S, played.transcript())
            self.drawn = True
