"""Options of evaluations, as dataclasses for the command line; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from duologue.eval.duplex_kinds import KINDS, LONG


@dataclass(frozen=True)
class EvalCodes:
    """How many words a codec's codes carry: a small reader learns from codes alone, then reads unheard voices."""

    corpus: Annotated[Path, arg(metavar="DIR")]
    """Folder of clip folders or tars, with their texts."""
    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    versions: int = 2
    """Encodings of each training clip, each at another place within a frame."""
    steps: int = 3000
    """Of the reader's training."""
    batch: int = 24
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Write the figures; `duologue card` reads them."""


@dataclass(frozen=True)
class EvalDuplex:
    """Hold many conversations with a model and judge them: turns, interruptions, backchannels, noise, answers."""

    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    set: Annotated[Path | None, arg(metavar="DIR")] = None
    """Clips of the agent and of users: a folder of clip folders or tars. Held-out voices are played."""
    script: Annotated[Path | None, arg(metavar="FILE")] = None
    """The script of the questions and their right answers (.jsonl), or a folder of such files."""
    scenes: int = 100
    """Scenes of each kind; one ten-minute conversation for every 25."""
    kinds: tuple[str, ...] = (*KINDS, LONG)
    """Kinds of scenes to play."""
    whisper: Annotated[Path | None, arg(metavar="DIR")] = None
    """A Whisper model in CTranslate2's format, to hear whether the answers are right."""
    voices: tuple[str, ...] = ()
    """Whose clips the users are, such as espeak:en-029 (default: the three voices that are never trained on)."""
    babble: Annotated[tuple[Path, ...], arg(metavar="DIR")] = ()
    """Clip folders and tars of other people's speech for the background; by default the users' clips."""
    slots: int = 16
    """Conversations held at a time."""
    minutes: float = 10.0
    """Length of the long conversations."""
    seed: int = 0
    """Another seed gives other scenes."""
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Write all figures, and what happened in each scene. Stopped, the same command goes on where it was."""
    save: Annotated[Path | None, arg(metavar="DIR")] = None
    """Write every scene as a stereo recording with its words."""
    png: Annotated[tuple[str, Path] | None, arg(metavar="SCENE OUT.png")] = None
    """Draw one scene, such as turn-heard-000."""


@dataclass(frozen=True)
class EvalQuantize:
    """What rounding the weights to 8 bits and fewer costs: tokens, perplexities and, with --set, right answers."""

    shards: Positional[tuple[Path, ...]]
    """Folders of shards (as `duologue data encode` writes them) of conversations that were not trained on."""
    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    batches: int = 8
    """Batches of four conversations' first 24 seconds."""
    text_lead: int = 3
    """Frames by which the model's words stand ahead of their sound: 3 for nano, 0 for published models."""
    set: Annotated[Path | None, arg(metavar="DIR")] = None
    """Clips to ask questions with, as for `eval duplex`."""
    script: Annotated[Path | None, arg(metavar="FILE")] = None
    """The script of the questions and their right answers (.jsonl), or a folder of such files."""
    scenes: int = 100
    """Questions to ask."""
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Write the figures; `duologue card` reads them."""


@dataclass(frozen=True)
class EvalFrontier:
    """How soon a model answers against how often it takes a pause for the end of a turn, swept by a bias on PAD."""

    set: Annotated[Path, arg(metavar="DIR")]
    """Clips of the agent and of users, as for `eval duplex`."""
    script: Annotated[Path, arg(metavar="FILE|DIR")]
    """The script of the questions (.jsonl), or a folder of such files."""
    model: str = "nano"
    """A name, folder, .safetensors file or hf://owner/name@revision."""
    biases: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0)
    """Added to PAD's logit beside what the model has of its own: a high one makes it wait."""
    scenes: int = 100
    """Questions with a pause inside, for each bias."""
    voices: tuple[str, ...] = ()
    """Whose clips the users are (default: the three voices that are never trained on)."""
    slots: int = 16
    """Conversations held at a time."""
    seed: int = 0
    """Another seed gives other scenes."""
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Write the figures; `duologue card` reads them."""
    png: Annotated[Path | None, arg(metavar="OUT.png")] = None
    """Draw the curve."""
