import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from duologue.audio.files import (
    audio_writer,
    check_audio_path,
    open_audio,
    read_audio,
    read_mono,
    write_audio,
)
from duologue.errors import InputError


def tone(rate: int, seconds: float, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def loudest_hz(wav_S: np.ndarray, rate: int) -> float:
    return float(np.fft.rfftfreq(wav_S.size, 1 / rate)[np.abs(np.fft.rfft(wav_S)).argmax()])


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000])
def test_any_sample_rate_keeps_pitch_length_and_level(tmp_path, rate):
    soundfile.write(tmp_path / "in.wav", tone(rate, 1.0), rate)
    wav_S = read_mono(tmp_path / "in.wav")
    assert wav_S.shape == (24_000,)
    assert wav_S.dtype == np.float32
    assert loudest_hz(wav_S, 24_000) == pytest.approx(440, abs=1)
    assert np.abs(wav_S[2000:-2000]).max() == pytest.approx(0.5, abs=0.01)


def test_a_rate_other_than_ours_can_be_asked_for(tmp_path):
    soundfile.write(tmp_path / "in.wav", tone(48_000, 0.5), 48_000)
    assert read_audio(tmp_path / "in.wav", rate=16_000).shape == (1, 8_000)


@pytest.mark.parametrize("samples", [1, 2, 3, 1919, 1920, 1921])
@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000, 192_000])
def test_any_length_however_short(tmp_path, samples, rate):
    soundfile.write(tmp_path / "in.wav", np.full(samples, 0.25), rate)
    assert read_audio(tmp_path / "in.wav").shape == (1, -(-samples * 24_000 // rate))


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_channels_are_kept_apart_or_averaged(tmp_path, rate):
    left_S, right_S = tone(rate, 0.5, 300), tone(rate, 0.5, 900)
    soundfile.write(tmp_path / "in.wav", np.stack([left_S, right_S], 1), rate, "FLOAT")
    wav_CS = read_audio(tmp_path / "in.wav")
    assert wav_CS.shape == (2, 12_000)
    assert [loudest_hz(wav_S, 24_000) for wav_S in wav_CS] == pytest.approx([300, 900], abs=2)
    np.testing.assert_allclose(read_mono(tmp_path / "in.wav"), wav_CS.mean(0), atol=1e-6)


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_nan_infinite_and_overdriven_samples_are_cleaned(tmp_path, rate):
    wav_S = tone(rate, 0.2)
    wav_S[100:103] = [np.nan, np.inf, -np.inf]
    wav_S[2000], wav_S[2500] = 1e30, -7.0
    soundfile.write(tmp_path / "in.wav", wav_S, rate, "FLOAT")
    heard_S = read_mono(tmp_path / "in.wav")
    assert np.isfinite(heard_S).all()
    assert np.abs(heard_S).max() <= 1
    if rate == 24_000:
        np.testing.assert_array_equal(heard_S[[100, 101, 102, 2000, 2500]], [0, 0, 0, 1, -1])


def test_a_bad_sample_harms_no_other_when_resampled(tmp_path):
    wav_S = tone(44_100, 0.5)
    soundfile.write(tmp_path / "good.wav", wav_S, 44_100, "FLOAT")
    wav_S[11_025] = np.nan  # a quarter of a second in
    soundfile.write(tmp_path / "bad.wav", wav_S, 44_100, "FLOAT")
    difference_S = np.abs(read_mono(tmp_path / "bad.wav") - read_mono(tmp_path / "good.wav"))
    assert difference_S[:5900].max() < 1e-3
    assert difference_S[6100:].max() < 1e-3


def test_a_resampled_square_wave_does_not_overshoot(tmp_path):
    soundfile.write(tmp_path / "in.wav", np.sign(tone(48_000, 0.5)), 48_000, "FLOAT")
    assert np.abs(read_mono(tmp_path / "in.wav")).max() == 1


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("x.wav", 1e-4), ("x.flac", 1e-4), ("x.ogg", 0.1), ("x.opus", 0.1), ("x.mp3", 0.1), ("X.WAV", 1e-4)],
)
def test_written_recordings_are_read_back(tmp_path, name, tolerance):
    wav_CS = np.stack([tone(24_000, 1.0, 300), tone(24_000, 1.0, 500)])
    write_audio(tmp_path / name, wav_CS)
    again_CS = read_audio(tmp_path / name)
    assert again_CS.shape == wav_CS.shape
    inner = slice(2000, -2000)
    np.testing.assert_allclose(again_CS[:, inner], wav_CS[:, inner], atol=tolerance)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_a_sample_is_written_clipped(tmp_path):
    write_audio(tmp_path / "x.wav", np.array([0.5, 2.0, -np.inf, np.nan]))
    np.testing.assert_allclose(read_mono(tmp_path / "x.wav"), [0.5, 1, 0, 0], atol=1e-4)


def wav_bytes(samples: int = 1000) -> bytes:
    """A 16-bit mono file whose last `samples * 2` bytes are sound."""
    data = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 24_000, 48_000, 2, 16)
    data += struct.pack("<4sI", b"data", samples * 2) + b"\x10\x20" * samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(data), b"WAVE") + data


def aiff_bytes(tmp_path) -> bytes:
    soundfile.write(tmp_path / "whole.aiff", tone(24_000, 0.1), 24_000)
    return (tmp_path / "whole.aiff").read_bytes()


def flac_bytes(tmp_path) -> bytes:
    soundfile.write(tmp_path / "whole.flac", tone(24_000, 0.1), 24_000)
    return (tmp_path / "whole.flac").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"hello, this is no sound at all\n" * 50, "not audio"),
        ("noise.mp3", bytes(range(256)) * 16, "not audio"),
        ("headerless.raw", b"\x01\x02" * 500, "not audio"),
        ("nothing.wav", wav_bytes(0), "has no samples"),
        ("header.wav", wav_bytes()[:44], "cut short"),
        ("half.wav", wav_bytes()[:1000], "cut short"),
        ("stub.wav", wav_bytes()[:20], "not audio"),
        (
            "slow.wav",
            wav_bytes().replace(struct.pack("<I", 24_000), struct.pack("<I", 7), 1),
            "sample rate of 7 Hz",
        ),
    ],
)
def test_what_is_no_recording_is_an_input_error(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=complaint) as caught:
        read_audio(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [aiff_bytes, flac_bytes])
def test_other_formats_cut_short_are_an_input_error(tmp_path, make):
    whole = make(tmp_path)
    cut = tmp_path / "cut.bin"
    cut.write_bytes(whole)
    assert read_audio(cut).shape == (1, 2400)
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut short|damaged"):
        read_audio(cut)


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_audio(tmp_path / "absent.wav")
    with pytest.raises(InputError, match="is not a file"):
        read_audio(tmp_path)


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_FFFF, 2000 + 44])
def test_a_header_that_did_not_know_the_length_is_no_cut(tmp_path, length):
    content = wav_bytes().replace(b"data" + struct.pack("<I", 2000), b"data" + struct.pack("<I", length))
    (tmp_path / "piped.wav").write_bytes(content)
    assert read_audio(tmp_path / "piped.wav").shape == (1, 1000)


def test_writing_where_it_cannot_be_is_an_input_error_and_leaves_nothing(tmp_path):
    wav_S = tone(24_000, 0.1)
    for path, complaint in [
        (tmp_path / "x.xyz", "must end in"),
        (tmp_path / "absent" / "x.wav", "no folder"),
        (tmp_path, "must end in"),
    ]:
        with pytest.raises(InputError, match=complaint):
            write_audio(path, wav_S)
    with pytest.raises(InputError, match="sample rates"):
        write_audio(tmp_path / "x.opus", wav_S, rate=44_100)
    assert list(tmp_path.iterdir()) == []


def test_a_path_can_be_checked_before_there_is_anything_to_write(tmp_path):
    check_audio_path(tmp_path / "x.opus")
    for path in (tmp_path / "x.txt", tmp_path / "absent" / "x.wav"):
        with pytest.raises(InputError, match="cannot write"):
            check_audio_path(path)


def test_memory_does_not_grow_with_a_recording(tmp_path):
    sound_SC = np.random.default_rng(0).integers(-3000, 3000, (48_000, 2), np.int16)
    grown = []
    for seconds in (10, 40):
        path = tmp_path / f"{seconds}.wav"
        with audio_writer(path, 2, 48_000) as writer:
            for _ in range(seconds):
                writer.write(sound_SC.T / 32768)
        tracemalloc.start()
        samples = sum(frame_CS.shape[1] for frame_CS in open_audio(path).frames(1920))
        grown.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert samples == seconds * 24_000
    assert grown[1] < 1.1 * grown[0] < 5e6


def test_frames_are_those_of_the_whole(tmp_path):
    soundfile.write(tmp_path / "in.wav", np.random.default_rng(0).standard_normal((70_000, 2)) * 0.1, 44_100)
    wav_CS, frames = read_audio(tmp_path / "in.wav"), list(open_audio(tmp_path / "in.wav").frames(1920))
    assert all(frame_CS.shape == (2, 1920) for frame_CS in frames)
    whole_CS = np.concatenate(frames, axis=1)
    np.testing.assert_array_equal(whole_CS[:, : wav_CS.shape[1]], wav_CS)
    assert not whole_CS[:, wav_CS.shape[1] :].any() and whole_CS.shape[1] - wav_CS.shape[1] < 1920


def test_a_writer_that_is_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), audio_writer(tmp_path / "x.wav", 1) as writer:
        writer.write(np.zeros((1, 100)))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
