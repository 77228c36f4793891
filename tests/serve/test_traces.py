"""A conversation's span: what it says, and that there is none unless it is asked for."""

import asyncio
import json

import pytest

from duologue.errors import InputError
from duologue.serve import traces
from duologue.serve.settings import Settings
from tests.engine.virtual import noise
from tests.serve.server import PATIENCE, Heard, Server, dial, pcm, read, until

export = pytest.importorskip(
    "opentelemetry.sdk.trace.export.in_memory_span_exporter",
    reason="OpenTelemetry is not installed (the extra `otel`)",
)


@pytest.fixture(scope="module")
def exporter():
    return export.InMemorySpanExporter()


@pytest.fixture(scope="module")
def server(exporter):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    server = Server(Settings(sessions=1, queue=0), tracer=provider.get_tracer("test"))
    yield server
    server.close()


async def lost_and_resumed(server: Server) -> None:
    """Speak for long while the echo speaks, lose the connection, resume, and say goodbye."""
    async with dial(server, "events=1&format=pcm16&resume=1") as link:
        for frame_S in noise(4):
            await link.send(b"\1" + pcm(frame_S))
        heard = await read(link, Heard(), lambda heard: len(heard.sound) == 3)
        for frame_S in noise(8):
            await link.send(b"\1" + pcm(frame_S))
        await read(link, heard, lambda heard: len(heard.sound) == 11)
        token, received = heard.event("start")["resume"], len(heard.kinds)
        link.transport.abort()
    async with dial(server, f"events=1&format=pcm16&resume={token}&received={received}") as link:
        event = json.loads((await link.recv())[1:])
        assert event["type"] == "resumed"


def test_a_conversation_is_one_span_with_its_events(server, exporter) -> None:
    asyncio.run(asyncio.wait_for(lost_and_resumed(server), PATIENCE))
    until(lambda: exporter.get_finished_spans())
    (span,) = exporter.get_finished_spans()
    assert span.name == "conversation" and span.status.is_ok is True
    assert [event.name for event in span.events] == ["start", "first_sound", "interruption", "resume"]
    says = dict(span.attributes)
    assert says.pop("duologue.seconds") > 0 and len(says.pop("duologue.conversation")) == 8
    assert says.pop("duologue.frames") >= 11 and says.pop("duologue.frames_late") >= 0
    assert says == {
        "duologue.protocol": "kyutai",
        "gen_ai.request.model": "echo",
        "duologue.reason": "gone",
        "duologue.frames_missing": 0,
        "duologue.frames_dropped": 0,
    }


def test_without_an_endpoint_there_are_no_traces(monkeypatch) -> None:
    for name in traces.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert traces.tracer_of_environment() is None


def test_an_endpoint_gets_the_spans(monkeypatch) -> None:
    """The whole way: an exporter of the environment posts to a server that counts."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter", reason="no OTLP exporter")
    import http.server
    import threading

    got = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    collector = http.server.HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv(traces.ENDPOINTS[0], f"http://127.0.0.1:{collector.server_port}")
        tracer = traces.tracer_of_environment()
        assert tracer is not None
        traces.Trace(tracer, "tiny", "", "abc", "kyutai")._span.end()
        tracer.span_processor.force_flush()
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    ((path, body),) = got
    assert path == "/v1/traces" and b"conversation" in body and b"duologue" in body


def test_an_endpoint_without_the_extra_is_said(monkeypatch) -> None:
    import sys

    monkeypatch.setenv(traces.ENDPOINTS[0], "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError, match=r"pip install 'duologue\[otel\]'"):
        traces.tracer_of_environment()
