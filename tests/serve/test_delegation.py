"""Questions that are answered by another while the agent speaks on."""

import asyncio
import base64
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from websockets.asyncio.client import connect

from duologue.engine.session import AgentFrame
from duologue.errors import InputError
from duologue.serve.delegates import ChatDelegate, CommandDelegate, DelegateError, delegate_of
from duologue.serve.delegation import FILLER, SORRY, Help
from duologue.serve.openai_session import DEFAULT
from duologue.serve.questions import Asks, Questions, asks
from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend, noise
from tests.serve.chat_server import ChatServer
from tests.serve.server import PATIENCE, Heard, Server, dial, pcm, read, until

QUESTION = "what is the tallest mountain"
FACT = "the tallest mountain is Everest"
SILENCE = bytes(3840)
TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
}


@pytest.fixture
def chat():
    server = ChatServer(lambda question: FACT)
    yield server
    server.close()


def conversation(settings: Settings, enough, interrupt: str = "") -> Heard:
    """What a client hears whose question is written down; it speaks again once `interrupt` is said."""
    backend = EchoBackend(1, heard=load("tiny").tokenizer.encode(QUESTION))
    server = Server(settings, backend)

    async def go() -> Heard:
        heard, done = Heard(), False
        async with dial(server, "events=1&format=pcm16") as link:
            await read(link, heard, lambda heard: 0 in heard.kinds)
            for frame_S in noise(4):
                await link.send(b"\1" + pcm(frame_S))
            while not enough(heard) and len(heard.sound) < 400:
                wanted = len(heard.sound) + 1
                await read(link, heard, lambda heard, wanted=wanted: len(heard.sound) >= wanted)
                speaks = interrupt and interrupt in heard.text and not done
                await link.send(b"\1" + (pcm(noise(12)) if speaks else SILENCE))
                done = done or bool(speaks)
        return heard

    try:
        return asyncio.run(go())
    finally:
        server.close()


def test_a_question_is_answered_by_a_chat_server_after_a_filler(chat):
    settings = Settings(sessions=1, delegate=chat.url)
    heard = conversation(settings, lambda heard: FACT in heard.text)
    assert heard.text.strip().startswith(FILLER) and FACT in heard.text
    messages = chat.asked[0]["messages"]
    assert chat.asked[0]["model"] == "small" and messages[-1] == {"role": "user", "content": QUESTION}


def test_numbers_of_an_answer_are_read_out_with_what_they_count():
    """Although they come word by word."""
    rich = ChatServer(lambda question: "it is $2.5 million a day")
    settings = Settings(sessions=1, delegate=rich.url)
    try:
        heard = conversation(settings, lambda heard: "day" in heard.text)
    finally:
        rich.close()
    assert "it is two point five million dollars a day" in heard.text


def test_a_command_answers_too():
    script = "import json, sys; print(json.load(sys.stdin)[-1]['content'].split()[-1], 'is Everest')"
    settings = Settings(sessions=1, delegate_command=f'{sys.executable} -c "{script}"')
    assert "mountain is Everest" in conversation(settings, lambda heard: "Everest" in heard.text).text


def test_the_users_voice_stops_an_answer(chat):
    settings = Settings(sessions=1, delegate=chat.url)
    heard = conversation(settings, lambda heard: len(heard.sound) > 90, interrupt="tallest")
    assert "tallest" in heard.text and FACT not in heard.text


def test_a_delegate_that_fails_is_owned_up_to():
    broken = ChatServer(lambda question: FACT, status=500)
    settings = Settings(sessions=1, delegate=broken.url)
    try:
        assert SORRY in conversation(settings, lambda heard: SORRY in heard.text).text
    finally:
        broken.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_client_with_functions_answers_alone(chat, kept):
    """Its functions come with the session's key (`kept`), or in an update."""
    backend = EchoBackend(1, heard=load("tiny").tokenizer.encode(QUESTION))
    server = Server(Settings(sessions=1, delegate=chat.url), backend)
    key, _ = server.service.access.secrets.issue(60, DEFAULT.updated({"tools": [TOOL]}))
    headers = {"Authorization": f"Bearer {key}"} if kept else {}

    async def go() -> tuple[list[dict], str]:
        called, text, done = [], "", False
        async with connect(f"ws://{server.address}/v1/realtime", additional_headers=headers) as link:
            if not kept:
                update = {"type": "session.update", "session": {"type": "realtime", "tools": [TOOL]}}
                await link.send(json.dumps(update))
            while not done:
                event = json.loads(await asyncio.wait_for(link.recv(), PATIENCE))
                if event["type"] == ("session.created" if kept else "session.updated"):
                    assert event["session"]["tools"] == [TOOL]
                    audio = base64.b64encode(pcm(noise(4))).decode()
                    await link.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
                called += [event] * (event["type"] == "response.function_call_arguments.done")
                text += event.get("delta", "") if event["type"].endswith("transcript.delta") else ""
                done = FILLER in text and event["type"] == "response.done"
        return called, text

    try:
        (call,), text = asyncio.run(go())
    finally:
        server.close()
    assert json.loads(call["arguments"]) == {"question": QUESTION}
    assert not chat.asked and text.count(FILLER) == 1


def test_what_asks_for_something_and_what_does_not():
    assert (
        asks("what is the tallest mountain")
        and asks("please tell me a joke")
        and asks("it is Everest, right?")
    )
    assert not asks("what") and not asks("thank you very much") and not asks("I like it here")


def test_delegates_that_cannot_be_are_refused():
    assert delegate_of(Settings()) is None
    with pytest.raises(InputError, match="do not go together"):
        delegate_of(Settings(delegate="http://a/v1", delegate_command="b"))
    with pytest.raises(InputError, match="no address"):
        ChatDelegate("localhost:80")
    with pytest.raises(InputError, match="names no command"):
        CommandDelegate(" ")

    async def ask(delegate):
        return [piece async for piece in delegate.answer([("user", "x")])]

    for delegate in (
        CommandDelegate("/no/such/command"),
        CommandDelegate("false"),
        ChatDelegate("http://127.0.0.1:1/v1"),
    ):
        with pytest.raises(DelegateError):
            asyncio.run(ask(delegate))


def frames(*parts: tuple[str, str, int]) -> list[AgentFrame]:
    """(what the agent says, what the user says, the agent's text token) a frame, then a pause."""
    wav_S = np.zeros(1920, np.float32)
    return [AgentFrame(i, wav_S, said, token, heard) for i, (said, heard, token) in enumerate(parts)]


UNSURE = [("", " who", 3), ("", " wrote", 3), ("", " Emma", 3), *[("", "", 3)] * 9, (" I", "", 7), (" do", "", 8),
          (" not", "", 9), (" know", "", 10), (" that", "", 11), *[("", "", 3)] * 9]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "where"),
    [(Asks(), [10]), (Asks(phrases=("i do not know",)), [15]), (Asks(token=9), [14]), (Asks(token=12), []),
     (Asks(phrases=("No idea",)), []), (Asks(phrases=("No idea", "not know that")), [16])],
)  # fmt: skip
def test_a_model_that_asks_by_itself_is_waited_for(by: Asks, where: list[int]):
    """The others' questions are all delegated, once the user has ended."""
    questions = Questions(by)
    found = [questions.push(said) for said in frames(*UNSURE)]
    assert [i for i, each in enumerate(found) if each is not None] == where
    assert all(found[i] == "who wrote Emma" for i in where)


def test_what_it_is_told_to_say_is_no_request_of_the_models():
    questions = Questions(Asks(phrases=("I do not know",)))
    said = [replace(each, dictated=each.token) for each in frames(*UNSURE)]
    assert [questions.push(each) for each in said] == [None] * len(said)


def test_a_model_may_ask_before_the_user_is_known_to_have_ended():
    questions = Questions(Asks(token=9))
    assert questions.push(frames(("", " who wrote Emma", 3))[0]) is None
    assert questions.push(frames(("", "", 9))[0]) == "who wrote Emma"
    assert list(questions.turns) == [("user", "who wrote Emma")]


class Reader(EchoBackend):
    """Asks for a reference after the user's question, and keeps what it is given."""

    ASKS = 5

    def __init__(self, asks_at: int, heard: list[int]):
        super().__init__(1, heard=heard)
        self.asks_at, self.given = asks_at, []

    def step(self, wav_BS, exec_B, rewrite=None):
        frames = super().step(wav_BS, exec_B, rewrite)
        if self.since_B[0] == self.asks_at:
            frames.text_B[0] = self.ASKS
        return frames

    def refer(self, slot: int, vectors_TD: np.ndarray) -> None:
        self.given.append((slot, vectors_TD))


class Encoder:
    """Of references: the letters of a text."""

    thread = None

    def vectors(self, text: str) -> torch.Tensor:
        return torch.tensor([[float(ord(letter))] for letter in text])


def test_a_model_that_reads_references_is_given_the_answer_as_one(chat):
    """It asks with its token; it is not made to say anything; and the page may write to it."""
    backend = Reader(30, load("tiny").tokenizer.encode(QUESTION))
    asks, encoder = Asks(token=Reader.ASKS), Encoder()
    server = Server(Settings(sessions=1), backend, help=Help(ChatDelegate(chat.url), asks, encoder))

    def texts() -> list[str]:
        return ["".join(map(chr, vectors_TD[:, 0].astype(int))) for _, vectors_TD in backend.given]

    async def go() -> Heard:
        heard = Heard()
        async with dial(server, "events=1&format=pcm16") as link:
            await read(link, heard, lambda heard: 0 in heard.kinds)
            await link.send(b"\1" + pcm(noise(4)))
            while not backend.given and len(heard.sound) < 400:
                wanted = len(heard.sound) + 1
                await read(link, heard, lambda heard, wanted=wanted: len(heard.sound) >= wanted)
                await link.send(b"\1" + SILENCE)
            await link.send(b"\2" + b"High water is at noon.")
            while len(backend.given) < 2 and len(heard.sound) < 800:
                wanted = len(heard.sound) + 1
                await read(link, heard, lambda heard, wanted=wanted: len(heard.sound) >= wanted)
                await link.send(b"\1" + SILENCE)
        return heard

    try:
        heard = asyncio.run(go())
    finally:
        server.close()
    assert texts() == [f"{FACT} ", "High water is at noon."]
    assert FILLER not in heard.text
    assert chat.asked[0]["messages"][-1] == {"role": "user", "content": QUESTION}


def test_the_words_of_the_user_may_come_from_a_recogniser_beside_it(chat, ears):
    """Of a model that writes down none."""
    help = Help(ChatDelegate(chat.url), Asks(token=Reader.ASKS), Encoder(), ears)
    backend = Reader(60, [])
    backend.heard = None
    server = Server(Settings(sessions=1), backend, help=help)

    async def go() -> None:
        heard = Heard()
        async with dial(server, "events=1&format=pcm16") as link:
            await read(link, heard, lambda heard: 0 in heard.kinds)
            while not backend.given and len(heard.sound) < 300:
                await link.send(b"\1" + pcm(noise(1, len(heard.sound))))
                wanted = len(heard.sound) + 1
                await read(link, heard, lambda heard, wanted=wanted: len(heard.sound) >= wanted)

    try:
        asyncio.run(go())
        until(lambda: ears.worker.used == 0)  # its slot is free again
    finally:
        server.close()
    assert backend.given
    assert chat.asked[0]["messages"][-1]["role"] == "user" and chat.asked[0]["messages"][-1]["content"]
