"""The verbs `transcribe` and `say`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from tyro.conf import Positional, UseAppendAction, arg

from duologue import DEFAULT_MODEL
from duologue.engine.options import BackendName, Options
from duologue.errors import InputError

Model: TypeAlias = Annotated[str, arg(metavar="MODEL")]


@dataclass(frozen=True)
class Transcribe:
    """Transcribe recordings, or the microphone while you speak."""

    sources: Annotated[Positional[tuple[Path, ...]], arg(metavar="IN.wav")] = ()
    """The recordings; the microphone if there are none."""
    model: Model = DEFAULT_MODEL
    """A recognition model, or a conversational one that transcribes."""
    words: bool = False
    """A word a line: start, end, word."""
    srt: bool = False
    """Subtitles as SubRip has them."""
    vtt: bool = False
    """Subtitles as WebVTT has them."""
    json: bool = False
    """A JSON object a recording, one a line: text, words with their times, pauses where the model tells them."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write a file for each recording into this folder, instead of to the terminal."""
    live: bool = False
    """Listen to the microphone, until Ctrl-C."""
    batch: int = 4
    """Recordings that are transcribed at the same time."""
    prompt_audio: Annotated[Path | None, arg(metavar="PROMPT.wav")] = None
    """A recording that a recognition model hears first, such as a name that it should know, or the same speaker."""
    prompt: Annotated[str | None, arg(metavar="TEXT")] = None
    """What is said in PROMPT.wav, as it should be written: its spelling and style are kept to."""
    backend: BackendName | None = None
    """What computes: by default mlx on Apple silicon where it is installed, and torch elsewhere."""

    def run(self) -> None:
        chosen = [name for name in ("words", "srt", "vtt", "json") if getattr(self, name)]
        if len(chosen) > 1:
            raise InputError(f"--{chosen[0]} or --{chosen[1]}: choose one")
        if self.live and self.sources:
            raise InputError("--live listens to the microphone: name no recordings")
        if self.batch < 1:
            raise InputError(f"--batch is a number of recordings from 1 up, not {self.batch}")
        if self.prompt is not None and self.prompt_audio is None:
            raise InputError("--prompt is what is said in a recording: name that with --prompt-audio")
        from duologue.cli import speech_commands

        form, prompt = chosen[0] if chosen else "text", (self.prompt_audio, self.prompt or "")
        if not self.sources:
            speech_commands.transcribe_live(self.model, form, prompt, Options(self.backend))
        else:
            speech_commands.transcribe(
                self.sources, self.model, form, self.out, self.batch, prompt, Options(self.backend)
            )


@dataclass(frozen=True)
class Say:
    """Speak a text: into a recording, or aloud. Without a text it is read from the standard input, and spoken while it
    comes.

    <break time="0.5s"/> in the text is a pause. With two voices, each line is a turn, and they take turns.
    """

    given: Annotated[Positional[tuple[str, ...]], arg(metavar="[TEXT] [OUT.wav]")] = ()
    """What to say, and the recording to write (wav, flac, ogg, opus or mp3 by its suffix); aloud if not given."""
    model: Model = DEFAULT_MODEL
    """A synthesis model, or a conversational one."""
    voice: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="VOICE")] = ()
    """A voice of the model: a file, or a path in the repository of published voices; give two for a dialogue."""
    speed: float = 1.0
    """Above 1 speaks faster, below 1 slower: from 0.5 to 2."""
    guidance: float | None = None
    """Strength of guidance of a synthesis model; by default 2."""
    codebooks: int | None = None
    """Codebooks that a synthesis model predicts: fewer are faster and sound worse."""
    seed: int = 0
    """The same seed gives the same sound."""
    json: Annotated[Path | None, arg(metavar="OUT.json")] = None
    """Also write the words with their times."""
    srt: Annotated[Path | None, arg(metavar="OUT.srt")] = None
    """Also write subtitles."""
    live: bool = False
    """Speak aloud, also where a recording is written."""
    backend: BackendName | None = None
    """What computes: by default mlx on Apple silicon where it is installed, and torch elsewhere."""

    def run(self) -> None:
        from duologue.audio.files import WRITTEN_AS

        given = list(self.given)
        target = Path(given.pop()) if given and Path(given[-1]).suffix.lower() in WRITTEN_AS else None
        if len(given) > 1:
            raise InputError(
                f"put the text into quotes, and end the recording's name in {', '.join(WRITTEN_AS)}: "
                'duologue say "Hello." hello.wav'
            )
        if not 0.5 <= self.speed <= 2:
            raise InputError(f"--speed is from 0.5 to 2, not {self.speed:g}")
        from duologue.cli import speech_commands

        speech_commands.say(
            given[0] if given else None,
            target,
            self.model,
            voices=self.voice,
            speed=self.speed,
            guidance=self.guidance,
            codebooks=self.codebooks,
            seed=self.seed,
            json_target=self.json,
            srt_target=self.srt,
            live=self.live or target is None,
            options=Options(self.backend),
        )
