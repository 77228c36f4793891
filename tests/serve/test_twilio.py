"""Calls of Twilio, by a stand-in that says what its documentation says that it says."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from duologue.audio.g711 import G711
from duologue.serve.settings import Settings
from tests.serve.server import PATIENCE, Server, until

pytestmark = pytest.mark.usefixtures("nobody_left")

TOKEN = "12345"
QUIET = b"\xff" * 160


class Twilio:
    """Twilio's end of a media stream."""

    def __init__(self, link):
        self.link, self.sequence, self.heard = link, 0, []

    async def send(self, event: str, **more) -> None:
        self.sequence += 1
        message = {"event": event, "sequenceNumber": str(self.sequence), "streamSid": "MZ1", **more}
        await self.link.send(json.dumps(message))

    async def begin(self, encoding: str = "audio/x-mulaw") -> None:
        await self.link.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        form = {"encoding": encoding, "sampleRate": 8000, "channels": 1}
        start = {"streamSid": "MZ1", "accountSid": "AC1", "callSid": "CA1", "tracks": ["inbound"]}
        await self.send("start", start=start | {"customParameters": {}, "mediaFormat": form})

    async def say(self, payload: bytes) -> None:
        media = {"track": "inbound", "chunk": "1", "timestamp": "5"}
        await self.send("media", media=media | {"payload": base64.b64encode(payload).decode()})

    async def speak(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            await self.say(piece)
            await asyncio.sleep(0.02)

    async def listen(self, enough) -> None:
        async with asyncio.timeout(PATIENCE):
            while not enough(self.heard):
                self.heard.append(json.loads(await self.link.recv()))

    async def drain(self) -> None:
        """Listen until nothing comes any more."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.heard.append(json.loads(await asyncio.wait_for(self.link.recv(), 1.0)))

    @property
    def sound(self) -> bytes:
        return b"".join(base64.b64decode(e["media"]["payload"]) for e in self.heard if e["event"] == "media")


def run(server, script, headers=None):
    async def go():
        url = f"ws://{server.address}/v1/twilio"
        async with connect(url, compression=None, additional_headers=headers) as link:
            phone = Twilio(link)
            await script(phone)
            return phone

    return asyncio.run(go())


def voice(seconds: float) -> list[bytes]:
    """A hum in pieces of 20 ms."""
    wav_S = 0.3 * np.sin(2 * np.pi * 300 * np.arange(int(24_000 * seconds)) / 24_000)
    sound = G711("ulaw").write(wav_S)
    return [sound[i : i + 160] for i in range(0, len(sound), 160)]


def test_a_caller_is_answered_and_silence_is_not_sent(server):
    async def script(phone):
        await phone.begin()
        await phone.send("dtmf", dtmf={"track": "inbound_track", "digit": "1"})
        speaking = asyncio.create_task(phone.speak([*voice(0.6), *[QUIET] * 60]))
        await phone.listen(lambda heard: len(heard) >= 7)
        await speaking
        await phone.drain()

    phone = run(server, script)
    media = [event for event in phone.heard if event["event"] == "media"]
    assert {event["streamSid"] for event in phone.heard} == {"MZ1"}
    assert {len(base64.b64decode(event["media"]["payload"])) for event in media} == {640}
    wav_S = G711("ulaw").read(phone.sound)
    spectrum = np.abs(np.fft.rfft(wav_S * np.hanning(wav_S.size)))
    assert np.argmax(spectrum) * 24_000 / wav_S.size == pytest.approx(300, abs=10)
    assert 7 <= len(media) <= 14  # 0.6 s, and a little silence


def test_what_is_not_played_yet_is_cleared_when_the_agent_yields(server):
    """The echo falls silent while the caller speaks on: its sound is what the caller says, delayed and muted here."""
    said = server.backend.step

    def yielding(wav_BS, exec_B, rewrite=None):
        frames = said(wav_BS, exec_B, rewrite)
        frames.wav_BS[:] *= len(server.backend.steps) - began < 10
        return frames

    began = len(server.backend.steps)
    server.backend.step = yielding
    try:

        async def script(phone):
            await phone.begin()
            speaking = asyncio.create_task(phone.speak(voice(2.4)))
            await phone.listen(lambda heard: any(event["event"] == "clear" for event in heard))
            await speaking

        phone = run(server, script)
    finally:
        server.backend.step = said
    assert phone.heard[-1] == {"event": "clear", "streamSid": "MZ1"}


def test_stop_ends_the_call(server):
    async def script(phone):
        await phone.begin()
        await phone.speak(voice(0.2))
        await phone.send("stop", stop={"accountSid": "AC1", "callSid": "CA1"})
        with pytest.raises(ConnectionClosed) as closed:
            await phone.listen(lambda heard: False)
        assert closed.value.rcvd.code == 1000

    run(server, script)
    until(lambda: server.service.engine.used == 0)


@pytest.mark.parametrize(
    "message", ["", "{}", '{"event": "media"}', '{"event": "start", "start": {}}', "[" * 9999]
)
def test_what_is_no_stream_of_twilio_is_closed(server, message):
    async def script(phone):
        await phone.link.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await phone.listen(lambda heard: False)
        assert closed.value.rcvd.code == 1008

    run(server, script)


def test_another_encoding_is_refused(server):
    async def script(phone):
        await phone.begin("audio/l16")
        with pytest.raises(ConnectionClosed):
            await phone.listen(lambda heard: False)

    run(server, script)


def test_only_signed_calls_come_in_where_a_token_is_known():
    server = Server(Settings(sessions=1, twilio_token=TOKEN, keys=("secret",)))

    async def script(phone):
        await phone.begin()
        await phone.speak(voice(0.3))
        await phone.listen(lambda heard: heard)

    def sign(token: str, path: str) -> dict[str, str]:
        url = f"wss://{server.address}{path}"
        signature = hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()
        return {"X-Twilio-Signature": base64.b64encode(signature).decode()}

    try:
        assert run(server, script, sign(TOKEN, "/v1/twilio")).heard
        for headers in ({}, sign("54321", "/v1/twilio"), sign(TOKEN, "/v1/other")):
            with pytest.raises(InvalidStatus) as refused:
                run(server, script, headers)
            assert refused.value.response.status_code == 403
    finally:
        server.close()
