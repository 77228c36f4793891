"""Objects of the OpenAI Realtime protocol."""

import json
import secrets
from collections import OrderedDict
from typing import Any

Event = dict[str, Any]
PCM: dict[str, Any] = {"type": "audio/pcm", "rate": 24_000}
ITEMS = 100  # of a conversation that clients can retrieve
SHELF = 1 << 20  # bytes of JSON of all of them together


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"


def merged(old: Event, new: Event) -> Event:
    """`old` with the values of `new`, object by object."""
    result = dict(old)
    for key, value in new.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def message_item(role: str, content: list[Event], status: str = "completed", id: str = "") -> Event:
    return {
        "id": id or new_id("item"),
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def written(value: Any) -> bytes:
    """A value as compact JSON in UTF-8, without unnecessary escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


class Shelf:
    """The items of a conversation that clients can retrieve: the newest, within a limit of bytes."""

    def __init__(self):
        self._items: OrderedDict[str, bytes] = (
            OrderedDict()
        )  # as JSON, because Python objects take 20 times the memory
        self._bytes = 0

    def keep(self, item: Event) -> None:
        text = written(item)
        self.drop(item["id"])
        self._items[item["id"]] = text
        self._bytes += len(text)
        while len(self._items) > ITEMS or self._bytes > SHELF:
            self._bytes -= len(self._items.popitem(last=False)[1])

    def drop(self, id: str) -> None:
        self._bytes -= len(self._items.pop(id, b""))

    def get(self, id: str) -> Event | None:
        text = self._items.get(id)
        return None if text is None else json.loads(text)


class Transcript:
    """The user's turn: its item, and the events of its transcript. `seconds` is its duration, `due` the frame at which
    its transcript is complete."""

    def __init__(self):
        self.item = message_item("user", [{"type": "input_audio", "transcript": None}])
        self.text = ""
        self.seconds = 0.0
        self.due = 0

    def delta(self, text: str) -> Event:
        """The event of the next words, which must not be empty."""
        text = text if self.text else text.lstrip() or text
        self.text += text
        return self._event("delta", delta=text)

    def completed(self) -> Event:
        self.item["content"][0]["transcript"] = text = self.text.strip()
        usage = {"type": "duration", "seconds": round(self.seconds, 2)}
        return self._event("completed", transcript=text, usage=usage)

    def _event(self, what: str, **more: Any) -> Event:
        name = f"conversation.item.input_audio_transcription.{what}"
        return {"type": name, "item_id": self.item["id"], "content_index": 0, **more}


class Reply:
    """One utterance of the agent as a response with one item: all its events."""

    def __init__(self, metadata: Event | None = None):
        self.id, self.item_id = new_id("resp"), new_id("item")
        self.metadata = metadata
        self.text = ""
        self.pieces: list[tuple[int, str]] = []  # of the text, with the milliseconds of sound before each
        self.frames = self.tokens = self.quiet = 0
        self.begun = False  # whether the item was announced

    def object(self, status: str, reason: str | None = None) -> Event:
        done = status != "in_progress"
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": {"type": status, "reason": reason} if reason else None,
            "output": [self.item("completed" if status == "completed" else "incomplete")]
            if done and self.begun
            else [],
            "conversation_id": None,
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": dict(PCM), "voice": "default"}},
            "metadata": self.metadata,
            "usage": self.usage() if done else None,
        }

    def item(self, status: str) -> Event:
        content = [{"type": "output_audio", "transcript": self.text}] if status != "in_progress" else []
        return message_item("assistant", content, status, self.item_id)

    def usage(self) -> Event:
        """Usage in frames; clients read all of these fields."""
        cached = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
        return {
            "total_tokens": 2 * self.frames + self.tokens,
            "input_tokens": self.frames,
            "output_tokens": self.frames + self.tokens,
            "input_token_details": {
                **cached,
                "audio_tokens": self.frames,
                "cached_tokens": 0,
                "cached_tokens_details": cached,
            },
            "output_token_details": {"text_tokens": self.tokens, "audio_tokens": self.frames},
        }

    def created(self) -> list[Event]:
        return [{"type": "response.created", "response": self.object("in_progress")}]

    def begin(self) -> list[Event]:
        """Announces the item, once, before any sound of it."""
        if self.begun:
            return []
        self.begun = True
        item = self.item("in_progress")
        return [
            {"type": "response.output_item.added", "response_id": self.id, "output_index": 0, "item": item},
            {"type": "conversation.item.added", "previous_item_id": None, "item": item},
            self._part("response.content_part.added", part={"type": "audio", "transcript": ""}),
        ]

    def frame(self, sound: str | None, text: str) -> list[Event]:
        """One frame: base64 sound (unless a media track carries it) and its text."""
        self.frames += 1
        events = [] if sound is None else [self._part("response.output_audio.delta", delta=sound)]
        if text:
            text = text if self.text else text.lstrip()
            self.text += text
            self.pieces.append((80 * (self.frames - 1), text))
            self.tokens += 1
            events.append(self._part("response.output_audio_transcript.delta", delta=text))
        return events

    def end(self, status: str, reason: str | None = None) -> list[Event]:
        events: list[Event] = []
        if self.begun:
            item = self.item("completed" if status == "completed" else "incomplete")
            events = [
                self._part("response.output_audio.done"),
                self._part("response.output_audio_transcript.done", transcript=self.text),
                self._part("response.content_part.done", part={"type": "audio", "transcript": self.text}),
                {
                    "type": "response.output_item.done",
                    "response_id": self.id,
                    "output_index": 0,
                    "item": item,
                },
                {"type": "conversation.item.done", "previous_item_id": None, "item": item},
            ]
        return [*events, {"type": "response.done", "response": self.object(status, reason)}]

    def _part(self, type: str, **more: Any) -> Event:
        place = {"response_id": self.id, "item_id": self.item_id, "output_index": 0, "content_index": 0}
        return {"type": type, **place, **more}
