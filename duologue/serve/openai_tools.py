"""Function calls of the Realtime protocol: the user's question goes to a function of the client, and its result is
spoken.

The model does not generate arguments. Only functions with one string parameter can be called; it is the question.
"""

import json
from typing import Any

from duologue.serve.openai_events import Event, Reply, new_id

MAX_TOOLS = 64
MAX_NAME = 64  # characters


def usable(wanted: Any) -> tuple[Event, ...]:
    """The tools of a session that can be called: functions with one string parameter. Raises TypeError or KeyError for
    a malformed list of tools."""
    return tuple(tool for tool in wanted[:MAX_TOOLS] if _parameter(tool) is not None)


def _parameter(tool: Event) -> str | None:
    schema = tool.get("parameters") or {}
    named = [name for name, kind in (schema.get("properties") or {}).items() if kind.get("type") == "string"]
    if tool["type"] != "function" or len(str(tool["name"])) > MAX_NAME or len(named) != 1:
        return None
    return named[0] if set(schema.get("required") or named) == set(named) else None


class FunctionCall:
    """One function call with the user's question, sent as a separate response."""

    def __init__(self, tool: Event, question: str):
        self.call_id = new_id("call")
        self._arguments = json.dumps({_parameter(tool): question})
        self._name, self._response = tool["name"], Reply()

    def _item(self, done: bool) -> Event:
        return {
            "id": self._response.item_id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "completed" if done else "in_progress",
            "name": self._name,
            "call_id": self.call_id,
            "arguments": self._arguments if done else "",
        }

    def events(self) -> list[Event]:
        """All events of the response, in order."""
        response, item = self._response, self._item(True)
        place = {"response_id": response.id, "output_index": 0}
        part = {**place, "item_id": response.item_id, "call_id": self.call_id}
        kind = "response.function_call_arguments"
        done = response.object("completed") | {"output": [item]}
        return [
            *response.created(),
            {"type": "response.output_item.added", **place, "item": self._item(False)},
            {"type": "conversation.item.added", "previous_item_id": None, "item": self._item(False)},
            {"type": f"{kind}.delta", **part, "delta": self._arguments},
            {"type": f"{kind}.done", **part, "name": self._name, "arguments": self._arguments},
            {"type": "response.output_item.done", **place, "item": item},
            {"type": "conversation.item.done", "previous_item_id": None, "item": item},
            {"type": "response.done", "response": done},
        ]


def spoken(output: str) -> str:
    """The text to speak for a function's output: its values, if it is JSON."""
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return output
    if isinstance(value, dict):
        value = list(value.values())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
