"""OpenTelemetry traces: a span for each conversation, without anything that was said.

They are sent to OTEL_EXPORTER_OTLP_ENDPOINT; without that variable there are none. The other OTEL_ variables have their
usual meanings. Attributes and events: see docs/serving.md.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from duologue import __version__
from duologue.audio.activity import LOUD, LOUD_USER
from duologue.engine.dictation import CUTS_IN_FRAMES
from duologue.engine.live_queues import Counts
from duologue.engine.session import AgentFrame
from duologue.errors import InputError
from duologue.serve.link import VoiceActivity

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
FAILED = "error", "slow", "too_big", "flood", "invalid"  # reasons that make a span an error


def tracer_of_environment() -> "Tracer | None":
    """A tracer that exports to the endpoint in the environment, or None. InputError without the extra `otel`."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    os.environ.setdefault("OTEL_SERVICE_NAME", "duologue")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(f"{ENDPOINTS[0]} needs the extra: pip install 'duologue[otel]' ({error})") from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("duologue", __version__)


class Trace:
    """The span of one conversation."""

    def __init__(self, tracer: "Tracer", model: str, replica: str, conversation: str, protocol: str):
        names = {
            "duologue.conversation": conversation,
            "duologue.protocol": protocol,
            "gen_ai.request.model": model,
        }
        names |= {"duologue.replica": replica} if replica else {}
        self._span = tracer.start_span("conversation", attributes=names)
        self._span.add_event("start")
        self._agent, self._user = VoiceActivity(LOUD), VoiceActivity(LOUD_USER)
        self._sounded = self._interrupts = False

    def heard(self, wav_S: np.ndarray) -> None:
        """The user's sound. An interruption is speech longer than an "uh-huh" while the agent speaks."""
        self._user.push(wav_S)
        interrupts = self._user.voiced >= CUTS_IN_FRAMES and (self._interrupts or self._agent.voiced > 0)
        if interrupts and not self._interrupts:
            self._span.add_event("interruption")
        self._interrupts = interrupts

    def said(self, frame: AgentFrame) -> None:
        """The agent's sound."""
        if self._agent.push(frame.wav_S, bool(frame.text)) and not self._sounded:
            self._sounded = True
            self._span.add_event("first_sound")

    def resumed(self) -> None:
        """The client has come back after a lost connection."""
        self._span.add_event("resume")

    def end(self, reason: str, seconds: float, counts: Counts) -> None:
        """The conversation is over."""
        self._span.set_attributes(
            {
                "duologue.reason": reason,
                "duologue.seconds": round(seconds, 3),
                "duologue.frames": counts.frames,
                "duologue.frames_late": counts.late,
                "duologue.frames_missing": counts.missing,
                "duologue.frames_dropped": counts.dropped,
            }
        )
        if reason in FAILED:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, reason)
        self._span.end()
