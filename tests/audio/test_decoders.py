"""Formats that libsndfile does not read, through PyAV."""

import builtins
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import open_audio, read_audio
from duologue.errors import InputError

av = pytest.importorskip("av")
RATE, SECONDS = 48_000, 2.0
FORMATS = {
    "m4a": ("aac", "mp4", {}), "quick.m4a": ("aac", "mp4", {"movflags": "faststart"}), "aac": ("aac", "adts", {}),
    "webm": ("libopus", "webm", {}), "mka": ("flac", "matroska", {}), "wma": ("wmav2", "asf", {}),
    "oga": ("flac", "ogg", {}), "alac.m4a": ("alac", "mp4", {}),
}  # fmt: skip


@cache
def encoded(name: str) -> bytes:
    """Two seconds of two tones, one in each channel."""
    codec, container, options = FORMATS[name]
    time_S = np.arange(int(RATE * SECONDS)) / RATE
    wav_CS = np.stack([0.3 * np.sin(2 * np.pi * f * time_S) for f in (300, 900)]).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound"
        _encode(path, wav_CS, codec, container, options)
        return path.read_bytes()


def _encode(path: Path, wav_CS: np.ndarray, codec: str, container: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=RATE, layout="stereo")
        stream.bit_rate = 96_000
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        as_asked = av.AudioResampler(stream.format.name, "stereo", RATE, frame_size=size)
        frame = av.AudioFrame.from_ndarray(wav_CS, "fltp", "stereo")
        frame.sample_rate, frame.pts = RATE, 0
        for piece in [*as_asked.resample(frame), *as_asked.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_read_through_pyav(tmp_path, name):
    (tmp_path / name).write_bytes(encoded(name))
    wav_CS = read_audio(tmp_path / name)
    assert wav_CS.dtype == np.float32
    assert wav_CS.shape[0] == 2 and wav_CS.shape[1] / 24_000 == pytest.approx(SECONDS, abs=0.1)
    spectrum = np.abs(np.fft.rfft(wav_CS[:, 12_000:36_000]))
    assert spectrum.argmax(axis=1).tolist() == [300, 900]
    assert np.abs(wav_CS[:, 12_000:36_000]).max() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", FORMATS)
def test_none_of_them_is_shortened_in_silence(tmp_path, name, share):
    body = encoded(name)
    (tmp_path / name).write_bytes(body[: int(share * len(body))])
    with pytest.raises(InputError, match="cut short|damaged"):
        read_audio(tmp_path / name)


def test_where_pyav_is_missing_the_line_says_so(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(encoded("m4a"))
    there = builtins.__import__

    def without(name, *rest):
        if name == "av" or name.startswith("av."):
            raise ImportError
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'duologue\[formats\]'"):
        open_audio(tmp_path / "a.m4a")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_opens_no_other_file(tmp_path, kind):
    (tmp_path / "secret.m4a").write_bytes(encoded("m4a"))
    for path in ("secret.m4a", str(tmp_path / "secret.m4a"), "http://127.0.0.1:9/x.m4a"):
        (tmp_path / "list.m4a").write_text(PLAYLISTS[kind].format(path))
        with pytest.raises(InputError, match="not audio"):
            read_audio(tmp_path / "list.m4a")


def test_pictures_alone_are_no_recording(tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        file.mux(stream.encode(None))
    with pytest.raises(InputError, match="no sound"):
        read_audio(tmp_path / "film.mp4")
