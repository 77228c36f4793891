from duologue.engine.subtitles import as_json, segments, srt, vtt
from duologue.types import Word


def words(text: str, start: float = 0.0, each: float = 0.4) -> list[Word]:
    return [Word(word, start + i * each, start + (i + 1) * each) for i, word in enumerate(text.split())]


def test_a_segment_ends_with_a_sentence_or_before_a_pause() -> None:
    spoken = words("How are you? I am") + words("fine", 3.0)
    assert [s.text for s in segments(spoken)] == ["How are you?", "I am", "fine"]
    assert [(round(s.start, 2), round(s.end, 2)) for s in segments(spoken)] == [(0, 1.2), (1.2, 2), (3, 3.4)]


def test_a_segment_is_not_too_long_to_read() -> None:
    spoken = words("word " * 100)
    assert all(s.end - s.start <= 6.001 and len(s.text) <= 84 for s in segments(spoken))
    assert " ".join(s.text for s in segments(spoken)) == " ".join(w.text for w in spoken)
    wide = words(("w" * 30 + " ") * 5, each=0.1)
    assert [len(s.words) for s in segments(wide)] == [2, 2, 1]


def test_srt() -> None:
    spoken = words("How are you?") + words("Fine", 3661.5)
    assert srt(spoken) == (
        "1\n00:00:00,000 --> 00:00:01,200\nHow are you?\n\n2\n01:01:01,500 --> 01:01:01,900\nFine\n"
    )
    assert srt([]) == ""


def test_vtt_has_no_markup() -> None:
    assert vtt(words("a<b> & c")) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.200\na&lt;b&gt; &amp; c\n"
    assert vtt([]) == "WEBVTT\n"


def test_json() -> None:
    assert as_json(words("one", 0.123456)) == [{"word": "one", "start": 0.12, "end": 0.52}]
