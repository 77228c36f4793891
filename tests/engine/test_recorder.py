import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from duologue.engine.recorder import Recorder, replay
from duologue.engine.session import AgentFrame
from duologue.errors import InputError
from duologue.weights import load
from tests.engine.virtual import noise, room, seeded


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


@pytest.fixture(scope="module")
def recorded(tiny, tmp_path_factory):
    """A conversation of a few frames, recorded; (what was said, the folder)."""
    folder = tmp_path_factory.mktemp("recorded") / "calls"
    here, recorder = room(tiny, 2), Recorder(folder, tiny.tokenizer, 24_000)
    track = recorder.track("one", "tiny", seeded(tiny, 9))
    caller = here.call(noise(6, 4), seeded(tiny, 9), sink=track)
    here.run(0.55)
    caller.session.end("gone")
    track.close()
    recorder.close()
    return caller.said, folder


def test_a_recording_holds_both_voices_as_they_were_heard(recorded):
    said, folder = recorded
    wav_SC, rate = soundfile.read(folder / "one.wav", dtype="float32")
    assert rate == 24_000
    assert len(wav_SC) == len(said) * 1920
    np.testing.assert_allclose(wav_SC[: 6 * 1920, 1], noise(6, 4).ravel(), atol=1e-4)
    agent_S = np.concatenate([np.zeros(1920, np.float32), *[s.wav_S for s in said[:-1]]])
    np.testing.assert_allclose(wav_SC[:, 0], agent_S.clip(-1, 1), atol=1e-4)


def test_a_recording_holds_the_words(recorded):
    said, folder = recorded
    report = json.loads((folder / "one.json").read_text())
    assert report["text"] == "".join(s.text for s in said).strip()
    assert report["frames"] == len(said)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_trace_replays_to_the_same_tokens(tiny, recorded):
    said, folder = recorded
    then_TK, now_TK = replay(tiny, folder / "one.trace.jsonl")
    assert len(then_TK) == len(said)
    assert np.array_equal(then_TK, now_TK)
    assert then_TK[:, 0].tolist() == [s.token for s in said]


def test_a_changed_trace_does_not_replay(tiny, recorded, tmp_path):
    _, folder = recorded
    header, *rows = (folder / "one.trace.jsonl").read_text().splitlines()
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([header.replace('"seed": 9', '"seed": 10'), *rows]))
    then_TK, now_TK = replay(tiny, path)
    assert not np.array_equal(then_TK, now_TK)
    path.write_text(header + "\n[1, 2]\n")
    with pytest.raises(InputError, match="do not fit"):
        replay(tiny, path)


def test_a_disk_that_fails_costs_the_recording_alone(tiny, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    here, recorder = room(tiny, 1), Recorder(tmp_path, tiny.tokenizer, 24_000)
    track = recorder.track("one", "tiny", tiny.sampling)
    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    caller = here.call(noise(3), sink=track)
    here.run(0.3)
    track.close()
    recorder.close()
    assert caller.session.ended is None
    assert track.failed
    assert not list(tmp_path.iterdir())


def test_a_frame_that_comes_after_the_end_is_left_out(tiny, tmp_path):
    """A step may be under way when a conversation ends."""
    recorder, codes = Recorder(tmp_path, tiny.tokenizer, 24_000), np.zeros(9, np.int64)
    track = recorder.track("one", "tiny", tiny.sampling)
    for frame in range(3):
        track(noise(1)[0], AgentFrame(frame, noise(1)[0], "", 3), codes, codes)
    track.close()
    track(noise(1)[0], AgentFrame(3, noise(1)[0], "", 3), codes, codes)
    other = recorder.track("two", "tiny", tiny.sampling)
    other(noise(1)[0], AgentFrame(0, noise(1)[0], "", 3), codes, codes)
    other.close()
    recorder.close()
    assert [len(soundfile.read(tmp_path / f"{name}.wav")[0]) // 1920 for name in ("one", "two")] == [3, 1]
    assert len((tmp_path / "one.trace.jsonl").read_text().splitlines()) == 4


def test_a_folder_that_cannot_be_written_is_an_input_error(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot record"):
        Recorder(tmp_path / "file", tiny.tokenizer, 24_000)


def frames(track, count):
    codes = np.zeros(9, np.int64)
    for frame in range(count):
        track(noise(1)[0], AgentFrame(frame, noise(1)[0], "", 3), codes, codes)


def test_recordings_of_one_name_are_all_kept(tiny, tmp_path):
    """Whoever starts over within a second has the name of the conversation before; so may another server."""
    recorder, other = (Recorder(tmp_path, tiny.tokenizer, 24_000) for _ in range(2))
    tracks = [who.track("one", "tiny", tiny.sampling) for who in (recorder, recorder, other)]
    for count, track in enumerate(tracks, 1):
        frames(track, count)
    for track in tracks:
        track.close()
    last = recorder.track("one", "tiny", tiny.sampling)
    frames(last, 4)
    last.close()
    recorder.close()
    other.close()
    lengths = [len(soundfile.read(path)[0]) // 1920 for path in tmp_path.glob("*.wav")]
    assert sorted(lengths) == [1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 12


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
def test_nobody_else_may_read_a_recording(recorded, tmp_path):
    _, folder = recorded
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from duologue.engine.recorder import Recorder
from duologue.engine.session import AgentFrame
from duologue.lm.sampling import Sampling
recorder = Recorder(Path(sys.argv[1]), None, 24_000)
from duologue.engine import recorder as module
module.Words = module.UserWords = lambda tokenizer: type("W", (), {"push": lambda *_: None})()
track = recorder.track("killed", "tiny", Sampling())
silence = np.zeros(1920, np.float32)
for frame in range(3):
    track(silence, AgentFrame(frame, silence, "", 3), np.zeros(8, int), np.zeros(9, int))
while recorder._queue.qsize():
    time.sleep(0.01)
time.sleep(0.1)
print("there", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="locks are a matter of POSIX")
def test_what_was_killed_is_removed_and_what_is_alive_is_not(tiny, tmp_path):
    (tmp_path / ".mine.json").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    hidden = {".killed.wav", ".killed.trace.jsonl", ".mine.json"}
    Recorder(tmp_path, tiny.tokenizer, 24_000).close()
    assert {path.name for path in tmp_path.iterdir()} == hidden
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert {path.name for path in tmp_path.iterdir()} == hidden
    Recorder(tmp_path, tiny.tokenizer, 24_000).close()
    assert {path.name for path in tmp_path.iterdir()} == {".mine.json"}


@pytest.mark.parametrize(
    "row", ["[" * 100_000, "9" * 400, "[99999999999999999999]", "null", "\x00", "{}", '["a"]']
)
def test_a_damaged_trace_is_an_input_error(tiny, recorded, tmp_path, row):
    _, folder = recorded
    header, first, *_ = (folder / "one.trace.jsonl").read_text().splitlines()
    too_large = json.loads(first)
    too_large[-1] = 10**6
    for text in (row, f"{header}\n{row}", f"{header}\n{first}\n{row}", f"{header}\n{json.dumps(too_large)}"):
        (tmp_path / "trace.jsonl").write_text(text)
        with pytest.raises(InputError, match="not a trace"):
            replay(tiny, tmp_path / "trace.jsonl")
