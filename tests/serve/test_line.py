"""A client whose connection is lost comes back, and the conversation goes on at the very frame."""

import asyncio
import base64
import contextlib
import itertools
import json
import random

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from duologue.cli.client import Answer, call
from duologue.cli.screen import Screen
from duologue.engine.backend import TorchBackend
from duologue.engine.session import Session
from duologue.lm.sampling import Sampling
from duologue.serve import line
from duologue.serve.link import Pcm16
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import Caller, EchoBackend, Room, noise, seeded
from tests.serve.server import PATIENCE, Server, until

pytestmark = pytest.mark.usefixtures("nobody_left")

CUTS = 50
SEED = 7


@pytest.fixture(scope="module")
def server():
    tiny = load("tiny")
    server = Server(Settings(sessions=1, queue=0), TorchBackend(tiny, 1), sampling=tiny.sampling)
    yield server
    server.close()


class Client:
    """Says frames, three ahead of their answers, over connections that may be cut at any message."""

    def __init__(self, server, user_TS: np.ndarray):
        self._server = server
        self._messages = [b"\1" + Pcm16.write(frame_S) for frame_S in user_TS]
        self.sound: list[bytes] = []
        self.text, self.token = "", ""
        self.sent = self.received = self.cuts = 0
        self._abandoned: list = []

    async def talk(self, chance: random.Random | None = None) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.sound) < len(self._messages):
                await self._connection(chance)
        for link in self._abandoned:
            link.transport.abort()

    async def _connection(self, chance: random.Random | None) -> None:
        query = "events=1&format=pcm16&"
        fresh = f"text_seed={SEED}&resume=1"
        query += f"resume={self.token}&received={self.received}" if self.token else fresh
        url = f"ws://{self._server.address}/api/chat?{query}"
        link = await connect(url, compression=None, max_size=None)
        left = chance.randint(2, 5) if chance and self.cuts < CUTS else 1 << 30
        if self.token:
            event = json.loads((await link.recv())[1:])
            assert event["type"] == "resumed"
            self.sent = event["received"]
        while len(self.sound) < len(self._messages):
            left -= 1
            if left == 0:
                self.cuts += 1
                if chance.random() < 0.5:
                    link.transport.abort()
                else:  # the server does not hear of it
                    self._abandoned.append(link)
                return
            self._take(await link.recv())
            while self.token and self.sent < min(len(self.sound) + 3, len(self._messages)):
                await link.send(self._messages[self.sent])
                self.sent += 1
        await link.close()

    def _take(self, message: bytes) -> None:
        self.received += 1
        if message[0] == 1:
            self.sound.append(message[1:])
        elif message[0] == 2:
            self.text += message[1:].decode()
        elif message[0] == 4 and (event := json.loads(message[1:]))["type"] == "start":
            self.token = event["resume"]


def test_no_token_differs_however_often_the_line_is_cut(server):
    tiny, user_TS = load("tiny"), noise(90, 3)
    heard_TS = (user_TS.clip(-1, 1) * 32767).round().astype(np.float32) / 32768
    alone = Session(tiny, seeded(tiny, SEED))
    unbroken = [alone.push(frame_S) for frame_S in heard_TS]
    client = Client(server, user_TS)
    asyncio.run(client.talk(random.Random(0)))
    assert client.cuts == CUTS
    assert client.sound == [Pcm16.write(said.wav_S) for said in unbroken]
    text = "".join(said.text for said in unbroken[:-1])  # that of the last frame comes after its sound
    assert client.text.removesuffix(unbroken[-1].text) == text


def test_one_who_does_not_come_back_frees_the_slot(server, monkeypatch):
    monkeypatch.setattr(line, "WAIT_SECONDS", 0.3)

    async def go():
        async with connect(f"ws://{server.address}/api/chat?events=1&resume=1", compression=None) as link:
            token = json.loads((await link.recv())[1:])["resume"]
            link.transport.abort()
        await asyncio.sleep(0.1)
        assert server.service.engine.used == 1
        await asyncio.to_thread(until, lambda: server.service.engine.used == 0)
        async with connect(f"ws://{server.address}/api/chat?resume={token}&received=1") as late:
            assert b"is over" in await late.recv()

    asyncio.run(go())


def test_whoever_says_goodbye_is_not_waited_for(server):
    async def go():
        async with connect(f"ws://{server.address}/api/chat?events=1&resume=1", compression=None) as link:
            await link.recv()

    asyncio.run(go())
    until(lambda: server.service.engine.used == 0, 5.0)


class Proxy:
    """Passes bytes on between a client and the server until it is cut, by closing or by falling silent."""

    def __init__(self, server):
        self._host, port = server.address.split(":")
        self._port = int(port)
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self):
        self._listening = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.cut()
        self._listening.close()

    async def _pass(self, reader, writer) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader, writer) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


def test_a_call_goes_on_after_its_line_was_cut(server):
    async def go():
        user_TS = noise(40, 4)
        count = 0

        async def frames():
            nonlocal count
            for frame_S in user_TS:
                await asyncio.sleep(0.06)
                count += 1
                if count in (10, 21, 22):
                    proxy.cut()
                yield frame_S

        async with Proxy(server) as proxy:
            with Screen(hint="") as screen:
                answer = Answer(screen)
                async with asyncio.timeout(PATIENCE):
                    await call(f"http://{proxy.address}/?format=opus", frames(), "", answer)
        return count, answer

    count, answer = asyncio.run(go())
    assert count == 40
    assert answer.wav_S.size >= 25 * 1920  # those that were sent last may be unanswered


def test_a_call_whose_conversation_the_server_has_lost_begins_a_new_one(server, monkeypatch):
    monkeypatch.setattr(line, "WAIT_SECONDS", 0.0)
    said = []  # "start", "over", and "sound" for each frame of the agent

    class Told(Answer):
        def event(self, event):
            said.extend([event["type"]] * (event["type"] in ("start", "over")))

        def sound(self, wav_S):
            said.append("sound")

    async def go():
        async def frames():
            for count, frame_S in enumerate(itertools.cycle(noise(40, 4))):
                await asyncio.sleep(0.06)
                if count == 15:
                    proxy.cut()
                if said[-5:] == ["sound"] * 5 and said.count("start") == 2:
                    return
                yield frame_S

        async with Proxy(server) as proxy, asyncio.timeout(PATIENCE):
            with Screen(hint="") as screen:
                await call(f"http://{proxy.address}", frames(), "", Told(screen), starts_over=True)

    asyncio.run(go())
    assert [kind for kind, _ in itertools.groupby(said)] == ["start", "sound", "over", "start", "sound"]


def test_the_openai_client_comes_back_to_a_live_session(server, monkeypatch):
    openai = pytest.importorskip("openai", reason="the openai package is not installed")
    appends = [base64.b64encode(Pcm16.write(frame_S)).decode() for frame_S in noise(24, 5)]

    async def talk(cut_at: set[int]):
        sound: list[bytes] = []
        state = {"id": "", "received": 0, "sent": 0, "cuts": 0}

        def back(_):
            return {"extra_query": {"resume": state["id"], "received": str(state["received"])}}

        async with openai.AsyncOpenAI(
            api_key="none",
            base_url=f"http://{server.address}/v1",
            websocket_base_url=f"ws://{server.address}/v1",
        ) as client:
            connection = client.live.connect(
                extra_query={"resume": "1"}, on_reconnecting=back, initial_delay=0.05, max_retries=50
            )
            async with connection as link:
                await link.session.start(session={"model": "any"})
                async for event in link:
                    arrived = getattr(event, "received", None)
                    if arrived is None:
                        state["received"] += 1
                    else:
                        state["sent"] = arrived - 1  # the first message was session.start
                    if event.type == "session.started":
                        state["id"] = event.session.id
                    elif event.type == "session.output_audio.delta":
                        sound.append(base64.b64decode(event.delta))
                        if len(sound) in cut_at:
                            cut_at.discard(len(sound))
                            state["cuts"] += 1
                            link._connection.transport.abort()
                            continue
                    if len(sound) == len(appends):
                        break
                    while state["sent"] < min(len(sound) + 3, len(appends)):
                        await link.session.input_audio.append(audio=appends[state["sent"]])
                        state["sent"] += 1
                await link.close()
        return sound, state["cuts"]

    async def both():
        async with asyncio.timeout(PATIENCE):
            return await talk(set()), await talk({3, 4, 11, 20})

    monkeypatch.setattr("secrets.randbits", lambda bits: SEED)
    (unbroken, none), (broken, cuts) = asyncio.run(both())
    assert (none, cuts) == (0, 4) and broken == unbroken


def test_a_realtime_session_tells_what_had_arrived(server):
    async def go():
        url = f"ws://{server.address}/v1/realtime"
        async with connect(f"{url}?resume=1", compression=None) as link:
            created = json.loads(await link.recv())
            await link.send(json.dumps({"type": "input_audio_buffer.clear"}))
            assert json.loads(await link.recv())["type"] == "input_audio_buffer.cleared"
            link.transport.abort()
        again = f"{url}?resume={created['session']['id']}"
        async with connect(f"{again}&received=1", compression=None) as link:
            told = [json.loads(await link.recv()) for _ in range(2)]
            assert (told[0]["type"], told[0]["received"]) == ("session.updated", 1)
            assert (
                told[1]["type"] == "input_audio_buffer.cleared"
            )  # which had been sent, and not counted as received
        with pytest.raises(ConnectionClosed) as over:
            async with connect(f"{again}&received=99", compression=None) as link:
                await link.recv()
        assert over.value.rcvd.code == 1008

    asyncio.run(go())


class Connection:
    """An accepted connection whose messages are put in by hand; sending takes a while."""

    def __init__(self):
        self.incoming: asyncio.Queue = asyncio.Queue()
        self.sent: list[bytes] = []

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self.incoming.put_nowait({"type": "websocket.receive", "bytes": message})

    async def receive(self):
        return await self.incoming.get()

    async def send_bytes(self, message: bytes) -> None:
        await asyncio.sleep(0.05)
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None: ...


def test_what_arrives_late_on_the_old_connection_is_not_taken_twice():
    """As when a link comes up again: the client has connected anew, and what it had sent before still arrives."""

    async def go() -> list[bytes]:
        kept, taken, old, new = line.Line(True), [], Connection(), Connection()
        kept.announce = lambda received: b"%d" % received

        async def converse() -> None:
            while True:
                taken.append(await kept.receive())

        conversation = asyncio.create_task(converse())
        first = asyncio.create_task(kept.serve(old, conversation))
        old.say(b"a")
        await asyncio.sleep(0.05)
        old.say(b"b", b"c")
        second = asyncio.create_task(kept.come_back(new, 0))
        await asyncio.sleep(0.3)
        new.say(*[b"a", b"b", b"c", b"d"][int(new.sent[0]) :])
        await asyncio.sleep(0.1)
        for task in (first, second, conversation):
            task.cancel()
        await asyncio.gather(first, second, conversation, return_exceptions=True)
        return taken

    assert asyncio.run(go()) == [b"a", b"b", b"c", b"d"]


def test_a_patient_conversation_on_a_slow_machine_loses_no_frame():
    here = Room(EchoBackend(1, takes=0.1), load("tiny").tokenizer)
    session = here.batcher.open(Sampling(), lambda: None, patient=True)
    caller = Caller(session, noise(100), here.clock.time)
    here.callers.append(caller)
    here.run(20.0)
    assert np.array_equal([said.wav_S for said in caller.said], caller.user_TS)
    assert session.counts().dropped == 0
