import json
import sys
import types

import numpy as np
import pytest

from duologue.audio.activity import voiced_span
from duologue.audio.files import write_audio
from duologue.data.align import Align, AlignClips, WhisperAligner, join_pieces, snap, spread
from duologue.data.manifest import read_transcript
from duologue.data.runner import run
from duologue.data.voices import SAMPLE_RATE, write_clip
from duologue.errors import InputError
from duologue.types import AGENT, USER, Word

from .sounds import clip_folder, silence, spoken

TEXT = "well, it's a big red ball."


class Oracle:
    """An aligner that knows how the test sounds are made; it transcribes everything as "heard"."""

    def __init__(self):
        self.asked = []

    def known(self, wav_S, text):
        self.asked.append(text)
        start = voiced_span(wav_S)[0]
        return [Word(part, start + 0.3 * k, start + 0.3 * k + 0.25) for k, part in enumerate(text.split())]

    def unknown(self, wav_S):
        return [Word("heard", *voiced_span(wav_S))] if wav_S.any() else []


@pytest.fixture
def conversation(tmp_path):
    """A stereo file: the agent says TEXT at 1 s, the user "oh no" at 3.5 s."""
    wav_CS = np.zeros((2, 5 * SAMPLE_RATE), np.float32)
    for channel, at, text in ((0, 1.0, TEXT), (1, 3.5, "oh no")):
        wav_S, _ = spoken(text, edge=0)
        wav_CS[channel, round(at * SAMPLE_RATE) :][: len(wav_S)] = wav_S
    write_audio(tmp_path / "talk.wav", wav_CS)
    return {"path": str(tmp_path / "talk.wav"), "duration": 5.0}


def test_both_channels_are_transcribed_where_the_text_is_unknown(conversation):
    Align(Oracle())([conversation])
    words = read_transcript(conversation["path"]).words
    assert [(w.text, w.speaker) for w in words] == [("heard", AGENT), ("heard", USER)]
    assert words[0].start == pytest.approx(1.0, abs=0.011)
    assert words[1].start == pytest.approx(3.5, abs=0.011)


def test_known_turns_are_aligned_inside_their_times(conversation):
    oracle = Oracle()
    turns = [
        {"role": "agent", "said": TEXT, "start": 1.0, "end": 2.8},
        {"role": "user", "said": "oh no", "start": 3.5, "end": 4.1},
        {"role": "user", "said": "", "start": 4.2, "end": 4.3},
    ]
    Align(oracle)([conversation | {"turns": turns}])
    transcript = read_transcript(conversation["path"])
    assert [w.text for w in transcript.of(AGENT)] == TEXT.split()
    assert [w.start for w in transcript.of(USER)] == pytest.approx([3.5, 3.8], abs=0.011)
    Align(oracle)([conversation | {"turns": turns}])
    assert oracle.asked == [TEXT, "oh no"]  # a transcript that is there stays


def test_a_replaced_recording_is_aligned_again(tmp_path, conversation):
    Align(Oracle())([conversation])
    write_audio(conversation["path"], np.stack([np.concatenate([silence(2.0), spoken("hi", edge=0)[0]])] * 2))
    Align(Oracle())([conversation])
    assert read_transcript(conversation["path"]).words[0].start == pytest.approx(2.0, abs=0.011)
    by_hand = '{"alignments": [[" by hand", [0.1, 0.2], "SPEAKER_MAIN"]]}'
    (tmp_path / "talk.json").write_text(by_hand)
    Align(Oracle())([conversation])
    assert (tmp_path / "talk.json").read_text() == by_hand  # it is not ours to replace


def test_a_broken_file_in_the_middle_does_not_stop_the_rest(tmp_path, conversation):
    (tmp_path / "cut.wav").write_bytes((tmp_path / "talk.wav").read_bytes()[:5000])
    write_audio(tmp_path / "mono.wav", spoken("just me")[0])
    rows = [conversation, {"path": str(tmp_path / "cut.wav")}, {"path": str(tmp_path / "mono.wav")}]
    result = run(Align(Oracle()), rows, tmp_path / "out.jsonl")
    assert [bad["id"] for bad in result.bad] == [str(tmp_path / "cut.wav")]
    assert "cut short" in result.bad[0]["error"]
    assert not (tmp_path / "cut.json").exists()
    assert [w.speaker for w in read_transcript(tmp_path / "mono.wav").words] == [AGENT]


def test_clips_get_their_words_once(tmp_path):
    rows = clip_folder(tmp_path, [("a-0", "user", "ann", "one two")])
    place = tmp_path / "a-0.json"
    place.write_text(json.dumps({k: v for k, v in json.loads(place.read_text()).items() if k != "words"}))
    oracle = Oracle()
    AlignClips(oracle)(rows)
    assert json.loads(place.read_text())["words"] == [["one", 0.06, 0.31], ["two", 0.36, 0.61]]
    AlignClips(oracle)(rows)
    assert oracle.asked == ["one two"]
    write_clip(tmp_path, "b", silence(1), {"key": "b", "text": "", "role": "user"})
    assert AlignClips(oracle)([{"place": str(tmp_path), "file": "b.flac"}])[0]["words"] is None


def test_pieces_are_joined_into_words_as_written():
    pieces = [" I", "'m", " fine", ",", " -", " you", "?"]
    words = join_pieces([Word(text, k / 10, (k + 1) / 10) for k, text in enumerate(pieces)])
    assert [w.text for w in words] == ["I'm", "fine,", "-", "you?"]
    assert [(w.start, w.end) for w in words] == [(0.0, 0.2), (0.2, 0.4), (0.4, 0.5), (0.5, 0.7)]
    assert join_pieces([Word(" ...", 0, 1), Word(" so", 1, 2)]) == [Word("so", 1, 2)]


def test_edges_in_silence_move_to_the_sound():
    wav_S, words = spoken("one two")
    loose = [Word("one", 0.0, 0.36), Word("two", 0.36, words[1].end + 0.06), Word("gone", 0.0, 0.02)]
    tight = snap(loose, wav_S)
    for word, true in zip(tight, words, strict=False):
        assert word.start == pytest.approx(true.start, abs=0.011)
        assert word.end == pytest.approx(true.end, abs=0.011)
    assert tight[2] == loose[2]  # nothing is heard there: left as it was


def test_words_share_a_clip_by_their_letters():
    wav_S, _ = spoken("a bcd")
    words = spread("a bcd", wav_S)
    start, end = voiced_span(wav_S)
    assert words[0].end - words[0].start == pytest.approx((end - start) / 3)
    assert spread("", wav_S) == []
    assert voiced_span(silence(1)) == (0.0, 0.0)


@pytest.fixture
def whisper(monkeypatch):
    """WhisperAligner over a fake of the libraries; `plan` says at which tick each token of TEXT starts."""
    state = {"plans": [], "windows": []}

    class Model:
        is_multilingual = True

        def encode(self, mel):
            state["windows"].append(mel.shape[2])
            return mel

        def align(self, states, start_sequence, text_tokens, num_frames, *, median_filter_width):
            assert start_sequence == [1, 2]
            assert median_filter_width == 7
            ticks = state["plans"].pop(0)
            assert len(ticks) == len(text_tokens[0]) + 1
            ends = [*ticks[1:], num_frames // 2]
            path = [
                (k, t)
                for k, (a, b) in enumerate(zip(ticks, ends, strict=True))
                for t in range(a, max(b, a + 1))
            ]
            return [types.SimpleNamespace(alignments=path)]

    class WhisperModel:
        def __init__(self, folder, device, compute_type, cpu_threads):
            assert (device, compute_type) == ("cpu", "int8")
            self.model, self.hf_tokenizer = Model(), None

        def feature_extractor(self, wav):
            return np.zeros((80, len(wav) // 160 + 1), np.float32)

        def transcribe(self, wav, language, **asked):
            assert asked["word_timestamps"]
            word = types.SimpleNamespace(word=" hello", start=0.0, end=0.31)
            return iter([types.SimpleNamespace(words=[word]), types.SimpleNamespace(words=None)]), None

    class Tokenizer:
        eot, sot_sequence = 99, [1, 2]

        def __init__(self, hf, multilingual, task, language):
            assert language == "en"

        def encode(self, text):
            pieces = text.replace(",", " ,").replace(".", " .").split()
            return list(range(10, 10 + len(pieces)))

        def split_to_word_tokens(self, tokens):
            pieces = [" well", ",", " it's", " a", " big", " red", " ball", "."]
            assert tokens[-1] == self.eot
            return [*pieces, ""], [[t] for t in tokens]

    fakes = {
        "ctranslate2": types.SimpleNamespace(
            StorageView=types.SimpleNamespace(from_array=lambda array: array)
        ),
        "faster_whisper": types.SimpleNamespace(WhisperModel=WhisperModel),
        "faster_whisper.tokenizer": types.SimpleNamespace(Tokenizer=Tokenizer),
    }
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)
    return WhisperAligner("folder"), state


def ticks_of(words):
    """Whisper's view of the true times: each word starts where the one before ended; punctuation takes the gap."""
    starts = [round(w.start / 0.02) for w in words]
    return [
        0,
        round(words[0].end / 0.02),
        *starts[1:],
        round(words[-1].end / 0.02),
        round(words[-1].end / 0.02) + 2,
    ]


def test_forced_alignment_gives_the_words_as_written(whisper):
    aligner, state = whisper
    wav_S, true = spoken(TEXT)
    state["plans"] = [ticks_of(true)]
    words = aligner.known(wav_S, TEXT)
    assert [w.text for w in words] == TEXT.split()
    for word, right in zip(words, true, strict=True):
        assert word.start == pytest.approx(right.start, abs=0.021)
        assert word.end == pytest.approx(right.end, abs=0.021)
    assert state["windows"] == [194]  # a short window, of an even number of frames, was enough


def test_a_lost_alignment_is_tried_on_the_full_window_and_then_guessed(whisper):
    aligner, state = whisper
    wav_S, true = spoken(TEXT)
    lost = [0, 0, 0, 0, 1, 1, 1, 90, 92]
    for losses in (1, 2):  # a second of silence after it first, then all that the window holds
        state["windows"].clear()
        state["plans"] = [lost] * losses + [ticks_of(true)]
        assert aligner.known(wav_S, TEXT)[-1].start == pytest.approx(true[-1].start, abs=0.021)
        short, *longer = state["windows"]
        assert longer == [short + 100, 3000][:losses]
    short = ticks_of(true)
    short[3] = short[4]
    state["plans"] = [short] * 3
    words = aligner.known(wav_S, TEXT)
    assert words[2].text == "a"
    assert words[2].end - words[2].start == pytest.approx(0.02)
    state["plans"] = [lost] * 3
    assert aligner.known(wav_S, TEXT) == spread(TEXT, wav_S)


def test_unknown_text_is_transcribed_and_long_text_refused(whisper):
    aligner, _ = whisper
    assert aligner.unknown(spoken("hello")[0])[0] == Word("hello", 0.06, 0.31)
    assert aligner.known(silence(1), "") == []
    with pytest.raises(InputError, match="30 s at a time"):
        aligner.known(silence(31), TEXT)
