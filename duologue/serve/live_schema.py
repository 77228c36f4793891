"""The schema of the GPT-Live protocol's client events (`openai.types.live.ClientEvent`).

Fields that it does not list are refused by name. Values that are valid but that this server does not support are
refused by `live_session`.
"""

from dataclasses import dataclass, field
from typing import Any

from duologue.serve.openai_exchange import Refused

LONGEST = 1 << 16  # characters of a string, except for audio


@dataclass(frozen=True)
class Object:
    """A JSON object: the shapes of its fields by name, and the names of the required ones."""

    fields: dict[str, Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Many:
    """A list with elements of one shape, at most `most` of them."""

    of: Any
    most: int = 128


@dataclass(frozen=True)
class OneOf:
    """One of these strings."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Either:
    """Any one of these shapes."""

    shapes: tuple[Any, ...] = field(default_factory=tuple)


TEXT, WHOLE, FLAG, NOTHING, ANYTHING = str, int, bool, None, object
OPTIONAL_TEXT = Either((TEXT, NOTHING))
FORMAT = Object({"type": OneOf(("audio/pcm", "audio/pcmu", "audio/pcma")), "rate": WHOLE}, ("type", "rate"))
VOICE = Either((TEXT, Object({"id": TEXT}, ("id",))))
DELEGATION = Either(
    (
        NOTHING,
        Object(
            {
                "type": OneOf(("client", "responses", "decisions")),
                "acknowledgement_delay_ms": WHOLE,
                "responses": ANYTHING,
                "decisions": ANYTHING,
            },
            ("type",),
        ),
    )
)
ITEM = Object(
    {
        "role": OneOf(("developer", "user", "assistant")),
        "content": Many(
            Object({"type": OneOf(("input_text", "text", "output_text")), "text": TEXT}, ("text",)), 1
        ),
        "id": OPTIONAL_TEXT,
        "status": ANYTHING,
        "type": OneOf(("message",)),
    },
    ("role", "content"),
)
EVENT_NAMES = Either((NOTHING, OneOf(("all",)), Many(TEXT)))
SELECTORS = Either(
    (NOTHING, OneOf(("all",)), Many(Object({"type": TEXT, "response_event": OPTIONAL_TEXT}, ("type",))))
)
CHANNEL = Object({"allowed_client_events": EVENT_NAMES, "allowed_server_events": SELECTORS})
SESSION = Object(
    {
        "model": TEXT,
        "audio": Object({"format": FORMAT, "output": Object({"voice": VOICE})}),
        "client": Object({"data_channel": CHANNEL}, ("data_channel",)),
        "delegation": DELEGATION,
        "input": Either((NOTHING, Many(ITEM))),
        "instructions": OPTIONAL_TEXT,
        "safety_identifier": OPTIONAL_TEXT,
        "store": Either((FLAG, NOTHING)),
        "triggers": Either((NOTHING, Many(ANYTHING))),
    },
    ("model",),
)
APPEND = {"content": TEXT, "delegation_id": OPTIONAL_TEXT}
UPDATE = Object({"delegation": DELEGATION, "triggers": Either((NOTHING, Many(ANYTHING)))})


def _command(*needs: str, **fields: Any) -> Object:
    return Object({"type": TEXT, "event_id": OPTIONAL_TEXT, **fields}, needs)


COMMANDS = {
    "session.start": _command("session", session=SESSION),
    "session.update": _command("session", session=UPDATE),
    "session.input_audio.append": _command("audio", audio=str),
    "session.input_audio.mute": _command(),
    "session.input_audio.unmute": _command(),
    "session.instructions.append": _command("content", **APPEND),
    "session.thinking.append": _command("content", **APPEND),
    "session.commentary.append": _command("content", **APPEND),
    "session.close": _command(),
}
CREATION = Object(
    {
        "session": SESSION,
        "transport": Object({"type": OneOf(("webrtc",)), "sdp": TEXT}, ("type", "sdp")),
    },
    ("session", "transport"),
)


def check_command(event: dict[str, Any]) -> None:
    """Raises Refused for a client event with an unknown, missing or wrong field."""
    sound = event["type"] == "session.input_audio.append"
    check(event, COMMANDS[event["type"]], "", longest=None if sound else LONGEST)


def check(value: Any, shape: Any, at: str = "", longest: int | None = LONGEST) -> None:
    """Raises Refused unless a value has this shape. `at` is the path of the value, such as `session.audio.format`."""
    if isinstance(shape, Object):
        _check_object(value, shape, at, longest)
    elif isinstance(shape, Many):
        if not isinstance(value, list):
            raise _wrong(at, "a list")
        if len(value) > shape.most:
            raise Refused("invalid_value", f"{at} has at most {shape.most} elements, not {len(value)}", at)
        for i, each in enumerate(value):
            check(each, shape.of, f"{at}[{i}]", longest)
    elif isinstance(shape, OneOf):
        if value not in shape.words:
            raise _wrong(at, f"one of {', '.join(map(repr, shape.words))}")
    elif isinstance(shape, Either):
        _check_either(value, shape, at, longest)
    elif shape is NOTHING:
        if value is not None:
            raise _wrong(at, "null")
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise _wrong(at, {str: "a text", int: "a whole number", bool: "true or false"}[shape])
    elif isinstance(value, str) and longest is not None and len(value) > longest:
        raise Refused("string_above_max_length", f"{at} has at most {longest} letters", at)


def _check_object(value: Any, shape: Object, at: str, longest: int | None) -> None:
    if not isinstance(value, dict):
        raise _wrong(at, "an object")
    before = f"{at}." if at else ""
    for name, inner in value.items():
        if name not in shape.fields:
            raise Refused(
                "unknown_parameter", f"unknown parameter: {before + name[:60]!r}", before + name[:60]
            )
        check(inner, shape.fields[name], before + name, longest)
    for name in shape.needs:
        if name not in value:
            raise Refused("missing_required_parameter", f"{before}{name} is missing", before + name)


def _check_either(value: Any, shape: Either, at: str, longest: int | None) -> None:
    """Checks against the first shape of the value's JSON type, so that the error is about that shape."""
    kinds = {dict: Object, list: Many, str: (type, OneOf)}
    if value is None:
        fitting = [each for each in shape.shapes if each is NOTHING]
    else:
        fitting = [each for each in shape.shapes if isinstance(each, kinds.get(type(value), type))]
    if not fitting:
        raise _wrong(at, "of this type")
    check(value, fitting[0], at, longest)


def _wrong(at: str, wanted: str) -> Refused:
    return Refused("invalid_type", f"{at or 'the message'} must be {wanted}", at or None)
