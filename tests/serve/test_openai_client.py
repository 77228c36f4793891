"""The Realtime protocol by its own client, the openai package."""

import base64

import pytest

from tests.engine.virtual import noise
from tests.serve.realtime_client import speech, talk, until
from tests.serve.server import pcm

pytestmark = pytest.mark.usefixtures("nobody_left")

pytest.importorskip("openai", reason="the openai package is not installed")


def test_the_openai_client_cancels_what_is_being_said(server):
    async def script(link):
        await link.input_audio_buffer.append(audio=speech(40))
        for _ in range(3):
            await until(link, "response.output_audio.delta")
        await link.response.cancel()
        return (await until(link, "response.done")).response

    response = talk(server, script)
    assert (response.status, response.status_details.reason) == ("cancelled", "client_cancelled")


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
