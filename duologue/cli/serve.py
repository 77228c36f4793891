"""The verbs `serve`, `references` and `call`. Nothing heavy is imported before it runs."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from duologue import DEFAULT_MODEL
from duologue.engine.options import DeviceName, Options
from duologue.errors import InputError
from duologue.serve.settings import Settings


@dataclass(frozen=True)
class Serve:
    """Serve a model: a page to talk to it, and the protocols of the clients people already have.

    The page is at the address that is printed. Without --ssl-... browsers on other machines refuse the microphone.
    """

    model: Annotated[str, arg(metavar="MODEL")] = DEFAULT_MODEL
    """The model to serve."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 is all addresses of this machine."""
    port: int = 8998
    """The port; 0 is any that is free."""
    limits: OmitArgPrefixes[Settings] = field(default_factory=Settings)
    ssl_cert: Annotated[Path | None, arg(metavar="CERT.pem")] = None
    """A certificate, for https."""
    ssl_key: Annotated[Path | None, arg(metavar="KEY.pem")] = None
    """Its key."""
    ssl_self_signed: bool = False
    """Make a self-signed certificate; browsers warn about it."""
    api_key_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """Keys, one a line; clients must show one."""
    twilio_token_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """The auth token of a Twilio account: calls must be signed with it, and need no key."""
    record: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Keep a recording, the words and a trace of every conversation. Tell those who talk."""
    stt: Annotated[str | None, arg(metavar="MODEL")] = None
    """A recognition model to serve too, for as many recordings as conversations."""
    tts: Annotated[str | None, arg(metavar="MODEL")] = None
    """A synthesis model to serve too, for as many texts."""
    voice: Annotated[str | None, arg(metavar="VOICE")] = None
    """Its voice for those who ask for none: a file, or a path in the repository of published voices."""
    ray: bool = False
    """Serve replicas on Ray: on the cluster that RAY_ADDRESS names, or on one of this machine's own."""
    replicas: int = 1
    """With --ray: how many; each has --sessions, and a GPU or a core of its own."""
    most_replicas: int = 0
    """With --ray: how many there may be when slots run short; 0: no more than --replicas."""
    engine: OmitArgPrefixes[Options] = field(default_factory=Options)

    def run(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"--port is a number from 0 to 65535, not {self.port}")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise InputError("--ssl-cert and --ssl-key go together")
        if self.ray:
            self._run_fleet()
            return
        try:
            from duologue.serve.run import serve
        except ImportError as error:
            raise _missing("serve", error) from None
        serve(
            self.model,
            self.engine.torch_device(),
            self.limits,
            self.host,
            self.port,
            (self.ssl_cert, self.ssl_key) if self.ssl_cert and self.ssl_key else None,
            self.ssl_self_signed,
            self.api_key_file,
            self.twilio_token_file,
            self.record,
            self.engine,
            self.stt,
            self.tts,
            self.voice,
        )

    def _run_fleet(self) -> None:
        if odd := [
            name for name in ("ssl_cert", "ssl_self_signed", "record", "stt", "tts") if getattr(self, name)
        ]:
            raise InputError(f"--ray and --{odd[0].replace('_', '-')} do not go together")
        try:
            from duologue.serve.fleet import Fleet, serve_fleet
            from duologue.serve.run import read_keys
        except ImportError as error:
            raise _missing("serve", error) from None
        device = self.engine.torch_device()
        gpus = 1.0 if device.startswith("cuda") else 0.0
        fleet = Fleet(self.model, device, self.replicas, self.most_replicas, gpus=gpus)
        keys = read_keys(self.api_key_file) if self.api_key_file else ()
        serve_fleet(fleet, replace(self.limits, keys=keys), self.host, self.port, self.engine)


@dataclass(frozen=True)
class References:
    """Serve the encoder of references of a model that retrieves what it does not know (moshika-rag): texts in, vectors
    out, at the addresses that MoshiRAG's server asks at REFERENCE_ENCODER_URL."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """The model, such as hf://kyutai/moshika-rag-pytorch-bf16."""
    host: str = "127.0.0.1"
    """The address to listen at."""
    port: int = 8001
    """The port; 0 is any that is free."""
    tokenizer: Annotated[Path | None, arg(metavar="tokenizer.json")] = None
    """The tokenizer of Llama 3.2; by default it is fetched from the hub, where its terms must have been accepted."""
    device: DeviceName | None = None
    """Where to compute: by default on a GPU where there is one."""

    def run(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"--port is a number from 0 to 65535, not {self.port}")
        try:
            from duologue.serve.references import serve
        except ImportError as error:
            raise _missing("references", error) from None
        serve(self.model, Options(device=self.device).torch_device(), self.host, self.port, self.tokenizer)


@dataclass(frozen=True)
class Call:
    """Talk to a server: with the microphone, or say a recording at the rate it was spoken and write what it answers."""

    url: Annotated[Positional[str], arg(metavar="URL")]
    """The server, such as http://localhost:8998."""
    source: Annotated[Path | None, arg(name="in", metavar="IN.wav")] = None
    """What the user says; the microphone if not given."""
    target: Annotated[Path | None, arg(name="out", metavar="OUT.wav")] = None
    """What the agent says, from the moment the user begins; the speaker if not given."""
    tail: float = 5.0
    """The seconds to listen on after the recording has ended."""
    api_key: Annotated[str, arg(metavar="KEY")] = ""
    """The key, if the server needs one."""

    def run(self) -> None:
        try:
            from duologue.cli.client import Answer, call, call_live, chat_url, recording
        except ImportError as error:
            raise _missing("call", error) from None
        import asyncio
        import contextlib

        from duologue.audio.files import check_audio_path, read_mono, write_audio
        from duologue.cli.screen import Screen

        chat_url(self.url)
        if self.source is None and self.target is None:
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(call_live(self.url, self.api_key))
            return
        if self.source is None or self.target is None:
            raise InputError(
                "--in and --out go together; without both, the microphone and the speaker are used"
            )
        check_audio_path(self.target)
        if not 0 <= self.tail < float("inf"):
            raise InputError(f"--tail is a number of seconds from 0 up, not {self.tail}")
        with Screen(hint="") as screen:
            answer = Answer(screen)
            asyncio.run(call(self.url, recording(read_mono(self.source), self.tail), self.api_key, answer))
        write_audio(self.target, answer.wav_S)


def _missing(verb: str, error: ImportError) -> InputError:
    return InputError(f"`duologue {verb}` needs the extra: pip install 'duologue[serve]' ({error})")
