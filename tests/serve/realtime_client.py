"""Clients of the OpenAI Realtime protocol: one that keeps all events, and the openai package."""

import asyncio
import base64
import json

import pytest
from websockets.asyncio.client import connect

from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, pcm

SILENCE = base64.b64encode(bytes(3840 * 10)).decode()


TRANSCRIPTION = "conversation.item.input_audio_transcription"


ASKED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}}


def speech(frames: int) -> str:
    return base64.b64encode(pcm(noise(frames))).decode()


class Client:
    def __init__(self, link):
        self.link, self.events = link, []

    async def send(self, type: str, **fields) -> None:
        await self.link.send(json.dumps({"type": type, **fields}))

    async def until(self, type: str) -> dict:
        """The next event of a type."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self.events.append(json.loads(await self.link.recv()))
                if self.events[-1]["type"] == type:
                    return self.events[-1]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


def run(server, script):
    async def go():
        url = f"ws://{server.address}/v1/realtime?model=any"
        async with connect(url, max_size=None, compression=None) as link:
            client = Client(link)
            await client.until("session.created")
            await script(client)
            return client

    return asyncio.run(go())


def talk(server, script, **options):
    """What a script gives that is run with a connection of the openai package."""
    openai = pytest.importorskip("openai", reason="the openai package is not installed")

    async def go():
        client = openai.AsyncOpenAI(
            api_key="none",
            base_url=f"http://{server.address}/v1",
            websocket_base_url=f"ws://{server.address}/v1",
        )
        async with asyncio.timeout(PATIENCE), client, client.realtime.connect(model="any", **options) as link:
            return await script(link)

    return asyncio.run(go())


async def until(link, type: str):
    """The next event of a type on a connection of the openai package."""
    while (event := await link.recv()).type != type:
        pass
    return event
