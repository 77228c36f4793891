"""A client of the Realtime protocol that sends what it is told to, and keeps all events."""

import asyncio
import base64
import json

from websockets.asyncio.client import connect

from duologue.weights import load
from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, pcm

WORDS = load("tiny").tokenizer.encode("two and two")
QUESTION, FACT = "what is the tallest mountain", "the tallest mountain is Everest"
TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"question": {"type": "string"}},
        "required": ["question"],
    },
}
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
