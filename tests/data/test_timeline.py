import random

import numpy as np
import pytest

from duologue.audio.framing import FRAME_SIZE
from duologue.data.manifest import CONTINUATION
from duologue.data.options import Timing
from duologue.data.timeline import Exchange, Utterance, lay_out, pause_points
from duologue.data.voices import SAMPLE_RATE
from duologue.types import AGENT, USER

from .sounds import utterance

QUESTION = "what is the capital of france"
ANSWER = "paris is the capital of france and it lies on the seine where people like to walk along the river"


def exchanges(count, **changes):
    plain = {"question": utterance(QUESTION), "answer": utterance(ANSWER)}
    return [Exchange(**(plain | {"item": str(n)} | changes)) for n in range(count)]


def lines(count, timing=None, seed=0, **changes):
    return [
        lay_out(exchanges(4, **changes), timing or Timing(), random.Random(seed + n)) for n in range(count)
    ]


def of(line, *kinds):
    return [placed for placed in sorted(line.placed, key=lambda p: p.start) if placed.kind in kinds]


def test_answers_come_320_ms_after_the_question_as_heard():
    waits = []
    for line in lines(60):
        for question, answer in zip(of(line, "question"), of(line, "answer"), strict=True):
            waits.append(answer.audible[0] - question.audible[1])
            assert round(answer.start * SAMPLE_RATE) % FRAME_SIZE == 0
    assert 0.31 < np.mean(waits) < 0.33
    assert min(waits) >= 0.28 - 1e-6
    assert max(waits) <= 0.36 + 1e-6
    assert np.std(waits) > 0.01  # the user's sounds start anywhere in a frame


def test_a_late_answer_comes_after_any_pause():
    for line in lines(20, late=True):
        for question, answer in zip(of(line, "question"), of(line, "answer"), strict=True):
            assert 1.46 - 1e-6 <= answer.audible[0] - question.audible[1] <= 1.54 + 1e-6
    assert Timing().late > Timing().pause[1] + 0.2


def test_a_pause_lasts_as_asked_and_is_not_answered():
    gaps = []
    for line in lines(60, pause_at=utterance(QUESTION).words[2].end + 0.02):
        for first, second, answer in zip(
            *(of(line, kind) for kind in ("pause", "question", "answer")), strict=True
        ):
            gaps.append(second.audible[0] - first.audible[1])
            assert answer.audible[0] > second.audible[1]
            assert first.utterance.text + " " + second.utterance.text == QUESTION
    assert min(gaps) >= 0.3 - 0.02
    assert max(gaps) <= 1.2 + 0.02
    assert 0.6 < np.mean(gaps) < 0.9


def test_an_interrupted_agent_falls_silent_and_answers_the_new_question():
    waits = []
    for line in lines(40, barges_in=True, backchannels=(utterance("right"),)):
        assert len(of(line, "cut")) == 3
        assert all(backchannel.start > of(line, "answer")[0].start for backchannel in of(line, "backchannel"))
        questions, cuts = of(line, "question"), of(line, "cut")
        for cut, question in zip(cuts, questions[1:], strict=True):
            end = cut.start + cut.utterance.seconds
            waits.append(end - question.audible[0])
            assert question.audible[0] - cut.audible[0] >= Timing().least_heard - 1e-6
            assert all(word.start < cut.utterance.seconds for word in cut.utterance.words)
            assert len(cut.utterance.words) < len(ANSWER.split())
        (last,) = of(line, "answer")
        assert last.audible[0] - questions[-1].audible[1] < 0.37
        left_S = line.channels()[0]
        silent = left_S[round(end * SAMPLE_RATE) : round(last.start * SAMPLE_RATE)]
        assert silent.size
        assert not silent.any()
    assert max(waits) <= 0.32 + 1e-6
    assert 0.26 < np.mean(waits) < 0.30


def test_an_interrupted_agent_had_more_to_say():
    for line in lines(10, barges_in=True):
        transcript, cuts = line.transcript(), of(line, "cut")
        assert transcript.extra["cuts"] == pytest.approx([cut.audible[1] for cut in cuts], abs=1e-3)
        for cut in cuts:
            said = len(cut.utterance.words)
            assert [w.text for w in cut.utterance.words] == ANSWER.split()[:said]
            continuation = cut.utterance.continuation
            assert [w.text for w in continuation] == ANSWER.split()[said : said + len(continuation)]
            assert 0 < len(continuation) <= 4
            assert all(
                cut.utterance.seconds - 0.2 < w.start < cut.utterance.seconds + 1 for w in continuation
            )
        assert len(transcript.of(CONTINUATION)) == sum(len(cut.utterance.continuation) for cut in cuts)
    assert not lines(1)[0].transcript().extra


def test_backchannels_do_not_stop_the_agent():
    backchannels = (utterance("mm-hm"), utterance("right"))
    count = 0
    for line in lines(40, backchannels=backchannels):
        answers = of(line, "answer")
        assert len(answers) == 4
        for backchannel in of(line, "backchannel"):
            count += 1
            over = [
                a
                for a in answers
                if a.audible[0] < backchannel.audible[0] and backchannel.audible[1] < a.audible[1]
            ]
            assert len(over) == 1
            assert len(over[0].utterance.words) == len(ANSWER.split())
    assert count > 200


def test_long_silences_and_noise_are_left_free():
    for before in ("silence", "noise"):
        for line in lines(20, before=before):
            spans = line.noises if before == "noise" else line.silences
            assert len(spans) == 4
            for start, end in spans:
                assert 4 <= end - start <= 12
                assert not any(
                    p.start < end - 0.07 and p.start + p.utterance.seconds > start + 0.07 for p in line.placed
                )


def test_what_does_not_fit_becomes_plain():
    short = utterance("yes")
    for line in lines(5, barges_in=True, answer=short, backchannels=(utterance("right"),)):
        assert not of(line, "cut", "backchannel")
        assert len(of(line, "answer")) == 4


def test_channels_and_transcript_agree():
    line = lay_out(exchanges(2), Timing(), random.Random(1))
    wav_CS = line.channels()
    assert wav_CS.shape[1] % FRAME_SIZE == 0
    assert wav_CS.shape[1] == round(line.seconds * SAMPLE_RATE)
    transcript = line.transcript()
    for speaker, channel in ((AGENT, 0), (USER, 1)):
        words = transcript.of(speaker)
        assert " ".join(w.text for w in words) == " ".join([[ANSWER, QUESTION][channel]] * 2)
        for word in words:
            inside = wav_CS[channel, round(word.start * SAMPLE_RATE) : round(word.end * SAMPLE_RATE)]
            assert np.sqrt(np.mean(inside**2)) > 0.05
    assert [turn["role"] for turn in line.turns()] == ["user", "agent", "user", "agent"]


def test_pause_points_are_quiet_and_never_after_a_complete_phrasing():
    question = utterance("stop talking please now")
    points = pause_points(question, {"stop", "stop talking"}, str.lower)
    assert len(points) == 1
    assert question.words[2].end <= points[0] <= question.words[3].start
    assert pause_points(utterance("stop"), set(), str.lower) == []


def test_cutting_an_utterance_keeps_its_parts():
    whole = utterance(QUESTION)
    at = whole.words[1].end + 0.02
    first, second = whole.before(at), whole.after(at)
    assert len(first.wav_S) + len(second.wav_S) == len(whole.wav_S)
    assert (first.text, second.text) == ("what is", "the capital of france")
    assert second.words[0].start == pytest.approx(whole.words[2].start - at)
    assert first.wav_S[-1] == 0


def test_words_are_guessed_where_nobody_aligned_them():
    known = utterance(QUESTION)
    guess = Utterance.of(QUESTION, known.wav_S)
    assert [w.text for w in guess.words] == QUESTION.split()
    assert guess.words[0].start == known.audible[0]
    assert guess.words[-1].end == pytest.approx(known.audible[1])
