"""The OpenAI Realtime protocol with a model that writes down the user's words, and functions that answer them."""

import base64
import json

import pytest

from duologue.serve.settings import Settings
from duologue.weights import load
from tests.engine.virtual import EchoBackend
from tests.serve.realtime_client import ASKED, SILENCE, TRANSCRIPTION, run, speech, talk, until
from tests.serve.server import Server

pytestmark = pytest.mark.usefixtures("nobody_left")


WORDS = load("tiny").tokenizer.encode("two and two")


@pytest.fixture(scope="module")
def listening():
    """A server whose model writes down "two and two", whoever speaks."""
    server = Server(Settings(sessions=1), EchoBackend(1, heard=WORDS))
    yield server
    server.close()


def test_the_users_words_are_events_of_the_users_item(listening):
    async def script(client):
        await client.send("session.update", session=ASKED)
        await client.send("input_audio_buffer.append", audio=speech(6))
        await client.send("input_audio_buffer.append", audio=SILENCE)
        done = await client.until(f"{TRANSCRIPTION}.completed")
        await client.send("conversation.item.retrieve", item_id=done["item_id"])
        await client.until("conversation.item.retrieved")

    client = run(listening, script)
    found = {kind: [e for e in client.events if e["type"] == kind] for kind in client.types}
    deltas, (done,) = found[f"{TRANSCRIPTION}.delta"], found[f"{TRANSCRIPTION}.completed"]
    assert "".join(event["delta"] for event in deltas) == done["transcript"] == "two and two"
    (committed,), (started,) = (
        found["input_audio_buffer.committed"],
        found["input_audio_buffer.speech_started"],
    )
    ids = {event["item_id"] for event in (*deltas, done, committed, started)}
    assert len(ids) == 1
    assert {event["content_index"] for event in (*deltas, done)} == {0}
    assert done["usage"]["type"] == "duration" and done["usage"]["seconds"] == pytest.approx(1.28)
    types = client.types
    assert types.index("conversation.item.done") < types.index(f"{TRANSCRIPTION}.completed")
    assert client.events[-1]["item"]["content"] == [{"type": "input_audio", "transcript": "two and two"}]


def test_words_that_come_after_a_client_commits_are_of_that_item(listening):
    async def script(client):
        await client.send("session.update", session=ASKED)
        await client.until("session.updated")
        await client.send("input_audio_buffer.append", audio=speech(4))
        for _ in WORDS[:-3]:
            await client.until(f"{TRANSCRIPTION}.delta")
        await client.send("input_audio_buffer.commit")
        await client.until(f"{TRANSCRIPTION}.completed")

    events = run(listening, script).events
    committed = next(e for e in events if e["type"] == "input_audio_buffer.committed")
    assert (events[-1]["item_id"], events[-1]["transcript"]) == (committed["item_id"], "two and two")


@pytest.mark.parametrize("which", ["not asked for", "not written down"])
def test_no_words_of_the_user(server, listening, which):
    async def script(client):
        if which == "not written down":
            await client.send("session.update", session=ASKED)
        for _ in range(2):
            await client.send("input_audio_buffer.append", audio=speech(6))
            await client.send("input_audio_buffer.append", audio=SILENCE)
            await client.until("input_audio_buffer.committed")

    client = run(server if which == "not written down" else listening, script)
    assert not [kind for kind in client.types if kind.startswith(TRANSCRIPTION)]


def test_the_openai_client_talks(listening):
    async def script(link):
        text, sound, types = "", b"", []
        await link.session.update(session={**ASKED, "instructions": "hello"})
        await link.input_audio_buffer.append(audio=speech(6))
        await link.input_audio_buffer.append(audio=SILENCE)
        while not {"response.done", f"{TRANSCRIPTION}.completed"} <= set(types):
            event = await link.recv()
            types.append(event.type)
            if event.type == "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.delta":
                text += event.delta
            elif event.type == "response.done":
                assert event.response.usage.total_tokens > 0
            elif event.type == f"{TRANSCRIPTION}.completed":
                assert event.transcript == "two and two"
                assert event.usage.type == "duration"
        return sound, types

    sound, types = talk(listening, script)
    assert types[:2] == ["session.created", "session.updated"]
    assert len(sound) >= 6 * 3840


TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"question": {"type": "string"}},
        "required": ["question"],
    },
}


UNUSABLE = TOOL | {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}


QUESTION, FACT = "what is the tallest mountain", "the tallest mountain is Everest"


@pytest.fixture(scope="module")
def asking():
    """A server whose model writes down a question, whoever speaks."""
    server = Server(Settings(sessions=1), EchoBackend(1, heard=load("tiny").tokenizer.encode(QUESTION)))
    yield server
    server.close()


def test_a_function_gets_the_question_and_its_output_is_spoken(asking):
    async def script(client):
        await client.send("session.update", session={"type": "realtime", "tools": [UNUSABLE, TOOL]})
        assert (await client.until("session.updated"))["session"]["tools"] == [TOOL]
        await client.send("input_audio_buffer.append", audio=speech(4))
        done = await client.until("response.function_call_arguments.done")
        assert json.loads(done["arguments"]) == {"question": QUESTION}
        called = (await client.until("response.done"))["response"]["output"][0]
        assert (called["type"], called["name"], called["call_id"]) == (
            "function_call",
            "look_up",
            done["call_id"],
        )
        output = {
            "type": "function_call_output",
            "call_id": done["call_id"],
            "output": json.dumps({"is": FACT}),
        }
        await client.send("conversation.item.create", item=output)
        said, item = "", ""
        while FACT not in said:
            delta = await client.until("response.output_audio_transcript.delta")
            said, item = said + delta["delta"], delta["item_id"]
        await client.until("response.done")
        await client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=400)
        await client.until("conversation.item.truncated")
        await client.send("conversation.item.retrieve", item_id=item)
        kept = (await client.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        assert len(kept) < len(FACT)  # only what was heard
        await client.send("conversation.item.create", item=output)
        assert (await client.until("error"))["error"]["code"] == "invalid_value"

    run(asking, script)


def test_the_openai_clients_function_is_called(asking):
    async def script(link):
        await link.session.update(session={"type": "realtime", "tools": [TOOL]})
        await link.input_audio_buffer.append(audio=speech(4))
        called = await until(link, "response.function_call_arguments.done")
        assert json.loads(called.arguments) == {"question": QUESTION}
        answer = {"type": "function_call_output", "call_id": called.call_id, "output": FACT}
        await link.conversation.item.create(item=answer)
        said = ""
        while FACT not in said:
            said += (await until(link, "response.output_audio_transcript.delta")).delta

    talk(asking, script)
