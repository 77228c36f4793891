"""The layouts of four corpora of two-channel conversations: sound files and transcripts."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from duologue.data.manifest import Row
from duologue.errors import InputError
from duologue.types import Word


@dataclass
class Said:
    """What the two sides (0: A or left, 1: B or right) say: word by word, or utterance by utterance."""

    words: list[tuple[int, Word]] = field(default_factory=list)
    turns: list[tuple[int, Word]] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """`find(root, transcripts)` lists the conversations, `read(files)` what is said in one."""

    looks_like: str
    find: Callable[[Path, Path], list[Row]]
    read: Callable[[list[Path]], Said]


def plain(text: str) -> str:
    """Words as they are said: without noises ([laughter], <noise>), marks of doubt and broken-off ends."""
    text = re.sub(r"\[([^\]/]+)/([^\]]+)\]", r"\2", text)  # Switchboard's [mispronounced/word]
    text = re.sub(r"\S*\[[^\]/ ]*\]-|-\[[^\]/ ]*\]\S*", " ", text)  # th[is]-
    text = re.sub(r"\[laughter-([^\]]+)\]", r"\1", text)
    text = re.sub(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|\(\(|\)\)|[()~*_]", " ", text)
    return " ".join(word for word in text.split() if not re.fullmatch(r"[\W_]*|\S*-|-\S+", word))


# --- Fisher English (LDC2004S13, LDC2005S13; transcripts LDC2004T19, LDC2005T19) --------------------------


def _fisher(root: Path, transcripts: Path) -> list[Row]:
    texts = {path.stem: path for path in transcripts.rglob("fe_03_*.txt")}
    return [_call(path, texts.get(path.stem)) for path in sorted(root.rglob("fe_03_*.sph"))]


def _read_fisher(files: list[Path]) -> Said:
    """Lines of `START END SIDE: text`."""
    said = Said()
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = re.match(r"([\d.]+) ([\d.]+) ([AB])\d*:\s*(.*)", line.strip())
            if match is None:
                raise InputError(f"{path}, line {number}: expected `START END A: text`")
            if text := plain(match[4]):
                said.turns.append(("AB".index(match[3]), Word(text, float(match[1]), float(match[2]))))
    return said


# --- Switchboard-1 (LDC97S62) with the ISIP transcriptions and their word alignments ----------------------


def _switchboard(root: Path, transcripts: Path) -> list[Row]:
    texts: dict[str, dict[str, dict[str, Path]]] = {}
    for path in sorted(transcripts.rglob("sw*-ms98-a-*.text")):
        if match := re.fullmatch(r"sw(\d{4})([AB])-ms98-a-(word|trans)\.text", path.name):
            texts.setdefault(match[1], {}).setdefault(match[3], {})[match[2]] = path
    rows = []
    for path in sorted(root.rglob("sw0*.sph")):
        kinds = texts.get(path.stem.removeprefix("sw0"), {})
        files = kinds.get("word", {}) if len(kinds.get("word", {})) == 2 else kinds.get("trans", {})
        rows.append(_call(path, *(files[side] for side in sorted(files))))
    return rows


def _read_switchboard(files: list[Path]) -> Said:
    """Lines of `sw2001A-ms98-a-0001 START END word or text`, a file a side."""
    said = Said()
    for path in files:
        side = "AB".index(path.name[6])
        found = said.words if path.name.endswith("-word.text") else said.turns
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            parts = line.split(None, 3)
            if len(parts) < 3:
                continue
            try:
                word = Word(plain(parts[3] if len(parts) > 3 else ""), float(parts[1]), float(parts[2]))
            except ValueError:
                raise InputError(f"{path}, line {number}: expected `ID START END text`") from None
            if word.text:
                found.append((side, word))
    return said


# --- CANDOR (a folder a conversation: processed/ID.mp3, left and right as channel_map.json says) ----------


def _candor(root: Path, transcripts: Path) -> list[Row]:
    rows = []
    for channels in sorted(root.rglob("processed/channel_map.json")):
        home = channels.parent.parent
        sounds = [channels.parent / f"{home.name}{suffix}" for suffix in (".mp3", ".wav", ".flac")]
        sound = next((path for path in sounds if path.exists()), None)
        text = home / "transcription" / "transcript_audiophile.csv"
        if sound is not None:
            rows.append(_call(sound, *([channels, text] if text.exists() else [])) | {"id": home.name})
    return rows


def _read_candor(files: list[Path]) -> Said:
    """Turns of transcript_audiophile.csv: speaker (a user's id), start, stop, utterance."""
    said = Said()
    if not files:
        return said
    channels, text = files
    try:
        sides = {str(user): "LR".index(name) for name, user in json.loads(channels.read_text()).items()}
        with text.open(newline="") as file:
            for row in csv.DictReader(file):
                words = plain(row["utterance"])
                if words:
                    turn = Word(words, float(row["start"]), float(row["stop"]))
                    said.turns.append((sides[row["speaker"]], turn))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{text} does not go with {channels.name}: {type(error).__name__} {error}") from None
    return said


# --- Seamless Interaction (a .wav and .json a participant: V00_S0809_I00000582_P0947) ---------------------


def _seamless(root: Path, transcripts: Path) -> list[Row]:
    pairs: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("V*_S*_I*_P*.wav")):
        pairs.setdefault(path.stem.rpartition("_P")[0], []).append(path)
    rows = []
    for name, paths in pairs.items():
        if len(paths) == 2:  # one side of a conversation is of no use here
            texts = [path.with_suffix(".json") for path in paths]
            row = _call(paths[0], *(texts if all(text.exists() for text in texts) else []))
            rows.append(row | {"id": name, "sides": [[str(path), 0] for path in paths]})
    return rows


def _read_seamless(files: list[Path]) -> Said:
    """Words with times in "metadata:transcript"."""
    said = Said()
    for side, path in enumerate(files):
        try:
            for part in json.loads(path.read_text()).get("metadata:transcript") or []:
                for word in part["words"]:
                    if "start" in word and (text := plain(word["word"])):  # some words have no time
                        said.words.append((side, Word(text, float(word["start"]), float(word["end"]))))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f'{path}: expected {{"metadata:transcript": [{{"words": ...}}]}}') from None
    return said


def _call(sound: Path, *texts: Path | None) -> Row:
    return {
        "id": sound.stem, "path": str(sound), "sides": [[str(sound), 0], [str(sound), 1]],
        "transcripts": [str(path) for path in texts if path is not None],
    }  # fmt: skip


LAYOUTS = {
    "fisher": Layout("fe_03_*.sph, fe_03_*.txt", _fisher, _read_fisher),
    "switchboard": Layout("sw0*.sph, sw*-ms98-a-word.text", _switchboard, _read_switchboard),
    "candor": Layout("ID/processed/channel_map.json and ID.mp3", _candor, _read_candor),
    "seamless": Layout("V*_S*_I*_P*.wav, two participants each", _seamless, _read_seamless),
}
