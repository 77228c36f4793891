"""The Realtime protocol by its own client, the openai package."""

import asyncio
import base64
import json

import pytest

from tests.engine.virtual import noise
from tests.serve.realtime_client import ASKED, FACT, QUESTION, SILENCE, TOOL, TRANSCRIPTION, speech
from tests.serve.server import PATIENCE, pcm

pytestmark = pytest.mark.usefixtures("nobody_left")

openai = pytest.importorskip("openai", reason="the openai package is not installed")


def talk(server, script, **options):
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
    while (event := await link.recv()).type != type:
        pass
    return event


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


def test_the_openai_client_cancels_what_is_being_said(server):
    async def script(link):
        await link.input_audio_buffer.append(audio=speech(40))
        for _ in range(3):
            await until(link, "response.output_audio.delta")
        await link.response.cancel()
        return (await until(link, "response.done")).response

    response = talk(server, script)
    assert (response.status, response.status_details.reason) == ("cancelled", "client_cancelled")


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


def test_the_openai_client_comes_back_to_a_realtime_session(server):
    """Of what was said no sample is lost or repeated, although the connection is cut in its middle."""
    sent = pcm(noise(20))
    state = {"id": "", "received": 0}

    def back(_):
        return {"extra_query": {"resume": state["id"], "received": str(state["received"])}}

    async def script(link):
        sound, resumed = b"", False
        async for event in link:
            again = getattr(event, "received", None) is not None
            state["received"] += not again
            resumed |= again
            if event.type == "session.created":
                state["id"] = event.session.id
                await link.input_audio_buffer.append(audio=base64.b64encode(sent).decode())
            elif event.type == "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
                if len(sound) == 5 * 3840:
                    link._connection.transport.abort()
            if len(sound) >= len(sent):
                await link.close()
        return sound, resumed

    options = {"extra_query": {"resume": "1"}, "on_reconnecting": back, "initial_delay": 0.05}
    sound, resumed = talk(server, script, **options)
    assert resumed and sound[: len(sent)] == sent
