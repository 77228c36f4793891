"""The command line: what each verb takes. Each is one call into the library.

Nothing heavy is imported before a verb runs, so that `--help` is fast.
"""

import os
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from duologue import DEFAULT_MODEL, __version__
from duologue.cli import bench, data, train
from duologue.cli import eval as eval_
from duologue.cli.card import Card, Push
from duologue.cli.convert import Convert
from duologue.cli.detect import Detect
from duologue.cli.plan import Plan
from duologue.cli.serve import Call, References, Serve
from duologue.cli.speech import Say, Transcribe
from duologue.engine.options import BackendName, Options
from duologue.errors import InputError

DESCRIPTION = """\
A spoken-dialogue model that listens and speaks at the same time.

examples:
  duologue talk question.wav answer.wav       what the model answers to a recording
  duologue talk                               talk to it with microphone and headphones
  duologue transcribe speech.wav              what is said in a recording, with --srt as subtitles
  duologue say "Hello there." hello.wav       a text, spoken
  duologue translate in.wav out.wav --model M what a model of translation says of a recording
  duologue info MODEL                         what a model is made of
  duologue encode speech.wav speech.npz       a recording as the codec's tokens ...
  duologue decode speech.npz again.wav        ... and back
  duologue convert MODEL DST --format mlx     the same model in another program's files
  duologue serve                              a page to talk to, and a server for clients
  duologue train codec --help                 train a codec; see also data and eval

MODEL is a name (nano, which comes with the package; tiny, which is random), a folder, a .safetensors file or a
repository (hf://owner/name@revision).
Recordings are wav, flac, ogg, opus or mp3, of any sample rate and length; what is written goes by its suffix."""

CONFIG = (FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes)
Model: TypeAlias = Annotated[str, arg(metavar="MODEL")]
AudioIn: TypeAlias = Annotated[Positional[Path], arg(metavar="IN.wav")]
AudioOut: TypeAlias = Annotated[Positional[Path], arg(metavar="OUT.wav")]


@dataclass(frozen=True)
class Info:
    """Print what a model is made of: sizes, rates, delays, parameters."""

    model: Positional[Model]
    """A name, folder, file or hf://owner/name@revision."""

    def run(self) -> None:
        from duologue.cli import commands

        commands.info(self.model)


@dataclass(frozen=True)
class Encode:
    """Turn a recording into the codec's tokens: an .npz with `codes` [Q, T], the rates and the model's name."""

    source: AudioIn
    """The recording; its channels are averaged."""
    target: Annotated[Positional[Path], arg(metavar="OUT.npz")]
    """The file to write."""
    model: Model = DEFAULT_MODEL
    """The model whose codec to use."""
    backend: BackendName | None = None
    """What computes: by default mlx on Apple silicon where it is installed, and torch elsewhere."""

    def run(self) -> None:
        from duologue.cli import commands

        commands.encode(self.source, self.target, self.model, Options(self.backend))


@dataclass(frozen=True)
class Decode:
    """Turn the codec's tokens back into a recording at 24 kHz."""

    source: Annotated[Positional[Path], arg(metavar="IN.npz")]
    """What `duologue encode` wrote."""
    target: AudioOut
    """The recording to write: wav, flac, ogg or opus by its suffix."""
    model: Annotated[str | None, arg(metavar="MODEL")] = None
    """The model whose codec to use; the one named in the file if not given."""
    backend: BackendName | None = None
    """What computes: by default mlx on Apple silicon where it is installed, and torch elsewhere."""

    def run(self) -> None:
        from duologue.cli import commands

        commands.decode(self.source, self.target, self.model, Options(self.backend))


@dataclass(frozen=True)
class Talk:
    """Talk to a model with microphone and headphones; or let it hear a recording and write what it says meanwhile and
    after, as fast as the machine goes.

    When the recording ends the model hears silence until it has been quiet for 1.5 s.
    """

    source: Annotated[Positional[Path | None], arg(metavar="IN.wav")] = None
    """What the user says; the microphone if not given."""
    target: Annotated[Positional[Path | None], arg(metavar="OUT.wav")] = None
    """What the agent says, at 24 kHz: wav, flac, ogg or opus by its suffix; the speaker if not given."""
    model: Model = DEFAULT_MODEL
    """The model to talk to."""
    seed: int = 0
    """The same seed gives the same answer."""
    greedy: bool = False
    """Take the likeliest token each time instead of sampling."""
    stereo: bool = False
    """Write both: the agent on the left, the user on the right."""
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Also write the words of both with their times, and how long the frames took."""
    png: Annotated[Path | None, arg(metavar="OUT.png")] = None
    """Also draw both voices, their words over them."""
    tail: float = 15.0
    """The most seconds to go on after the recording has ended."""
    play: bool = False
    """Also play the answer, where there is a speaker."""
    engine: Options = field(default_factory=Options)

    def run(self) -> None:
        from duologue.cli import commands

        if self.source is None:
            commands.talk_live(self.model, self.seed, self.greedy, self.engine)
            return
        if self.target is None:
            raise InputError("name a file for the answer too: duologue talk question.wav answer.wav")
        commands.talk(
            self.source,
            self.target,
            self.model,
            seed=self.seed,
            greedy=self.greedy,
            stereo=self.stereo,
            json_target=self.json,
            png_target=self.png,
            tail=self.tail,
            play=self.play,
            options=self.engine,
        )


@dataclass(frozen=True)
class Translate:
    """Let a model of the Hibiki family translate what it hears, in the voice of who speaks; prints the text."""

    source: AudioIn
    """The recording to translate."""
    target: AudioOut
    """The translation, at 24 kHz: wav, flac, ogg or opus by its suffix."""
    model: Model
    """The model, such as hf://kyutai/hibiki-1b-pytorch-bf16."""
    seed: int = 0
    """The same seed gives the same translation."""
    greedy: bool = False
    """Take the likeliest token each time instead of sampling."""
    guidance: float | None = None
    """Strength of classifier-free guidance (1: none; 3 is closer to the speaker's voice, at twice the compute); by
    default the published value."""
    tail: float = 30.0
    """The most seconds to go on after the recording has ended."""
    options: Options = field(default_factory=Options)

    def run(self) -> None:
        from duologue.cli import commands

        commands.translate(
            self.source,
            self.target,
            self.model,
            seed=self.seed,
            greedy=self.greedy,
            guidance=self.guidance,
            tail=self.tail,
            options=self.options,
        )


@dataclass(frozen=True)
class DataVerbs:
    """Make training data: conversations, the times of words, codes."""

    verb: data.Data

    def run(self) -> None:
        self.verb.run()


@dataclass(frozen=True)
class TrainVerbs:
    """Train a codec or a language model; the same command goes on where a run stopped."""

    verb: train.Train

    def run(self) -> None:
        self.verb.run()


@dataclass(frozen=True)
class EvalVerbs:
    """Measure what a model does."""

    verb: eval_.Eval

    def run(self) -> None:
        self.verb.run()


@dataclass(frozen=True)
class BenchVerbs:
    """Measure how fast this machine runs a model."""

    verb: bench.Bench

    def run(self) -> None:
        self.verb.run()


Verb: TypeAlias = (
    Info
    | Encode
    | Decode
    | Talk
    | Transcribe
    | Say
    | Translate
    | Serve
    | References
    | Call
    | Convert
    | Card
    | Push
    | Detect
    | Annotated[DataVerbs, subcommand("data")]
    | Annotated[TrainVerbs, subcommand("train")]
    | Annotated[EvalVerbs, subcommand("eval")]
    | Annotated[BenchVerbs, subcommand("bench")]
    | Plan
)


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Exits with 2 and one line on stderr if what the user gave cannot be used."""
    try:
        try:
            _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be noticed
    except InputError as error:
        sys.exit(_complain(str(error)))
    except FloatingPointError as error:
        sys.exit(_complain(f"{error}: give another model, or take back --quantize"))
    except BrokenPipeError:  # there is no reader for a message either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder without permission
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_complain(f"{where}{error.strerror or error}"))
    except KeyboardInterrupt:
        sys.exit(130)


def _names(verbs: Any) -> dict[str, Any]:
    """The verbs of a union, by the names they are called by."""
    found = {}
    for verb in get_args(verbs):
        kind, *marks = get_args(verb) or (verb,)
        named = next((mark.name for mark in marks if getattr(mark, "name", None)), None)
        found[named or kind.__name__.lower()] = kind
    return found


def _check_verb(arguments: list[str]) -> None:
    """Raises InputError, with the nearest name, for a verb that does not exist."""
    verbs, said = _names(Verb), "duologue"
    for argument in arguments[:2]:
        if argument.startswith("-"):
            return
        if argument not in verbs:
            near = get_close_matches(argument, verbs, 1)
            hint = f"did you mean `{said} {near[0]}`?" if near else f"there are {', '.join(verbs)}"
            raise InputError(f"there is no `{said} {argument}`: {hint}")
        group = get_type_hints(verbs[argument], include_extras=True).get("verb")
        if group is None:
            return
        verbs, said = _names(group), f"{said} {argument}"


def _run(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print(f"duologue {__version__}")
        return
    _check_verb(arguments)
    if not arguments or arguments in [[name] for name in ("data", "train", "eval", "bench")]:
        arguments = [*arguments, "--help"]
    verb = tyro.cli(Verb, prog="duologue", description=DESCRIPTION, args=arguments, config=CONFIG)
    verb.run()


def _complain(line: str) -> int:
    print(f"duologue: {' '.join(line.split())}", file=sys.stderr)
    return 2
