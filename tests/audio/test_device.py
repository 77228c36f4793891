import sys

import numpy as np
import pytest

from duologue.audio.device import WAITING_SECONDS, Devices, NoDevice, Playback, play_recording
from tests.fake_sounddevice import Machine
from tests.serve.server import until


def test_what_is_pushed_is_played_in_order_with_silence_where_nothing_came():
    playback = Playback()
    playback.push(np.arange(1, 6, dtype=np.float32))
    playback.push(np.arange(6, 9, dtype=np.float32))
    assert playback.pull(4).tolist() == [1, 2, 3, 4]
    assert playback.pull(3).tolist() == [5, 6, 7]
    assert playback.pull(3).tolist() == [8, 0, 0]
    assert playback.pull(2).tolist() == [0, 0]
    assert playback.waiting == 0


def test_after_a_gap_some_more_is_waited_for():
    playback = Playback(hold=2)
    playback.push(np.ones(3, np.float32))
    assert playback.pull(2).tolist() == [0, 0]
    playback.push(np.ones(1, np.float32))
    assert [playback.pull(2).tolist() for _ in range(3)] == [[1, 1], [1, 1], [0, 0]]


def test_no_more_than_a_second_waits():
    playback = Playback()
    for frame in range(100):
        playback.push(np.full(1920, frame, np.float32))
    assert playback.waiting <= WAITING_SECONDS * 24_000
    assert playback.pull(1)[0] > 80


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_both_ways_at_any_rate(monkeypatch, rate):
    machine, heard = Machine((rate,)), []
    monkeypatch.setitem(sys.modules, "sounddevice", machine.module)
    with Devices(heard.append) as devices:
        for _ in range(4):
            devices.play(np.full(1920, 0.5, np.float32))
        until(lambda: sum(part.size for part in heard) > 12_000 and devices.waiting == 0)
        assert devices.latency == pytest.approx(0.03)
    assert machine.streams[0].closed
    wav_S = np.concatenate(heard)[2000:12_000]
    spectrum = np.abs(np.fft.rfft(wav_S * np.hanning(wav_S.size)))
    assert np.argmax(spectrum) * 24_000 / wav_S.size == pytest.approx(300, abs=5)
    assert np.isfinite(machine.played_S).all()
    assert np.sum(machine.played_S > 0.4) == pytest.approx(4 * 1920 * rate / 24_000, rel=0.05)


def test_no_device_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Machine(missing="Error querying device -1").module)
    with pytest.raises(NoDevice, match="Error querying device -1"), Devices(print):
        pass


def test_no_portaudio_is_one_line(monkeypatch):
    class Finder:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(NoDevice, match="PortAudio is not installed"), Devices(print):
        pass
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(NoDevice, match=r"duologue\[mic\]"), Devices(print):
        pass


def test_a_recording_is_played_to_its_end(monkeypatch):
    machine, wav_S = Machine(), np.linspace(-1, 1, 5000, dtype=np.float32)
    monkeypatch.setitem(sys.modules, "sounddevice", machine.module)
    play_recording(wav_S)
    np.testing.assert_array_equal(machine.played_S, wav_S)


def test_a_recording_without_a_speaker_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Machine(missing="no default output device").module)
    with pytest.raises(NoDevice, match="no speaker can be used"):
        play_recording(np.zeros(10, np.float32))
