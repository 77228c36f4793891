"""From the command line to a running server: socket, TLS, signals, the log."""

import asyncio
import contextlib
import faulthandler
import gc
import json
import logging
import signal
import socket
import ssl
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvicorn

from duologue.engine.backend import open_backend
from duologue.engine.batcher import HUNG_SECONDS
from duologue.engine.options import DEFAULT, Options
from duologue.engine.references import References
from duologue.errors import InputError
from duologue.serve.app import Service, create_app
from duologue.serve.card import About, read_card
from duologue.serve.delegates import delegate_of
from duologue.serve.delegation import Help
from duologue.serve.door import Http, Socket, WebServer
from duologue.serve.questions import Asks
from duologue.serve.settings import LINGER_SECONDS, MESSAGE, PING_SECONDS, PONG_SECONDS, UNSENT, Settings
from duologue.serve.speech import Ears, Mouth
from duologue.serve.speech_routes import Speech
from duologue.serve.tls import EVERYWHERE, lan_address, qr_code, self_signed
from duologue.serve.traces import tracer_of_environment
from duologue.weights import Model, load
from duologue.weights.reference import ReferenceTokenizer, load_encoder

log = logging.getLogger(__name__)

FIELDS = ("conversation", "protocol", "reason", "seconds", "frames", "late", "missing", "dropped", "replica")


def serve(
    model: str,
    device: str,
    settings: Settings,
    host: str,
    port: int,
    certificate: tuple[Path, Path] | None = None,
    self_sign: bool = False,
    key_file: Path | None = None,
    twilio_token_file: Path | None = None,
    record: Path | None = None,
    options: Options = DEFAULT,
    stt: str | None = None,
    tts: str | None = None,
    voice: str | None = None,
) -> None:
    """Serve a model until SIGTERM or Ctrl-C. Raises InputError for wrong settings before it starts."""
    settings = with_secrets(settings, key_file, twilio_token_file)
    check(settings)
    options.resolved()
    listening = listen(host, port)
    with contextlib.ExitStack() as stack:
        stack.callback(listening.close)
        pair = stack.enter_context(self_signed(host)) if self_sign else certificate
        if pair is not None:
            check_certificate(*pair)
        service = open_service(model, device, settings, options, record, stt, tts, voice)
        gc.freeze()  # collecting garbage among the objects so far would stop every conversation for 150 ms
        log_to_stderr()
        greeting = _greeting(service.name, host, listening.getsockname()[1], pair is not None)
        asyncio.run(serve_until_told(service, listening, pair, greeting))


def _greeting(name: str, host: str, port: int, secure: bool) -> str:
    """Where the server listens; over https also for others in the network, with a QR code on a terminal."""
    shown = "localhost" if host in (*EVERYWHERE, "127.0.0.1") else host
    lines = [f"{name} listens at http{'s' if secure else ''}://{shown}:{port}"]
    others = lan_address() if host in EVERYWHERE else None
    if secure and others is not None:
        address = f"https://{others}:{port}"
        lines.append(f"from other machines, such as a phone, at {address}")
        if sys.stdout.isatty():
            lines.append(qr_code(address))
    return "\n".join(lines)


def with_secrets(settings: Settings, key_file: Path | None, twilio_token_file: Path | None) -> Settings:
    """The settings with the secrets from these files. Raises InputError for a file that holds none."""
    return replace(
        settings,
        keys=read_keys(key_file) if key_file else (),
        twilio_token=read_keys(twilio_token_file)[0] if twilio_token_file else "",
    )


def open_service(
    model: str,
    device: str,
    settings: Settings,
    options: Options = DEFAULT,
    record: Path | None = None,
    stt: str | None = None,
    tts: str | None = None,
    voice: str | None = None,
) -> Service:
    """Load the models and make the service of them. Raises InputError if the model cannot do what the settings ask."""
    tracer = tracer_of_environment()
    opened = load(model, device, lora=options.lora)
    card = read_card(opened.files)
    lm = opened.files.config.lm
    delegate = delegate_of(settings)
    if delegate is not None and not lm.writes_down_user and stt is None:
        raise InputError(
            f"--delegate needs a model that writes down the user's words: {opened.name} does not; name one beside it "
            "with --stt MODEL"
        )
    backend = open_backend(opened, settings.sessions, options)
    speech = _speech(stt, tts, voice, device, settings.sessions, options)
    help = Help(
        delegate,
        Asks(lm.retrieval_token, card.does_not_know if card else ()),
        None if delegate is None else _references(opened),
        None if lm.writes_down_user else speech.ears,
    )
    voice_name = options.voice.name if options.voice else None
    about = About(card, voice_name, options.role, reads_text=help.references is not None)
    return Service(
        backend,
        opened.tokenizer,
        opened.sampling,
        opened.name,
        settings,
        record,
        speech,
        about,
        help,
        tracer,
    )


def _references(model: Model) -> References | None:
    """The encoder of the references that a model reads; None if it reads none."""
    if model.files.config.lm.conditioning.encoder is None:
        return None
    return References(load_encoder(model), ReferenceTokenizer(None).encode)


def _speech(
    stt: str | None, tts: str | None, voice: str | None, device: str, slots: int, options: Options
) -> Speech:
    """The recognition and synthesis models to serve too."""
    ears = None if stt is None else Ears(load(stt, device), slots, options)
    mouth = None if tts is None else Mouth(load(tts, device), slots, options, voice=[voice] if voice else [])
    return Speech(ears, mouth)


def check(settings: Settings) -> None:
    """Raises InputError for invalid settings."""
    if settings.sessions < 1 or settings.queue < 0:
        raise InputError("--sessions must be at least 1, and --queue at least 0")
    if min(settings.time_limit, settings.idle_limit) <= 0 or settings.drain < 0:
        raise InputError("--time-limit and --idle-limit are seconds above 0, --drain from 0 up")
    delegate_of(settings)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections give up on dead peers."""
    listening = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option, value in (
            ("TCP_USER_TIMEOUT", int(1000 * LINGER_SECONDS)),
            ("TCP_NOTSENT_LOWAT", UNSENT),
        ):
            if hasattr(socket, option):
                listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        if listening is not None:
            listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen at {host}:{port}: {reason}. Is a server running there? Name another with --port"
        ) from None
    return listening


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys in a file, one per line; empty lines and lines that begin with # are ignored."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the keys in {path}: {error}") from None
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise InputError(f"{path} holds no key: write one per line")
    return keys


def check_certificate(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{certificate} and {key} are not a certificate and its key in PEM: {error}"
        ) from None


async def serve_until_told(
    service: Service, listening: socket.socket, pair: tuple[Path, Path] | None, greeting: str
) -> None:
    """Serve on a socket until a signal; then end the conversations, and return. Raises SystemExit with 1 if the engine
    has given up, so that a supervisor restarts the process."""
    server = web_server(service, pair)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_exception)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: asyncio.ensure_future(stop(server, service)))
    print(greeting, flush=True)
    watching = asyncio.create_task(watch(server, service))
    try:
        await server.serve([listening])
    finally:
        watching.cancel()
        faulthandler.cancel_dump_traceback_later()
    if service.gave_up:
        raise SystemExit(1)


async def watch(server: uvicorn.Server, service: Service) -> None:
    """Stop serving when the engine has given up; end the process if this event loop itself hangs."""
    while not service.gave_up:
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
        await asyncio.sleep(1.0)
    log.critical("the engine does not run any more: the process ends, so that another can be started")
    server.should_exit = True


def _log_exception(_: asyncio.AbstractEventLoop, context: dict) -> None:
    error = context.get("exception")
    log.error("%s: %s", context.get("message"), error, exc_info=error)


def web_server(
    service: Service,
    pair: tuple[Path, Path] | None = None,
    ping: float = PING_SECONDS,
    pong: float = PONG_SECONDS,
) -> WebServer:
    config = configured(service, pair, ping, pong)
    return WebServer(config, service.metrics.refused.labels("connections").inc)


def configured(service: Service, pair: tuple[Path, Path] | None, ping: float, pong: float) -> uvicorn.Config:
    """Settings of uvicorn."""
    return uvicorn.Config(
        create_app(service, secure=pair is not None),
        http=Http,
        ws=Socket,
        ws_max_size=MESSAGE,
        ws_ping_interval=ping,
        ws_ping_timeout=pong,
        ws_per_message_deflate=False,  # a message of one MiB could decompress to a thousand
        ssl_certfile=pair[0] if pair else None,
        ssl_keyfile=pair[1] if pair else None,
        log_config=None,
        access_log=False,  # queries may contain keys
        server_header=False,
        forwarded_allow_ips=service.settings.forwarded_allow_ips,
        timeout_graceful_shutdown=3,
    )


async def stop(server: uvicorn.Server, service: Service) -> None:
    """Drain and stop; at once on a second signal."""
    if service.pool.draining is not None:
        server.force_exit = True
    else:
        await service.pool.drain()
    server.should_exit = True


class _Lines(logging.Formatter):
    """One JSON object per line. It never contains sound or text of a conversation."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Seldom(logging.Filter):
    """Passes one message of a library per second: a peer could cause thousands."""

    def __init__(self):
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("duologue") and record.levelno < logging.WARNING:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._said.get(place, -1.0) < 1.0:
            return False
        self._said[place] = now
        return True


def log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("duologue").setLevel(logging.INFO)
