"""Function calls of the Realtime protocol."""

import json

import pytest

from tests.serve.realtime_client import FACT, QUESTION, TOOL, run, speech

pytestmark = pytest.mark.usefixtures("nobody_left")

UNUSABLE = TOOL | {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}


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
