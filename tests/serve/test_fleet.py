"""The fleet's settings, its autoscaling, and what it refuses; the replicas themselves where Ray is installed."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from duologue.cli import main
from duologue.errors import InputError
from duologue.serve import fleet as fleets
from duologue.serve.fleet import Fleet, application, enough_replicas
from duologue.serve.settings import Settings

ROOT = Path(__file__).parents[2]
HAS_RAY = importlib.util.find_spec("ray") is not None


def context(used: list[float], waiting: list[float], sessions: int = 8, most: int = 10) -> SimpleNamespace:
    told = {"used": dict(enumerate(used)), "waiting": dict(enumerate(waiting))}
    config = SimpleNamespace(target_ongoing_requests=fleets.TARGET * sessions)
    return SimpleNamespace(
        aggregated_metrics=told, config=config, capacity_adjusted_min_replicas=2, capacity_adjusted_max_replicas=most
    )  # fmt: skip


@pytest.mark.parametrize(
    ("used", "waiting", "wanted"),
    [
        ([0, 0], [0, 0], 2),
        ([4, 4], [0, 0], 2),
        ([5, 4], [0, 0], 3),
        ([8, 8], [3, 0], 5),
        ([8] * 10, [5] * 10, 10),
    ],
)
def test_there_are_as_many_replicas_as_leave_half_of_the_slots_free(used, waiting, wanted) -> None:
    assert enough_replicas(context(used, waiting))[0] == wanted


def test_replicas_that_have_not_told_anything_yet_are_left_alone() -> None:
    empty = context([], [])
    empty.aggregated_metrics = None
    assert enough_replicas(empty)[0] == 2


def test_a_configuration_names_what_the_command_line_does(monkeypatch, tmp_path: Path) -> None:
    built = []
    monkeypatch.setattr(fleets, "build", lambda *args: built.append(args))
    keys, token = tmp_path / "keys", tmp_path / "token"
    keys.write_text("secret\n")
    token.write_text("twilio's\n")
    application(
        {"model": "tiny", "replicas": "3", "gpus": "0.5", "sessions": "12", "origins": "https://a,https://b",
         "watermark": "true", "api_key_file": str(keys), "twilio_token_file": str(token)}
    )  # fmt: skip
    ((fleet, settings),) = built
    assert fleet == Fleet("tiny", replicas=3, gpus=0.5)
    assert settings == Settings(
        sessions=12,
        origins=("https://a", "https://b"),
        watermark=True,
        keys=("secret",),
        twilio_token="twilio's",
    )
    application({"watermark": "False"})
    assert not built[1][1].watermark


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"modle": "tiny"}, "no setting 'modle'"),
        ({"keys": "secret"}, "no setting 'keys'.*api_key_file"),
        ({"twilio_token": "secret"}, "no setting 'twilio_token'"),
        ({"sessions": "many"}, "sessions is a int"),
        ({"watermark": "maybe"}, "watermark is a bool"),
        ({"twilio_token_file": "/no/such/file"}, "cannot read"),
        ({"delegate": "http://a/v1", "delegate_command": "b"}, "do not go together"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(monkeypatch, odd, said) -> None:
    monkeypatch.setattr(fleets, "ray_serve", lambda: None)
    with pytest.raises(InputError, match=said):
        application(odd)


def test_the_command_line_gives_a_fleet_its_secrets(monkeypatch, tmp_path: Path) -> None:
    served = []
    monkeypatch.setattr(fleets, "serve_fleet", lambda *args: served.append(args))
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    main(["serve", "--ray", "--twilio-token-file", str(secret), "--api-key-file", str(secret)])
    assert (served[0][1].twilio_token, served[0][1].keys) == ("secret", ("secret",))


def test_a_replica_checks_that_its_model_transcribes_for_a_delegate(monkeypatch) -> None:
    deployed = SimpleNamespace(
        deployment=lambda **_: lambda replica: SimpleNamespace(bind=lambda: replica),
        ingress=lambda: lambda replica: replica,
        multiplexed=lambda **_: lambda function: function,
        get_replica_context=lambda: SimpleNamespace(replica_id=SimpleNamespace(unique_id="r1")),
    )
    monkeypatch.setattr(fleets, "ray_serve", lambda: deployed)
    monkeypatch.setattr(fleets, "log_to_stderr", lambda: None)
    replica = application({"model": "tiny", "delegate": "http://a/v1"})
    with pytest.raises(InputError, match="writes down the user's words"):
        asyncio.run(replica.__init__(SimpleNamespace()))


def test_the_manifest_is_a_configuration_that_is_understood(monkeypatch) -> None:
    yaml = pytest.importorskip("yaml")
    monkeypatch.setattr(fleets, "build", lambda *args: args)
    monkeypatch.setattr("duologue.serve.run.read_keys", lambda path: ("key",))
    manifest = yaml.safe_load((ROOT / "deploy" / "kuberay.yaml").read_text())
    (app,) = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"]
    assert app["import_path"] == "duologue.serve.fleet:application"
    fleet, settings = application(app["args"])
    assert (fleet.device, fleet.gpus, fleet.most, settings.sessions) == ("cuda", 1.0, 16, 32)


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (the extra `ray`)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray itself
def test_ray_understands_the_manifest() -> None:
    from ray.serve.schema import ServeDeploySchema

    yaml = pytest.importorskip("yaml")
    manifest = yaml.safe_load((ROOT / "deploy" / "kuberay.yaml").read_text())
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    assert config.applications[0].import_path == "duologue.serve.fleet:application"
    containers = [
        group["template"]["spec"]["containers"][0]["env"]
        for group in (
            manifest["spec"]["rayClusterConfig"]["headGroupSpec"],
            *manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"],
        )
    ]
    settings = {each["name"]: each["value"] for each in containers[0]}
    longest = float(config.applications[0].args["time_limit"]) + fleets.LAST_WORDS_SECONDS
    assert containers[0] == containers[1]
    assert float(settings["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= longest


def test_the_dashboard_shows_figures_that_there_are() -> None:
    from duologue.serve.metrics import Metrics

    engine = SimpleNamespace(ready=True, used=0, restarts=0, backend=SimpleNamespace(slots=1))
    metrics = Metrics()
    text = metrics.render(engine, 0).decode()  # type: ignore
    panels = json.loads((ROOT / "deploy" / "grafana.json").read_text())["panels"]
    names = {
        name.split("{")[0]
        for panel in panels
        for target in panel["targets"]
        for name in target["expr"].replace("(", " ").replace(")", " ").replace("[", " ").split()
        if name.startswith("duologue_")
    }
    assert len(names) >= 10
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    for name in names:
        assert {name, name.removesuffix("_total"), name.rpartition("_")[0]} & families, name


def test_what_a_fleet_cannot_do_is_said(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--ray", "--record", "folder"])
    assert stopped.value.code == 2
    assert "--ray and --record" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--replicas", "2"])
    assert stopped.value.code == 2 and "need --ray" in capsys.readouterr().err
    if not HAS_RAY:
        with pytest.raises(SystemExit):
            main(["serve", "--ray", "--model", "tiny"])
        assert "pip install 'duologue[ray]'" in capsys.readouterr().err


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (the extra `ray`)")
def test_two_replicas_hold_their_people_when_one_is_killed() -> None:
    command = [
        sys.executable,
        "benchmarks/fleet.py",
        "--model",
        "tiny",
        "--clients",
        "4",
        "--seconds",
        "20",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["admitted"] == report["resumed"] == 4
    assert report["came_back"] == report["told"] and report["told"] + report["went_on"] > 0
    assert report["untouched_gap_ms"] < 3000 and report["exit_code"] == 0


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (the extra `ray`)")
def test_a_replica_comes_when_slots_run_short_and_goes_when_its_last_conversation_is_over() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling"], capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, report
    assert report["lost"] == 0 and report["held_s"] > 0 and sum(report["used"]) == 8
