"""`duologue data dialogues|utterances|compose`: shards straight away, without recordings of conversations."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from tyro.conf import Positional, arg

from duologue.cli.data_text import Out
from duologue.data.options import Recipe, Situations, Timing
from duologue.errors import InputError

if TYPE_CHECKING:
    from duologue.data.shards import Sample

ScriptPlace: TypeAlias = Annotated[Positional[Path], arg(metavar="SCRIPT.jsonl|FOLDER")]


@dataclass(frozen=True)
class Dialogues:
    """Make conversations of a script without any sound: shards of transcripts (OUT/shards), thousands a minute.

    For what a language model learns from words alone: what to answer, and when.
    """

    script: ScriptPlace
    """As of `synth`."""
    out: Out
    """The folder to write to."""
    split: Literal["train", "phrasing", "all"] = "train"
    """Which phrasings: of training, held out, or all."""
    count: int = 1000
    """Conversations."""
    seconds: float = 60.0
    """About how long each is."""
    seed: int = 0
    """The same seed gives the same conversations."""
    confusions: Path | None = None
    """A table {word: {similar word: weight}}, such as recipes/nano/confusions.json: the user's words as a recogniser
    would have written them are added to each sample, as "misheard"."""
    misheard: float = 0.15
    """Up to this share of a conversation's words is heard wrongly."""
    pace: float = 1.0
    """So many times as fast as people speak: at 2, nearly twice as many answers a minute to learn."""
    per_shard: int = 1024
    """Conversations in a shard."""
    timing: Timing = field(default_factory=lambda: Timing(response=0.8))
    situations: Situations = field(default_factory=Situations)

    def run(self) -> None:
        from duologue.data.dialogues import Confusions, silent_samples
        from duologue.data.director import Director
        from duologue.data.drawn import drawn_of
        from duologue.data.script import Script
        from duologue.data.shards import write_shards
        from duologue.data.silent import SilentSpeakers
        from duologue.progress import progress

        if self.count < 1:
            raise InputError("--count is a number from 1 up")
        if not 0.5 <= self.pace <= 4:
            raise InputError("--pace is a number from 0.5 to 4")
        script = Script.read(self.script)
        confusions = Confusions.read(self.confusions, self.misheard) if self.confusions else None
        drawn, speakers = drawn_of(script, self.split), SilentSpeakers(script, self.pace)
        director = Director(speakers, script, self.situations, self.timing, self.seconds, drawn)
        with progress("conversations", self.count) as advance:
            samples = silent_samples(director, self.count, self.seed, confusions, f"text-{self.seed}")
            write_shards(self.out / "shards", _counted(samples, advance), self.per_shard)


@dataclass(frozen=True)
class Utterances:
    """Make shards of speech without conversations (OUT/shards), to learn to hear and to speak: clips after one another,
    each time in another order, the users' at other speeds and with other disturbances too."""

    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder to write to."""
    clips: tuple[Path, ...]
    """Folders and tars of clips with word times (`duologue data align`): by users, by the agent, or both, who then
    speak at once."""
    model: str
    """The model whose codec to use."""
    split: Literal["train", "voice", "phrasing"] = "train"
    """Which clips: of training, by held-out voices, or of held-out phrasings (and the agent's held-out sentences)."""
    count: int = 1000
    """Samples."""
    seconds: float = 24.0
    """How long each is."""
    seed: int = 0
    """The same seed gives the same samples."""
    babble: tuple[Path, ...] = ()
    """Folders and tars of speech to make background talk of."""
    recipe: Recipe = field(default_factory=Recipe)
    per_shard: int = 1024
    """Samples in a shard."""

    def run(self) -> None:
        from duologue.data import utterances
        from duologue.data.shards import write_shards
        from duologue.data.voices import some_speech
        from duologue.progress import progress
        from duologue.weights import load

        if self.count < 1 or self.seconds < 2:
            raise InputError("--count is a number from 1 up, --seconds one from 2 up")
        clips = utterances.clips_of(self.clips, self.split)
        codec, babble = load(self.model).codec.eval(), some_speech(self.babble)
        with progress("samples", self.count) as advance:
            samples = utterances.utterances(
                clips, codec, self.count, self.seconds, self.seed, self.recipe, babble
            )
            write_shards(self.out / "shards", _counted(samples, advance), self.per_shard)


@dataclass(frozen=True)
class Compose:
    """Make conversations of a script from the codes of clips (OUT/shards), without recordings of them: thousands in
    the time in which `synth` and `encode` make a hundred."""

    script: ScriptPlace
    """As of `synth`."""
    out: Out
    """The folder to write to."""
    clips: tuple[Path, ...]
    """Folders and tars of clips with word times (`duologue data align`), of users and of the agent."""
    model: str
    """The model whose codec to use."""
    agent: str = "af_heart"
    """The agent's voice."""
    split: Literal["train", "voice", "phrasing", "all"] = "train"
    """Which user clips: of training, of held-out voices, of held-out phrasings, or all."""
    takes: int = 3
    """In how many ways, with other disturbances and another pitch and pace, each user's clip is heard."""
    count: int = 1000
    """Conversations."""
    seconds: float = 60.0
    """About how long each is."""
    seed: int = 0
    """The same seed gives the same conversations."""
    babble: tuple[Path, ...] = ()
    """Folders and tars of speech to make background talk of."""
    recipe: Recipe = field(default_factory=Recipe)
    timing: Timing = field(default_factory=Timing)
    situations: Situations = field(default_factory=Situations)
    per_shard: int = 1024
    """Conversations in a shard."""

    def run(self) -> None:
        from duologue.data.composed import Backgrounds, EncodedSpeakers, composed
        from duologue.data.director import Director
        from duologue.data.drawn import drawn_of, select
        from duologue.data.script import Script
        from duologue.data.shards import write_shards
        from duologue.data.voices import some_speech
        from duologue.progress import progress
        from duologue.weights import load

        if self.count < 1 or self.takes < 1:
            raise InputError("--count and --takes are numbers from 1 up")
        script, babble = Script.read(self.script), some_speech(self.babble)
        codec = load(self.model).codec.eval()
        speakers = EncodedSpeakers(
            select(self.clips, self.split, script), script, self.agent, codec, self.takes, self.seed,
            self.recipe, babble,
        )  # fmt: skip
        drawn = drawn_of(script, self.split)
        director = Director(speakers, script, self.situations, self.timing, self.seconds, drawn)
        backgrounds = Backgrounds(codec, self.seed, self.recipe, babble)
        with progress("conversations", self.count) as advance:
            samples = composed(
                director, backgrounds, codec.config.codebooks, self.count, self.seed, f"composed-{self.seed}"
            )
            write_shards(self.out / "shards", _counted(samples, advance), self.per_shard)


def _counted(samples: Iterable["Sample"], advance: Callable[[int], object]) -> Iterator["Sample"]:
    for sample in samples:
        yield sample
        advance(1)
