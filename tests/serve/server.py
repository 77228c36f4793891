"""A real server on a real socket, in a thread, with a model that only echoes; and a client of /api/chat."""

import asyncio
import http.client
import json
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from duologue.lm.sampling import Sampling
from duologue.serve.app import Service
from duologue.serve.card import NOBODY
from duologue.serve.delegates import delegate_of
from duologue.serve.delegation import Help
from duologue.serve.run import listen, web_server
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend

PATIENCE = 60.0  # seconds: for slow machines


class Server:
    """Serves until `close`; `address` is host:port."""

    def __init__(
        self,
        settings: Settings,
        backend=None,
        record=None,
        ping: float = 5.0,
        speech=None,
        sampling=None,
        about=NOBODY,
        help=None,
        tracer=None,
        pair=None,
    ):
        tiny = load("tiny")
        self.backend = backend or EchoBackend(settings.sessions)
        self.service = Service(
            self.backend,
            tiny.tokenizer,
            sampling or Sampling(),
            "echo",
            settings,
            record,
            speech,
            about,
            help or Help(delegate_of(settings)),
            tracer,
        )
        self.socket = listen("127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.uvicorn = web_server(self.service, pair, ping, ping)
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],), daemon=True)
        self.thread.start()
        until(lambda: self.uvicorn.started)

    def tasks(self) -> list[asyncio.Task]:
        """What its event loop has to do."""
        return [task for task in asyncio.all_tasks(self.uvicorn.servers[0].loop) if not task.done()]

    def close(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def get(server, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body."""
    link = http.client.HTTPConnection(server.address, timeout=PATIENCE)
    link.request("GET", path, headers=headers)
    response = link.getresponse()
    body = response.read()
    link.close()
    return response.status, body


def until(condition, seconds: float = PATIENCE) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@dataclass
class Heard:
    """What a client was told, in order."""

    kinds: list[int] = field(default_factory=list)
    sound: list[bytes] = field(default_factory=list)
    text: str = ""
    events: list[dict] = field(default_factory=list)
    error: str = ""
    code: int | None = None

    def event(self, kind: str) -> dict:
        return next(event for event in self.events if event["type"] == kind)

    def take(self, message: bytes) -> None:
        kind, payload = message[0], message[1:]
        self.kinds.append(kind)
        if kind == 1:
            self.sound.append(payload)
        elif kind == 2:
            self.text += payload.decode()
        elif kind == 4:
            self.events.append(json.loads(payload))
        elif kind == 5:
            self.error = payload.decode()


def dial(server: Server, query: str = "", **options) -> connect:
    return connect(f"ws://{server.address}/api/chat?{query}", max_size=None, compression=None, **options)


async def read(link: ClientConnection, heard: Heard, enough=lambda heard: False) -> Heard:
    """Listen until there is enough, or the server closes."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not enough(heard):
                heard.take(await link.recv())
    except ConnectionClosed as closed:
        heard.code = closed.rcvd.code if closed.rcvd else 1006
    return heard


def pcm(frames_TS: np.ndarray) -> bytes:
    return (np.asarray(frames_TS).ravel() * 32767).round().astype("<i2").tobytes()
