"""What a split draws: which clips, and which lines of a script."""

from collections.abc import Callable
from pathlib import Path

from duologue.data.manifest import Row
from duologue.data.script import Line, Script
from duologue.data.split import clip_set
from duologue.data.voices import read_index


def select(places: tuple[Path, ...], split: str, script: Script | None = None) -> list[Row]:
    """Clips of these places: the agent's, and the user's of a split (see `split.clip_set`). What a script says of its
    phrasings counts before what a clip says; with held-out phrasings come others by held-out voices, which lead up to
    them."""
    wanted = {"train": {"user"}, "voice": {"voice"}, "phrasing": {"phrasing", "voice"}}.get(split)
    held_out = script.held_out_texts() if script else {}
    rows = [row for place in places for row in read_index(place) if "role" in row]
    return [
        row
        for row in rows
        if row["role"] == "agent" or wanted is None or clip_set(row | held_out.get(row["text"], {})) in wanted
    ]


def drawn_of(script: Script, split: str) -> Callable[[Line], bool]:
    """Which lines of a script a split draws."""
    if split in ("train", "voice"):
        return lambda line: not script.items[line.item].held_out(line.index)
    if split == "phrasing":
        return lambda line: script.items[line.item].held_out(line.index)
    return lambda line: True
