import asyncio
import contextlib
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from duologue.audio.opus import OpusReader, OpusWriter
from duologue.errors import InputError
from duologue.lm.sampling import Sampling
from duologue.serve.kyutai import wishes
from duologue.serve.link import RateLimiter
from duologue.serve.pool import Ended
from duologue.serve.settings import AUDIO_BURST_SECONDS, CHAT_MESSAGE, Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend, noise
from tests.serve.server import PATIENCE, Heard, Server, dial, pcm, read, until

pytestmark = pytest.mark.usefixtures("nobody_left")


@pytest.fixture(scope="module")
def server():
    server = Server(Settings(sessions=2, queue=1))
    yield server
    server.close()


def started(heard: Heard) -> bool:
    return 0 in heard.kinds


def test_an_old_client_gets_the_handshake_then_sound(server):
    async def talk():
        async with dial(server) as link:
            heard = await read(link, Heard(), started)
            assert heard.kinds == [0]
            writer = OpusWriter()
            for frame_S in noise(6):
                await link.send(b"\x01" + writer.push(frame_S))
            return await read(link, heard, lambda heard: len(heard.sound) == 9)

    heard = asyncio.run(talk())
    reader = OpusReader()
    sound_S = np.concatenate([reader.push(data) for data in heard.sound])
    assert sound_S.size == 9 * 1920
    assert np.abs(sound_S).max() > 0.05  # the echo
    assert set(heard.kinds) == {0, 1}


def test_an_old_client_may_speak_before_the_handshake(server):
    async def talk():
        async with dial(server) as link:
            writer = OpusWriter()
            for frame_S in noise(3):
                await link.send(b"\x01" + writer.push(frame_S))
            return await read(link, Heard(), lambda heard: len(heard.sound) == 3)

    assert asyncio.run(talk()).kinds[0] == 0


def test_the_page_is_told_more(server):
    async def talk():
        async with dial(server, "events=1&format=pcm16&text_seed=7&audio_topk=3") as link:
            heard = await read(link, Heard(), started)
            await link.send(b"\x06abc")
            for frame_S in noise(4):
                await link.send(b"\x01" + pcm(frame_S))
            return await read(link, heard, lambda heard: any(e["type"] == "stats" for e in heard.events))

    heard = asyncio.run(talk())
    start = heard.event("start")
    assert (start["model"], start["seed"], start["sampling"]["audio_topk"]) == ("echo", 7, 3)
    assert heard.kinds[:2] == [4, 0]
    assert 6 in heard.kinds
    stats = heard.event("stats")
    assert set(stats) == {
        "type", "frames", "late", "missing", "dropped", "step_ms", "response_ms", "backlog_ms",
    }  # fmt: skip
    sound_S = np.frombuffer(b"".join(heard.sound), "<i2")
    sent_S = np.frombuffer(pcm(noise(4)), "<i2")
    got_S = sound_S[sound_S != 0]
    assert np.abs(got_S[: 3 * 1920].astype(int) - sent_S[sent_S != 0][: 3 * 1920]).max() <= 1


def test_the_users_words_come_to_those_alone_who_ask_to_be_told_more():
    """Moshi's own clients get what they always got."""
    heard = load("tiny").tokenizer.encode("two and two")
    server = Server(Settings(sessions=2), EchoBackend(2, heard=heard))

    async def talk(query: str) -> Heard:
        async with dial(server, query) as link:
            await link.send(b"\x01" + pcm(noise(1)))
            return await read(link, Heard(), lambda heard: len(heard.sound) == 20)

    async def both() -> list[Heard]:
        return await asyncio.gather(talk("format=pcm16"), talk("events=1&format=pcm16"))

    try:
        old, page = asyncio.run(both())
    finally:
        server.close()
    assert set(old.kinds) == {0, 1}
    told = [event["text"] for event in page.events if event["type"] == "heard"]
    assert "".join(told) == " two and two"
    assert len(told) == len(heard)
    assert all(page.kinds[i - 1] == 1 for i, kind in enumerate(page.kinds) if kind == 4 and i > 2)


def test_pause_and_start_over(server):
    async def talk():
        async with dial(server, "events=1&format=pcm16&text_seed=7") as link:
            heard = await read(link, Heard(), lambda heard: len(heard.sound) == 2)
            await link.send(b"\x03\x02")
            await asyncio.sleep(0.3)
            await link.send(b"\x03\x03")
            return await read(link, heard, lambda heard: len(heard.events) >= 2)

    heard = asyncio.run(talk())
    assert [event["seed"] for event in heard.events if event["type"] == "start"] == [7, 8]


def test_the_third_waits_the_fourth_is_refused_and_the_third_gets_in(server):
    async def talk():
        async with dial(server) as one, dial(server) as two:
            await read(one, Heard(), started)
            await read(two, Heard(), started)
            async with dial(server) as three:
                third = await read(three, Heard(), lambda heard: heard.events)
                assert third.kinds == [4]
                assert third.events[0]["position"] == 1
                began = time.monotonic()
                async with dial(server, "events=1") as four:
                    fourth = await read(four, Heard())
                assert fourth.code == 1013
                assert "try again" in fourth.error
                assert fourth.event("end")["retry_s"] >= 5
                refused_after = time.monotonic() - began
                await one.close()
                third = await read(three, third, started)
        return refused_after

    assert asyncio.run(talk()) < 10


def test_one_who_waits_and_leaves_leaves_no_trace(server):
    async def talk():
        async with dial(server) as one, dial(server) as two:
            await read(one, Heard(), started)
            await read(two, Heard(), started)
            async with dial(server) as three:
                await read(three, Heard(), lambda heard: heard.events)
        return

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("text_temperature=hot", "text_temperature is a number"),
        ("audio_topk=-1", "audio_topk is a number"),
        ("text_temperature=nan", "text_temperature is a number"),
        ("format=mp3", "format is opus or pcm16"),
    ],
)
def test_a_bad_query_is_refused_with_a_sentence(server, query, message):
    async def talk():
        async with dial(server, query) as link:
            return await read(link, Heard())

    heard = asyncio.run(talk())
    assert message in heard.error
    assert heard.code == 1008


def test_a_query_of_moshis_page_is_understood():
    from starlette.datastructures import QueryParams

    query = QueryParams(
        "text_temperature=0.7&text_topk=25&audio_temperature=0.8&audio_topk=250&pad_mult=0&text_seed=9123"
        "&audio_seed=17&repetition_penalty_context=64&repetition_penalty=1.0&worker_auth_id=abc"
    )
    wished = wishes(query, Sampling())
    assert wished.sampling == Sampling(0.8, 250, 0.7, 25, 0.0, 9123)
    assert wishes(QueryParams("text_seed=-5"), Sampling()).sampling.seed >= 0
    with pytest.raises(InputError, match="seed"):
        wishes(QueryParams("text_seed=1e400"), Sampling())


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x01" + b"garbage" * 20, 1008),
        (b"\x01" * (CHAT_MESSAGE + 1), 1009),
        (b"\x01" + b"OggS" * 100, 1008),
    ],
    ids=["garbage", "huge", "half an Ogg"],
)
def test_a_bad_message_ends_the_conversation_with_a_reason(server, message, code):
    async def talk():
        async with dial(server) as link:
            heard = await read(link, Heard(), started)
            await link.send(message)
            return await read(link, heard)

    heard = asyncio.run(talk())
    assert heard.code == code
    assert heard.error


def test_much_sound_in_a_message_and_sound_faster_than_speech_are_refused():
    writer, reader = OpusWriter(), OpusReader()
    stream = b"".join(writer.push(np.zeros(1920, np.float32)) for _ in range(15))
    with pytest.raises(InputError, match="more than 1 s"):
        reader.push(stream, most=1.0)

    async def take():
        limiter = RateLimiter()
        limiter.take(int(AUDIO_BURST_SECONDS * 24_000))
        with pytest.raises(Ended, match="rate it is spoken"):
            limiter.take(int(PATIENCE) * 24_000)

    asyncio.run(take())


def test_unknown_empty_and_text_messages_are_ignored(server):
    async def talk():
        async with dial(server, "format=pcm16") as link:
            heard = await read(link, Heard(), started)
            for message in (b"", b"\x09\x01", b"\xff" * 100, "hello", b"\x00", b"\x03\x02", b"\x06", b"\x01"):
                await link.send(message)
            return await read(link, heard, lambda heard: len(heard.sound) >= 3)

    assert asyncio.run(talk()).code is None


def test_random_messages_leave_nothing_behind(server):
    rng = np.random.default_rng(0)

    async def talk():
        for _ in range(20):
            async with dial(server, "events=1") as link:
                await read(link, Heard(), started)
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(100):
                        size = int(rng.integers(0, 200))
                        message = rng.bytes(size)
                        if rng.random() < 0.5:
                            message = bytes([int(rng.integers(0, 10))]) + message
                        await link.send(message)
                    await link.close()

    asyncio.run(talk())
    until(lambda: server.service.engine.used == 0)
    assert server.service.engine.ready
