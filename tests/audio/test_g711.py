import io

import numpy as np
import pytest
import soundfile

from duologue.audio.g711 import CUTOFF, G711, TAPS

SUBTYPE = {"ulaw": "ULAW", "alaw": "ALAW"}


def tone(hertz: float, seconds: float = 1.0, rate: int = 24_000) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_bytes_mean_what_libsndfile_says(law):
    raw = bytes(range(256))
    expected, _ = soundfile.read(
        io.BytesIO(raw), dtype="int16", format="RAW", subtype=SUBTYPE[law], samplerate=8000, channels=1
    )
    assert np.array_equal(G711(law)._value_256, expected)


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_samples_become_the_bytes_that_libsndfile_writes(law):
    codec, samples = G711(law), np.arange(-32768, 32767, 7, dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="RAW", subtype=SUBTYPE[law])
    theirs = codec._value_256[np.frombuffer(file.getvalue(), np.uint8)]
    ours = codec._value_256[codec._byte[np.searchsorted(codec._between, samples.astype(float))]]
    assert np.all(np.abs(ours - samples) <= np.abs(theirs - samples))  # never further from the sample


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_a_voice_comes_back_piece_by_piece(law):
    there, back = G711(law), G711(law)
    wav_S = tone(440)
    pieces = [back.read(there.write(piece_S)) for piece_S in np.split(wav_S, 125)]
    got_S, delay = np.concatenate(pieces), TAPS - 1
    assert got_S.dtype == np.float32
    assert got_S.size == wav_S.size
    wrong_S = got_S[delay + 500 :] - wav_S[500 : wav_S.size - delay]
    assert np.sqrt(np.mean(wrong_S**2)) < 0.01


def test_what_a_telephone_cannot_carry_is_gone():
    codec = G711("ulaw")
    assert 24_000 * CUTOFF < 4000
    bytes_S = codec.write(tone(6000))
    assert np.abs(codec._value_256[np.frombuffer(bytes_S, np.uint8)][100:]).max() < 32768 * 0.01
