"""Measures of speech: words brought to one spelling, scores that fall when speech is spoilt, Opus's size."""

import numpy as np
import pytest

from duologue.errors import InputError
from duologue.eval import speech


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("What's 4+10?", "what's four plus ten"),
        ("10-8 is 2, and 3 - 5 = -2.", "ten minus eight is two and three minus five equals minus two"),
        ("10-15 minutes", "ten to fifteen minutes"),
        ("1-2-3-4.", "one two three four"),
        ("12x12 = 144; 8/2", "twelve times twelve equals one hundred forty four eight divided by two"),
        ("It costs $5.50, or £1.", "it costs five dollars and fifty cents or one pound"),
        ("In 1969, 105 people", "in nineteen sixty nine one hundred five people"),
        ("one hundred and five and 1,250", "one hundred five and one thousand two hundred fifty"),
        ("the 21st of the 1990s", "the twenty first of the nineteen nineties"),
        ("at 7:30 p.m. or 9:05, not 8:00", "at seven thirty p m or nine oh five not eight o'clock"),
        ("20°C, 5km, 90 mph", "twenty degrees celsius five kilometers ninety miles per hour"),
        ("½ and 3/4, 3.14, 100%", "one half and three quarters three point one four one hundred percent"),
        ("I am up at 7am, seven pm.", "i am up at seven a m seven p m"),
        ("OK, Dr. O’Neil — uh-huh!", "okay doctor o'neil uh huh"),
        ("", ""),
    ],
)
def test_plain_words(written: str, spoken: str):
    assert speech.plain_words(written) == spoken
    assert speech.plain_words(spoken) == spoken


def test_word_error_rate_counts_words_not_spelling():
    pytest.importorskip("jiwer")
    assert speech.word_error_rate(["four plus ten."], ["4+10"]) == 0
    # One wrong, one missing and one added among eight words, however they are spread over the texts.
    texts = ["the cat sat down", "a b c d"]
    assert speech.word_error_rate(texts, ["the bat sat", "a b c d e"]) == pytest.approx(3 / 8)
    assert speech.word_error_rate(["hello"], [""]) == 1
    with pytest.raises(InputError, match="no text"):
        speech.word_error_rate(["..."], ["hello"])


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """A sound with the pace of syllables: harmonics of a gliding pitch under a four-hertz envelope."""
    time = np.arange(round(seconds * 24_000)) / 24_000
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / 24_000
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).normal(size=time.size)
    return (0.1 * (1 + np.sin(2 * np.pi * 4 * time)) * (voice + 0.1 * noise)).astype(np.float32)


def spoil(wav_S: np.ndarray, level: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=wav_S.size)
    return (wav_S + level * noise).clip(-1, 1).astype(np.float32)


def test_opus_is_six_kilobits_and_in_step():
    wav_S = babble(3.0)
    decoded_S, bits = speech.opus_6k(wav_S)
    assert decoded_S.shape == wav_S.shape
    assert 4.5 < bits / 3.0 / 1000 < 7.5
    lags = np.correlate(np.pad(decoded_S, 200), wav_S, "valid")
    assert abs(lags.argmax() - 200) <= 2


@pytest.mark.filterwarnings("ignore")
def test_stoi_falls_as_noise_grows():
    pytest.importorskip("pystoi")
    wav_S = babble(2.0)
    scores = [speech.stoi(wav_S, spoil(wav_S, level)) or 0 for level in (0, 0.02, 0.2, 1)]
    assert scores[0] == pytest.approx(1.0)
    assert scores == sorted(scores, reverse=True)
    assert scores[3] < 0.7
    assert speech.stoi(babble(0.2), babble(0.2)) is None


@pytest.mark.filterwarnings("ignore")
def test_pesq_falls_as_noise_grows_and_knows_silence():
    pytest.importorskip("pesq")
    wav_S = babble(2.0)
    scores = [speech.pesq(wav_S, spoil(wav_S, level)) or 0 for level in (0, 0.02, 0.3)]
    assert scores[0] > 4.5
    assert scores == sorted(scores, reverse=True)
    assert speech.pesq(np.zeros_like(wav_S), wav_S) is None


def test_dnsmos_prefers_less_noise_and_takes_any_length():
    pytest.importorskip("speechmos")
    pytest.importorskip("onnxruntime")
    dnsmos = speech.Dnsmos()
    wav_S = babble(1.0)
    clean = dnsmos(wav_S)
    assert 1 <= dnsmos(2 * spoil(wav_S, 0.5)) < clean <= 5
    # Short waveforms are repeated until they fill 9 s; where they are cut differs a little with the threads.
    assert dnsmos(np.tile(wav_S, 16)) == pytest.approx(clean, rel=0.03)


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pystoi", None)
    with pytest.raises(InputError, match=r"pystoi is missing: pip install 'duologue\[eval\]'"):
        speech.stoi(babble(1), babble(1))


def test_recognizer_wants_a_model(tmp_path):
    with pytest.raises(InputError, match="model.bin"):
        speech.Recognizer(tmp_path)
