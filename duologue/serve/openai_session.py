"""The settings of a Realtime session: what a client may ask for, and what it gets.

A client reads back the actual settings, not the requested ones: the model takes no instructions or other voices, so
the session has none, and of the tools those that can be called (`openai_tools`). Names of the protocol's beta are
accepted too.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from duologue.audio.g711 import G711
from duologue.serve.link import Pcm16
from duologue.serve.openai_events import PCM, Event, new_id
from duologue.serve.openai_tools import usable

LAWS = {"audio/pcmu": "ulaw", "audio/pcma": "alaw"}  # a telephone's sound
BETA_FORMATS = {"pcm16": PCM, "g711_ulaw": {"type": "audio/pcmu"}, "g711_alaw": {"type": "audio/pcma"}}
DETECTION = {"type": "semantic_vad", "create_response": True, "interrupt_response": True}
EAGERNESS = "low", "medium", "high", "auto"


@dataclass(frozen=True)
class SessionSettings:
    """The settings. `detection` None: the client ends turns and requests each response."""

    reads: Event = field(default_factory=lambda: dict(PCM))
    writes: Event = field(default_factory=lambda: dict(PCM))
    transcription: Event | None = None
    detection: Event | None = field(default_factory=lambda: DETECTION | {"eagerness": "auto"})

    tools: tuple[Event, ...] = ()

    @property
    def creates(self) -> bool:
        """Whether the agent's utterances become responses without a request."""
        return self.detection is not None and self.detection["create_response"]

    @property
    def interrupts(self) -> bool:
        """Whether the user's voice may cancel a response."""
        return self.detection is not None and self.detection["interrupt_response"]

    def updated(self, wanted: Event) -> "SessionSettings":
        """The settings after `session.update`. Raises ValueError, TypeError, KeyError or AttributeError for invalid
        values."""
        audio = wanted.get("audio") or {}
        sides = {"reads": audio.get("input") or {}, "writes": audio.get("output") or {}}
        changes: dict[str, Any] = {}
        for side, beta in (("reads", "input_audio_format"), ("writes", "output_audio_format")):
            if sides[side].get("format") is not None:
                changes[side] = _format(sides[side]["format"])
            elif wanted.get(beta) is not None:
                changes[side] = dict(BETA_FORMATS[wanted[beta]])
        for name, beta in (
            ("transcription", "input_audio_transcription"),
            ("turn_detection", "turn_detection"),
        ):
            for place, key in ((sides["reads"], name), (wanted, beta)):
                if key in place:
                    setting, read = _READERS[name]
                    changes[setting] = read(place[key])
                    break
        if wanted.get("tools") is not None:
            changes["tools"] = usable(wanted["tools"])
        return replace(self, **changes)

    def codecs(self) -> tuple[Pcm16 | G711, Pcm16 | G711]:
        """Decoder of the user's sound, and encoder of the agent's."""
        return sound_of(self.reads), sound_of(self.writes)


DEFAULT = SessionSettings()


def session_object(model: str, seconds: float, id: str | None = None) -> Event:
    """The constant fields of a session that ends after `seconds`."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": id or new_id("sess"),
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "expires_at": int(time.time() + seconds),
    }


def described(session: Event, settings: SessionSettings) -> Event:
    """The session object that a client reads."""
    heard = {
        "format": settings.reads,
        "transcription": settings.transcription,
        "noise_reduction": None,
        "turn_detection": settings.detection,
    }
    said = {"format": settings.writes, "voice": "default", "speed": 1.0}
    return session | {
        "tools": list(settings.tools),
        "tool_choice": "auto" if settings.tools else "none",
        "audio": {"input": heard, "output": said},
    }


def sound_of(form: Event | None) -> Pcm16 | G711:
    """The codec of an audio format. Raises ValueError for an unknown one."""
    form = _format(form or PCM)
    return G711(LAWS[form["type"]]) if form["type"] in LAWS else Pcm16()


def _format(wanted: Event) -> Event:
    kind = wanted["type"]
    if kind == "audio/pcm" and wanted.get("rate", 24_000) == 24_000:
        return dict(PCM)
    if kind in LAWS:
        return {"type": kind}
    raise ValueError


def _transcription(wanted: Event | None) -> Event | None:
    """The model itself transcribes; the requested transcription model is ignored."""
    return (
        None
        if wanted is None
        else {"model": str(wanted.get("model", ""))[:100], "language": None, "prompt": ""}
    )


def _detection(wanted: Event | None) -> Event | None:
    if wanted is None:
        return None
    kind = wanted.get("type", "server_vad")
    if kind not in ("server_vad", "semantic_vad"):
        raise ValueError
    flags = {key: wanted.get(key, True) for key in ("create_response", "interrupt_response")}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise ValueError
    if kind == "semantic_vad":
        if wanted.get("eagerness", "auto") not in EAGERNESS:
            raise ValueError
        return {"type": kind, "eagerness": "auto", **flags}
    # A turn ends after 640 ms of silence, whatever was requested.
    return {"type": kind, "threshold": 0.5, "prefix_padding_ms": 240, "silence_duration_ms": 640, **flags}


_READERS = {"transcription": ("transcription", _transcription), "turn_detection": ("detection", _detection)}
