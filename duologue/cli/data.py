"""`duologue data ...`: one dataclass a verb, whose `run` is one call into the pipeline.

Every verb writes OUT/manifest.jsonl with its files beside it (`align` adds to the files that are there), goes on where
it stopped, and lists what failed in a file ending in .errors.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from tyro.conf import Positional, arg, subcommand

from duologue.cli.data_corpora import Collect, Fisher, in_folder
from duologue.cli.data_shards import Compose, Dialogues, ScriptPlace, Utterances
from duologue.cli.data_text import Out, Text
from duologue.data.options import Recipe, Situations, Timing
from duologue.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from duologue.data.runner import Engine, Stage
    from duologue.data.script import Script
    from duologue.data.voices import Voice

Manifest: TypeAlias = Annotated[Positional[Path], arg(metavar="MANIFEST.jsonl")]


@dataclass(frozen=True)
class Synth:
    """Make two-channel conversations of a script: left the agent, right the user.

    The voices are ready clips, or a synthesiser's. With `--split` clips are chosen as in training or for validation.
    """

    script: ScriptPlace
    """Lines of {"id", "user": [phrasing, ...], "agent": answer} or {"id", "turns": [[question, answer], ...]}; or a
    folder of such files."""
    out: Out
    """The folder to write to."""
    clips: tuple[Path, ...] = ()
    """Folders and tars of ready clips."""
    voice: str = "kokoro"
    """The synthesiser, where there are no clips: kokoro, espeak, pocket-tts, or a model of synthesis (a folder or
    hf://kyutai/tts-1.6b-en_fr), whose voices are those of `duologue say --voice`."""
    kokoro: Path | None = None
    """A folder with Kokoro's model.onnx, vocab.json and voices/."""
    agent: str = "af_heart"
    """The agent's voice."""
    users: tuple[str, ...] = ()
    """The synthesiser's voices for users. Kokoro's may be mixtures, af_bella:0.5+am_adam:0.5, and have a default."""
    one_pass: bool = False
    """Have a model of synthesis that takes two voices (tts-1.6b) speak each conversation in one pass, at its own
    timing: no pauses, interruptions or noises are added."""
    split: Literal["train", "voice", "phrasing", "all"] = "all"
    """Which user clips: of training, of held-out voices, of held-out phrasings, or all."""
    count: int = 100
    """Conversations."""
    seconds: float = 60.0
    """About how long each is."""
    seed: int = 0
    """The same seed gives the same conversations."""
    babble: tuple[Path, ...] = ()
    """Folders and tars of speech to make background talk of."""
    format: Literal["flac", "wav"] = "flac"
    """How conversations are stored."""
    timing: Timing = field(default_factory=Timing)
    situations: Situations = field(default_factory=Situations)

    def run(self) -> None:
        from duologue.data import synth
        from duologue.data.director import Director
        from duologue.data.drawn import drawn_of, select
        from duologue.data.runner import run
        from duologue.data.script import Script
        from duologue.data.speakers import ClipSpeakers, SpeakerSource, SynthesisedSpeakers
        from duologue.data.split import TRAIN_VOICES
        from duologue.data.voices import some_speech

        script = Script.read(self.script)
        if self.one_pass:
            self._run_in_one_pass(script)
            return
        if self.clips:
            speakers: SpeakerSource = ClipSpeakers(select(self.clips, self.split, script), script, self.agent)
        else:
            users = self.users or (TRAIN_VOICES if self.voice == "kokoro" else ())
            speakers = SynthesisedSpeakers(self._synthesiser(), script, self.agent, list(users))
        drawn = drawn_of(script, self.split)
        director = Director(speakers, script, self.situations, self.timing, self.seconds, drawn)
        stage = synth.Synth(director, self.out, f".{self.format}", some_speech(self.babble))
        run(stage, synth.plans(self.count, self.seed), in_folder(self.out), label="conversations")

    def _run_in_one_pass(self, script: "Script") -> None:
        from duologue.data.drawn import drawn_of
        from duologue.data.one_pass import OnePassSynth
        from duologue.data.runner import run
        from duologue.data.synth import plans
        from duologue.engine.options import DEFAULT
        from duologue.weights import load

        if self.clips or self.voice in ("kokoro", "espeak", "pocket-tts"):
            raise InputError("--one-pass needs a model of synthesis: --voice MODEL")
        if not self.users:
            raise InputError(f"--voice {self.voice} needs --agent NAME and --users NAME ...")
        model = load(self.voice, DEFAULT.torch_device())
        stage = OnePassSynth(
            model, script, self.agent, self.users, self.out, f".{self.format}", self.seconds,
            drawn_of(script, self.split),
        )  # fmt: skip
        run(stage, plans(self.count, self.seed), in_folder(self.out), stage.slots, "conversations")

    def _synthesiser(self) -> "Voice":
        from duologue.data import voices

        if self.voice == "kokoro":
            if self.kokoro is None:
                raise InputError("say who speaks: --clips FOLDER ..., --kokoro FOLDER or another --voice")
            return voices.Kokoro(self.kokoro)
        if not self.users:
            raise InputError(f"--voice {self.voice} needs --agent NAME and --users NAME ...")
        if self.voice in ("espeak", "pocket-tts"):
            return voices.Espeak() if self.voice == "espeak" else voices.PocketTTS()
        from duologue.data.model_voice import ModelVoice
        from duologue.engine.options import DEFAULT
        from duologue.weights import load

        return ModelVoice(load(self.voice, DEFAULT.torch_device()))


@dataclass(frozen=True)
class Align:
    """Find when each word is spoken: NAME.json beside each recording, or "words" in the json of each clip."""

    source: Annotated[Positional[Path], arg(metavar="MANIFEST.jsonl|CLIPS")]
    """A manifest of conversations, or a folder of clips with their texts."""
    whisper: Path
    """A folder with a Whisper model in CTranslate2's format."""
    agent_only: bool = False
    """Leave the user's channel out."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 2
    """Of the CPU."""
    ray: bool = False
    """Align with workers of Ray."""

    def run(self) -> None:
        from duologue.data.manifest import read_manifest
        from duologue.data.runner import run_in_place
        from duologue.data.voices import read_index

        if self.of_clips:
            # The id of a clip is that of its item, which several clips share.
            rows = [row | {"id": str(self.source / row["file"])} for row in read_index(self.source)]
            errors, label = self.source / "clips", "clips"
        else:
            rows, label = read_manifest(self.source), "recordings"
            errors = self.source / "manifest.jsonl" if self.source.is_dir() else self.source
        engine = engine_of(self.stage, self.ray, self.device, self.threads)
        own = replace(self, device="cpu") if self.ray else self  # the workers load their own
        run_in_place(own.stage(), rows, errors, label=label, engine=engine)

    @property
    def of_clips(self) -> bool:
        return self.source.is_dir() and not any(self.source.rglob("*.jsonl"))

    def stage(self) -> "Stage":
        from duologue.data import align

        aligner = align.WhisperAligner(self.whisper, device=self.device, threads=self.threads)
        return align.AlignClips(aligner) if self.of_clips else align.Align(aligner, both=not self.agent_only)


@dataclass(frozen=True)
class Diarize:
    """Divide recordings of several speakers into the agent's channel and the rest."""

    source: Manifest
    """The recordings."""
    out: Out
    """The folder to write to."""
    model: str = "pyannote/speaker-diarization-community-1"
    """A pipeline of pyannote.audio: a name on the hub, or a local config.yaml."""
    token: str | None = None
    """For a gated model."""
    device: str = "cpu"
    """cpu or cuda."""
    speakers: int | None = 2
    """How many speakers there are; None where nobody knows."""
    seed: int = 0
    """Decides who becomes the agent."""

    def run(self) -> None:
        from duologue.data import diarize
        from duologue.data.manifest import read_manifest
        from duologue.data.runner import run

        diarizer = diarize.Pyannote(self.model, self.token, self.device, self.speakers)
        stage = diarize.Diarize(diarizer, self.out, self.seed)
        run(stage, read_manifest(self.source), in_folder(self.out), label="recordings")


@dataclass(frozen=True)
class Augment:
    """Write conversations again with a worse microphone, line or room on the user's side."""

    source: Manifest
    """The conversations."""
    out: Out
    """The folder to write to."""
    take: int = 0
    """The number of this version: another take is another draw."""
    seed: int = 0
    """The same seed and take give the same sounds."""
    babble: tuple[Path, ...] = ()
    """Folders and tars of speech to make background talk of."""
    recipe: Recipe = field(default_factory=Recipe)
    ray: bool = False
    """Write them with workers of Ray."""

    def run(self) -> None:
        from duologue.data.manifest import read_manifest
        from duologue.data.runner import run

        rows, engine = read_manifest(self.source), engine_of(self.stage, self.ray)
        run(self.stage(), rows, in_folder(self.out), label="conversations", engine=engine)

    def stage(self) -> "Stage":
        from duologue.data import augment
        from duologue.data.voices import some_speech

        return augment.Augment(self.out, self.recipe, self.seed, self.take, some_speech(self.babble))


@dataclass(frozen=True)
class Encode:
    """Turn conversations into the codec's tokens and pack them into training shards (OUT/shards)."""

    source: Manifest
    """The conversations."""
    out: Out
    """The folder to write to."""
    model: str
    """The model whose codec to use."""
    device: str = "cpu"
    """cpu or cuda."""
    per_shard: int = 256
    """Conversations in a shard."""
    audio_only: bool = False
    """Pack recordings without a transcript too, with their sound alone: nothing is learnt of what they say."""
    ray: bool = False
    """Encode with workers of Ray."""

    def run(self) -> None:
        from duologue.data import encode
        from duologue.data.manifest import read_manifest, sidecar
        from duologue.data.runner import run
        from duologue.data.shards import write_shards

        engine = engine_of(self.stage, self.ray, self.device)
        rows = read_manifest(self.source)
        if self.audio_only:
            rows = [row if sidecar(row["path"]).exists() else row | {"audio_only": True} for row in rows]
        own = replace(self, device="cpu") if self.ray else self  # the workers load their own
        done = run(own.stage(), rows, in_folder(self.out), label="conversations", engine=engine)
        if rows and not done.rows:
            raise InputError(f"nothing could be encoded: see {self.out / 'manifest.errors'}")
        write_shards(self.out / "shards", encode.samples_of(done.rows), self.per_shard)

    def stage(self) -> "Stage":
        from duologue.data import encode
        from duologue.weights import load

        return encode.Encode(load(self.model, self.device).codec, self.out / "codes")


Data: TypeAlias = (
    Annotated[Synth, subcommand("synth")]
    | Annotated[Dialogues, subcommand("dialogues")]
    | Annotated[Utterances, subcommand("utterances")]
    | Annotated[Compose, subcommand("compose")]
    | Annotated[Align, subcommand("align")]
    | Annotated[Diarize, subcommand("diarize")]
    | Annotated[Augment, subcommand("augment")]
    | Annotated[Encode, subcommand("encode")]
    | Annotated[Fisher, subcommand("fisher")]
    | Annotated[Collect, subcommand("collect")]
    | Annotated[Text, subcommand("text")]
)


def engine_of(make: "Callable[[], Stage]", ray: bool, device: str = "cpu", cpus: int = 1) -> "Engine":
    """Ray's workers, or this process."""
    from duologue.data.runner import in_this_process
    from duologue.data.workers import workers

    return workers(make, cpus, device) if ray else in_this_process
