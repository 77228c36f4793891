"""Recordings whose header does not say what is there: read whole, or refused."""

import struct

import numpy as np
import pytest
import soundfile

from duologue.audio.files import open_audio, read_audio
from duologue.errors import InputError

RATE, SECONDS = 16_000, 1
SOUND = (np.sin(np.arange(RATE * SECONDS) * 0.1) * 9000).astype(np.int16)
FORMATS = {
    "wav": ("WAV", "PCM_16"), "rifx": ("WAV", "PCM_16"), "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "sph": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip


def whole(folder, name: str) -> bytes:
    path = folder / f"whole.{name}"
    container, encoding = FORMATS[name]
    endian = "BIG" if name == "rifx" else "FILE"
    soundfile.write(path, SOUND, RATE, encoding, endian, container)
    return path.read_bytes()


def seconds(folder, body: bytes, name: str = "x.bin") -> float:
    (folder / name).write_bytes(body)
    return read_audio(folder / name).shape[1] / 24_000


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_whole(tmp_path, name):
    assert seconds(tmp_path, whole(tmp_path, name)) == pytest.approx(SECONDS, abs=1e-3)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", FORMATS)
def test_no_format_is_shortened_in_silence(tmp_path, name, share):
    body = whole(tmp_path, name)
    cut = body[: int(len(body) * share)]
    with pytest.raises(InputError, match="cut short|damaged|not audio"):
        seconds(tmp_path, cut)
    assert open_audio(tmp_path / f"whole.{name}").seconds == SECONDS


def wav(riff: int, data: int, before: bytes = b"", after: bytes = b"", order: str = "<") -> bytes:
    """A wav file with these lengths in its header."""
    form = struct.pack(f"{order}4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    sound = SOUND.astype(f"{order}i2").tobytes()
    name = b"RIFF" if order == "<" else b"RIFX"
    return (
        name + struct.pack(f"{order}I", riff) + b"WAVE" + form + before + b"data" + struct.pack(f"{order}I", data)
        + sound + after
    )  # fmt: skip


JUNK = b"JUNK" + struct.pack("<I", 4024) + bytes(4024)
SIZE = 2 * len(SOUND)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("riff", "data"), [(0, 0), (8, 0), (36, 0), (4132, 4096), (0xFFFF_FFFF, 0xFFFF_FFFF), (36, 0x7FFF_F000)]
)
def test_a_length_that_was_never_filled_in_is_that_of_the_file(tmp_path, riff, data, order):
    (tmp_path / "x.wav").write_bytes(wav(riff, data, order=order))
    wav_CS = read_audio(tmp_path / "x.wav", RATE)
    np.testing.assert_allclose(wav_CS[0], SOUND / 32768, atol=1e-6)


def test_junk_before_the_sound_is_none(tmp_path):
    assert seconds(tmp_path, wav(4088, 0, before=JUNK)) == SECONDS


@pytest.mark.parametrize(
    "after",
    [
        b"LIST" + struct.pack("<I", 8) + b"INFOxxxx", b"LIST" + struct.pack("<I", 4000) + b"cut", b"\0\0\0",
        b"abcd" + struct.pack("<I", 4) + b"efgh" + b"ijkl" + struct.pack("<I", 3) + b"mno\0",
    ],
)  # fmt: skip
def test_what_follows_the_sound_is_not_heard(tmp_path, after):
    assert seconds(tmp_path, wav(36 + SIZE + len(after), SIZE, after=after)) == SECONDS


def patched(body: bytes, at: int, value: bytes) -> bytes:
    return body[:at] + value + body[at + len(value) :]


def test_other_headers_that_were_never_filled_in(tmp_path):
    rf64, w64 = whole(tmp_path, "rf64"), whole(tmp_path, "w64")
    ds64 = rf64.index(b"ds64") + 16
    assert seconds(tmp_path, patched(rf64, ds64, bytes(8))) == SECONDS
    data = w64.index(b"data\xf3") + 16
    for length in (0, 24, 5000):
        assert seconds(tmp_path, patched(w64, data, struct.pack("<Q", length))) == SECONDS
    au = whole(tmp_path, "au")
    for length in (0, 0xFFFF_FFFF, 100):
        assert seconds(tmp_path, patched(au, 8, struct.pack(">I", length))) == SECONDS
    aiff = whole(tmp_path, "aiff")
    ssnd = aiff.index(b"SSND") + 4
    for length in (0, 8):
        assert seconds(tmp_path, patched(aiff, ssnd, struct.pack(">I", length))) == SECONDS
    caf = whole(tmp_path, "caf")
    assert seconds(tmp_path, patched(caf, caf.index(b"data") + 4, b"\xff" * 8)) == SECONDS


@pytest.mark.parametrize("name", ["opus", "ogg"])
def test_ogg_streams_one_after_the_other_are_all_heard(tmp_path, name):
    body = whole(tmp_path, name)
    both = (tmp_path / "both").with_suffix(f".{name}")
    both.write_bytes(body * 3)
    once_CS, wav_CS = read_audio(tmp_path / f"whole.{name}"), read_audio(both)
    np.testing.assert_array_equal(wav_CS, np.concatenate([once_CS] * 3, axis=1))
    assert open_audio(both).seconds == 3 * SECONDS
    both.write_bytes(body * 2 + b"TAG" + bytes(125))
    assert read_audio(both).shape == (1, 2 * once_CS.shape[1])
    for broken in (
        body + body[:-10],
        body + body[: len(body) // 2],
        body[:200] + b"?" + body[201:],
        body[:300],
    ):
        both.write_bytes(broken)
        with pytest.raises(InputError, match="cut short|damaged|not audio"):
            read_audio(both)


def test_ogg_streams_that_do_not_fit_are_refused(tmp_path):
    soundfile.write(tmp_path / "two.opus", np.stack([SOUND] * 2, 1), RATE, "OPUS", format="OGG")
    with pytest.raises(InputError, match="from 1 to 2 channels"):
        seconds(tmp_path, whole(tmp_path, "opus") + (tmp_path / "two.opus").read_bytes())


def test_a_lost_page_in_the_middle_is_no_shorter_recording(tmp_path):
    long = np.random.default_rng(0).normal(0, 0.1, 20 * RATE)
    soundfile.write(tmp_path / "long.ogg", long, RATE, "VORBIS", format="OGG")
    body = (tmp_path / "long.ogg").read_bytes()
    pages = [at for at in range(len(body)) if body[at : at + 4] == b"OggS"]
    flipped = body[: pages[4] + 100] + bytes([body[pages[4] + 100] ^ 1]) + body[pages[4] + 101 :]
    for broken in (body[: pages[4]] + body[pages[5] :], flipped):
        with pytest.raises(InputError, match="wrong or missing"):
            seconds(tmp_path, broken)
    assert seconds(tmp_path, body) == 20


@pytest.mark.parametrize("name", ["flac", "mp3"])
def test_a_header_that_promises_weeks_costs_no_memory(tmp_path, name):
    body = bytearray(whole(tmp_path, name))
    if name == "flac":  # 36 bits of samples
        body[21] |= 0x0F
        body[22:26] = b"\xff\xff\xff\xf0"
    else:
        at = max(body.find(b"Xing"), body.find(b"Info"))
        assert at > 0
        body[at + 8 : at + 12] = struct.pack(">I", 70_000_000)
    with pytest.raises(InputError, match="cut short"):
        seconds(tmp_path, bytes(body))


def test_more_channels_than_any_conversation_has_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((10, 65)), RATE)
    with pytest.raises(InputError, match="65 channels"):
        read_audio(tmp_path / "x.wav")


def test_formats_whose_length_cannot_be_checked_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.voc", SOUND, RATE, format="VOC")
    with pytest.raises(InputError, match="VOC, which we do not read"):
        read_audio(tmp_path / "x.voc")
