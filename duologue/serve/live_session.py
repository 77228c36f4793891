"""The settings of a GPT-Live session, checked when it starts, and the codecs of its audio formats."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr

from duologue.audio.g711 import G711
from duologue.serve.link import RATE, Pcm16
from duologue.serve.openai_events import Event
from duologue.serve.openai_exchange import Refused
from duologue.serve.openai_session import LAWS

RATES = {"audio/pcm": (16_000, 24_000), "audio/pcmu": (8_000,), "audio/pcma": (8_000,)}
HERE = "this server has no"


class Pcm16Slow:
    """16-bit PCM at `rate` Hz, resampled to and from 24 kHz as a stream."""

    def __init__(self, rate: int):
        self._samples = Pcm16()
        self._up = soxr.ResampleStream(rate, RATE, 1, dtype="float32")
        self._down = soxr.ResampleStream(RATE, rate, 1, dtype="float32")

    def read(self, data: bytes) -> np.ndarray:
        return self._up.resample_chunk(self._samples.read(data))

    def write(self, wav_S: np.ndarray) -> bytes:
        return Pcm16.write(self._down.resample_chunk(wav_S.astype(np.float32)))


Sound = Pcm16 | Pcm16Slow | G711


@dataclass(frozen=True)
class Allowed:
    """Which events may pass the WebRTC data channel in each direction; None: all."""

    from_client: frozenset[str] | None = None
    to_client: frozenset[str] | None = None


@dataclass(frozen=True)
class LiveSettings:
    """The settings of one session."""

    format: Event = field(default_factory=lambda: {"type": "audio/pcm", "rate": RATE})
    delegates: bool = False
    """Whether the user's questions are delegated to the client."""
    acknowledgement_ms: int = 0
    told: bool = False
    """Whether the client sent instructions or a history. The model reads none of it."""
    allowed: Allowed = Allowed()

    def sound(self) -> Sound:
        kind, rate = self.format["type"], self.format["rate"]
        if kind in LAWS:
            return G711(LAWS[kind])
        return Pcm16() if rate == RATE else Pcm16Slow(rate)


def started(session: Event, media: bool) -> LiveSettings:
    """The settings from a session object that has passed `live_schema.check`. `media`: audio comes over a WebRTC track.
    Raises Refused for values that this server does not support."""
    if media and "format" in session.get("audio", {}):
        raise Refused("unknown_parameter", "the format is agreed on by WebRTC", "session.audio.format")
    if not media and session.get("client") is not None:
        raise Refused("unknown_parameter", "there is no data channel here", "session.client")
    if session.get("triggers"):
        raise Refused("unsupported_value", f"{HERE} triggers", "session.triggers")
    form = session.get("audio", {}).get("format", {"type": "audio/pcm", "rate": RATE})
    if form["rate"] not in RATES[form["type"]]:
        rates = " or ".join(map(str, RATES[form["type"]]))
        raise Refused("invalid_value", f"{form['type']} has {rates} Hz", "session.audio.format.rate")
    told = bool((session.get("instructions") or "").strip()) or any(
        item["content"] for item in session.get("input") or []
    )
    return LiveSettings(
        dict(form),
        session.get("delegation") is not None,
        _acknowledgement(session.get("delegation"), 0),
        told,
        _allowed((session.get("client") or {}).get("data_channel", {})),
    )


def _acknowledgement(delegation: Event | None, before: int) -> int:
    if delegation is None:
        return before
    if delegation["type"] != "client":
        text = f"{HERE} delegation to {delegation['type']}: the client does the work"
        raise Refused("unsupported_value", text, "session.delegation.type")
    wanted = delegation.get("acknowledgement_delay_ms", before)
    if not 0 <= wanted <= 60_000:
        at = "session.delegation.acknowledgement_delay_ms"
        raise Refused("invalid_value", f"{at} is a number from 0 to 60000", at)
    return wanted


def updated_acknowledgement(changes: Event, before: int) -> int:
    """The acknowledgement delay in ms after a `session.update`. Raises Refused."""
    if changes.get("triggers"):
        raise Refused("unsupported_value", f"{HERE} triggers", "session.triggers")
    return _acknowledgement(changes.get("delegation"), before)


def _allowed(channel: Event) -> Allowed:
    def names(wanted: Any, name: Callable[[Any], str]) -> frozenset[str] | None:
        return None if wanted in (None, "all") else frozenset(name(each) for each in wanted)

    return Allowed(
        names(channel.get("allowed_client_events"), str),
        names(channel.get("allowed_server_events"), lambda selector: selector["type"]),
    )


class Resource:
    """The session object sent to clients: the values in effect, not the values requested."""

    def __init__(self, id: str, model: str, seconds: float):
        self.id = id
        self._model, self._expires = model, int(time.time() + seconds)

    def described(self, settings: LiveSettings, media: bool) -> Event:
        audio = {"output": {"voice": "default"}}
        delegation = {"type": "client", "acknowledgement_delay_ms": settings.acknowledgement_ms}
        return {
            "id": self.id,
            "model": self._model,
            "status": "active",
            "expires_at": self._expires,
            "audio": audio if media else {"format": settings.format, **audio},
            "delegation": delegation if settings.delegates else None,
            "instructions": None,
            "input": None,
            "store": False,
            "triggers": [],
        }
