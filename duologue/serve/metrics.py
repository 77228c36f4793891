"""The server's Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from duologue.engine.batcher import Batcher

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The metrics of one server, in their own registry."""

    def __init__(self):
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"duologue_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"duologue_{name}", text, registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"duologue_{name}", text, registry=registry, buckets=SECONDS)

        self.ready = gauge("ready", "1 while the engine runs")
        self.slots = gauge("slots_total", "Conversations that can be held at the same time")
        self.used = gauge("slots_used", "Conversations under way")
        self.queue = gauge("queue_length", "Clients that wait for a slot")
        self.restarts = gauge("engine_restarts", "Times the engine started afresh after a failure")
        self.step = histogram("step_seconds", "Time of one step of all conversations that were ready")
        self.batch = Histogram(
            "duologue_step_conversations",
            "Conversations in a step",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self.response = histogram("response_seconds", "From a user's frame coming in to its answer")
        self.frames = counter("frames", "Frames of conversations that have ended", "kind")
        self.begun = counter("conversations", "Conversations begun", "protocol")
        self.ended = counter("conversations_ended", "Conversations ended", "reason")
        self.refused = counter("refused", "Clients turned away", "reason")

    def observe_step(self, seconds: float, sessions: int) -> None:
        self.step.observe(seconds)
        self.batch.observe(sessions)

    def render(self, engine: Batcher, waiting: int) -> bytes:
        """All metrics in Prometheus' text format."""
        self.ready.set(engine.ready)
        self.slots.set(engine.backend.slots)
        self.used.set(engine.used)
        self.queue.set(waiting)
        self.restarts.set(engine.restarts)
        return generate_latest(self.registry)
