"""Evaluations of papers against hand-computed cases, and each on a random tiny model."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.audio.files import read_mono, write_audio
from duologue.cli.app import main
from duologue.engine.transcribe import Transcript
from duologue.errors import InputError
from duologue.eval.abx import Item, abx_error, distance, read_items
from duologue.eval.artefacts import Thresholds, artefacts, entropies
from duologue.eval.bits import score_bits
from duologue.eval.codebooks import score_codebooks
from duologue.eval.codec import load_clips
from duologue.eval.likelihood import prompt, read_mmlu, read_pairs, spoken_score, text_log_probs
from duologue.eval.questions import is_answered, read_questions
from duologue.eval.recognition import read_utterances, score_recognition, word_time_errors
from duologue.eval.result import Result, read_result
from duologue.eval.speech import fit, stoi
from duologue.eval.turns import confirmed_words, turn_statistics
from duologue.lm.model import NO_INPUT
from duologue.types import Word
from duologue.weights import load

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))


@pytest.fixture(scope="module")
def tiny():
    model = load("tiny")
    assert model.lm and model.codec  # read here, not under inference mode
    return model


# --- turns -----------------------------------------------------------------------------------------------


def test_turns_by_hand() -> None:
    turns = turn_statistics([(0, 10), (10.1, 20), (24, 30)], [(25, 40), (50, 60)], 60)
    assert (turns.ipu, turns.pause, turns.gap, turns.overlap) == pytest.approx((51, 14, 0, 5))
    assert turns.total == pytest.approx(60)
    # A unit inside another does not end it: the gap runs from the furthest end.
    inside = turn_statistics([(0, 10)], [(2, 3), (12, 20)], 20)
    assert (inside.gap, inside.pause) == pytest.approx((6, 0))
    assert inside.total == pytest.approx(60)


def test_what_is_spoken_and_silent_adds_up_to_the_minute() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        sides = []
        for _ in range(2):
            edges = np.sort(rng.uniform(0, 60, 20)).reshape(-1, 2)
            sides.append([(float(a), float(b)) for a, b in edges])
        sides[0] += [(0.0, 0.5), (59.5, 60.0)]
        assert turn_statistics(*sides, 60).total == pytest.approx(60, abs=1e-6)


def test_turns_verb(tmp_path: Path) -> None:
    voice_S = read_mono(SPEECH[0])[:24_000]
    rest_S = np.zeros(24_000, np.float32)
    wav_CS = np.stack([np.concatenate([voice_S, rest_S]), np.concatenate([rest_S, voice_S])])
    write_audio(tmp_path / "x.wav", wav_CS)
    main(["eval", "turns", str(tmp_path), "--json", str(tmp_path / "turns.json")])
    result = read_result(tmp_path / "turns.json")
    assert result.value("overlap") == 0 and 20 < (result.value("IPU") or 0) <= 60


# --- likelihood ------------------------------------------------------------------------------------------


def test_the_spoken_score_is_the_weighted_likelihood_a_frame(tiny) -> None:
    codes_QT = torch.randint(0, 32, (8, 12), generator=torch.Generator().manual_seed(0))
    codes_BKT = torch.full((1, 17, 12), NO_INPUT)
    codes_BKT[0, 1:9] = codes_QT
    with torch.inference_mode():
        out = tiny.lm(codes_BKT)
    total = 0.0
    for q in range(8):
        for t in range(12):
            if out.audio_mask_BQT[0, q, t]:
                nll = -float(out.audio_BQTV[0, q, t].float().log_softmax(-1)[codes_QT[q, t]])
                total += nll * (100 if q == 0 else 1)
    assert spoken_score(tiny.lm, codes_QT) == pytest.approx(total / 12, rel=1e-4)
    assert spoken_score(tiny.lm, codes_QT, semantic=3) > 1.5 * total / 12  # two more that weigh 100


def test_text_log_probs_are_teacher_forced(tiny) -> None:
    tokens_1T = torch.tensor([[5, 9, 14, 7]])
    first = text_log_probs(tiny.lm, tokens_1T)
    changed = text_log_probs(tiny.lm, torch.tensor([[5, 9, 14, 8]]))
    assert torch.allclose(first[0, :3], changed[0, :3]) and first[0, 3] != changed[0, 3]


def test_zerospeech_and_listed_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "lexical/dev"
    folder.mkdir(parents=True)
    rows = ["id,voice,frequency,filename,word,correct"]
    for number, (voice, correct) in enumerate([("a", 1), ("a", 0), ("b", 1), ("b", 0), ("c", 1)]):
        write_audio(folder / f"f{number}.wav", read_mono(SPEECH[number])[:12_000])
        rows.append(f"7,{voice},oov,f{number},w,{correct}")
    (folder / "gold.csv").write_text("\n".join(rows) + "\n")
    pairs = read_pairs(folder)
    assert [(p.good.name, p.bad.name, p.kind) for p in pairs] == [
        ("f0.wav", "f1.wav", "oov"),
        ("f2.wav", "f3.wav", "oov"),
    ]
    main(["eval", "pairs", str(folder), "--model", "tiny", "--json", str(tmp_path / "p.json")])
    assert read_result(tmp_path / "p.json").value("right, oov") in (0, 50, 100)
    (tmp_path / "sc.jsonl").write_text('{"good": "lexical/dev/f0.wav", "bad": "none.wav"}\n')
    with pytest.raises(InputError, match=r"no file .*none\.wav"):
        read_pairs(tmp_path / "sc.jsonl")


def test_mmlu(tmp_path: Path) -> None:
    for split, rows in (
        ("dev", 'Is it?,no,yes,maybe,never,B\n"One, two?",3,4,5,6,A\n'),
        ("test", "What?,a,b,c,d,C\n"),
    ):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"high_school_{split}.csv").write_text(rows)
    dev, (question,) = read_mmlu(tmp_path, "dev")["high school"], read_mmlu(tmp_path, "test")["high school"]
    text = prompt(question, dev[:1])
    assert text.endswith("What?\nA. a\nB. b\nC. c\nD. d\nAnswer:") and "about high school" in text
    assert "Is it?\nA. no\nB. yes\nC. maybe\nD. never\nAnswer: B\n" in text and question.answer == 2
    main(["eval", "mmlu", str(tmp_path), "--model", "tiny", "--json", str(tmp_path / "m.json")])
    assert read_result(tmp_path / "m.json").value("right") in (0, 100)
    (tmp_path / "test/high_school_test.csv").write_text("What?,a,b,c,d,E\n")
    with pytest.raises(InputError, match="row 1"):
        read_mmlu(tmp_path, "test")


# --- spoken questions ------------------------------------------------------------------------------------


def test_an_answer_is_words_in_a_row(tmp_path: Path) -> None:
    assert is_answered("It is Paris, of course.", ("London", "paris"))
    assert is_answered("In 1969.", ("nineteen sixty-nine",))
    assert not is_answered("Parish churches", ("Paris",)) and not is_answered("", ("",))
    write_audio(tmp_path / "q.wav", read_mono(SPEECH[-1])[:24_000])
    (tmp_path / "q.jsonl").write_text('{"question": "q.wav", "answers": "Paris"}\n')
    assert read_questions(tmp_path / "q.jsonl")[0].answers == ("Paris",)
    main(
        [
            "eval",
            "questions",
            str(tmp_path / "q.jsonl"),
            "--model",
            "tiny",
            "--json",
            str(tmp_path / "q.json"),
        ]
    )
    assert read_result(tmp_path / "q.json").value("right, by text") == 0


# --- abx -------------------------------------------------------------------------------------------------


def test_distance_by_hand() -> None:
    x, y = np.array([[1.0, 0]]), np.array([[0.0, 1]])
    assert distance(x, x) == pytest.approx(0, abs=1e-6) and distance(x, y) == pytest.approx(0.5)
    assert distance(x, -x) == pytest.approx(1)
    # Warping: the same two sounds at another pace are the same.
    assert distance(np.concatenate([x, x, y]), np.concatenate([x, y, y])) == pytest.approx(0, abs=1e-6)


def test_abx_by_hand(tmp_path: Path) -> None:
    angle = {"a1": 0.0, "a2": 0.4, "b1": 0.3, "b2": 2.0}
    items = [Item(name, 0, 0.08, name[0], ("s", "t"), "speaker") for name in angle]
    error, triples = abx_error(
        items, lambda name: np.array([[math.cos(angle[name]), math.sin(angle[name])]]), 12.5
    )
    # a against b: X=a1 prefers b1 (0.3) to a2 (0.4): wrong, not b2; X=a2: b1 (0.1) before a1 (0.4): wrong, not b2: 1/2.
    # b against a: X=b1: a1 (0.3), a2 (0.1) before b2 (1.7): both wrong; X=b2: b1 1.7, a1 2.0, a2 1.6: one of two wrong.
    assert triples == 8 and error == pytest.approx((0.5 + 0.75) / 2)
    other = [Item(i.file, i.start, i.end, i.phone, i.context, i.file) for i in items]
    with pytest.raises(InputError, match="nothing to compare"):
        abx_error(other, lambda name: np.ones((1, 2)), 12.5)
    path = tmp_path / "x.item"
    path.write_text(
        "#file onset offset #phone prev-phone next-phone speaker\n84-1 0.2 0.4 AA T S 84\n84-1 0.2\n"
    )
    with pytest.raises(InputError, match="line 3"):
        read_items(path)


def test_abx_verb(tmp_path: Path) -> None:
    lines = ["#file onset offset #phone prev next speaker"]
    for number, path in enumerate(SPEECH[:2]):
        write_audio(tmp_path / f"f{number}.wav", read_mono(path)[:36_000])
        lines += [f"f{number} {0.1 + 0.3 * k} {0.35 + 0.3 * k} {'AB'[k % 2]} s t one" for k in range(4)]
    (tmp_path / "x.item").write_text("\n".join(lines) + "\n")
    main(
        [
            "eval",
            "abx",
            str(tmp_path / "x.item"),
            str(tmp_path),
            "--model",
            "tiny",
            "--json",
            str(tmp_path / "a.json"),
        ]
    )
    assert 0 <= (read_result(tmp_path / "a.json").value("error within speakers") or 0) <= 100


# --- artefacts -------------------------------------------------------------------------------------------


def test_entropy_over_a_window_by_hand() -> None:
    found = entropies(np.array([[1, 2, 1, 2, 3, 3, 3, 3]]), window=4)[0]
    assert found[:4] == pytest.approx([0, math.log(2), 0.6365, math.log(2)], abs=1e-3)
    assert found[7] == pytest.approx(0) and found[4] == pytest.approx(1.0397, abs=1e-3)


def test_each_artefact_has_its_label() -> None:
    rng = np.random.default_rng(0)
    frames = 128

    def said(text: np.ndarray, audio: np.ndarray) -> str:
        (name,) = artefacts(np.concatenate([text[None], audio]))
        return name

    still, wild = np.zeros((8, frames), int), rng.integers(0, 2000, (8, frames))
    quiet_text, words = np.full(frames, 3), rng.integers(0, 2000, frames)
    assert said(quiet_text, still) == "silence" and said(quiet_text, wild) == "background noise"
    assert said(words, wild) == "gibberish"
    assert said(np.tile([3, 3, 3, 7], 32), wild) == "repetitive"
    speech = np.concatenate([np.full(64, 3), rng.integers(0, 12, 64)])
    assert said(speech, wild) == "none"
    assert said(speech, np.concatenate([wild[:4], still[:4]])) == "noisy"
    assert Thresholds().gibberish == 3.5


def test_artefacts_verb(tmp_path: Path) -> None:
    main(["eval", "artefacts", "--model", "tiny", "--kinds", "fp32", "q4", "--samples", "2", "--frames", "128",
          "--json", str(tmp_path / "a.json")])  # fmt: skip
    found = read_result(tmp_path / "a.json")
    for kind in ("fp32", "q4"):
        assert sum(f.value or 0 for f in found.figures if f.name.startswith(kind)) == pytest.approx(100)


# --- bits, codebooks, words ------------------------------------------------------------------------------


def test_bits_of_codebook_0_by_hand(tiny) -> None:
    generator = torch.Generator().manual_seed(1)
    codes_BKT = torch.randint(4, 32, (1, 17, 20), generator=generator)
    codes_BKT[0, 1, 15:] = NO_INPUT  # the end of the recording
    result = Result("bits", "tiny")
    score_bits(tiny.lm, [codes_BKT], 12.5, result)
    rates = []
    for text in (codes_BKT[:, :1], torch.full((1, 1, 20), NO_INPUT)):
        given = torch.cat([text, codes_BKT[:, 1:]], 1)
        with torch.inference_mode():
            logits_TV = tiny.lm(given).audio_BQTV[0, 0].float()
        nats = [-float(logits_TV[t].log_softmax(-1)[codes_BKT[0, 1, t]]) for t in range(15)]
        rates.append(12.5 * np.mean(nats) / math.log(2))
    assert result.value("codebook 0, with the text row") == pytest.approx(rates[0], rel=1e-4)
    assert result.value("codebook 0, without") == pytest.approx(rates[1], rel=1e-4)
    assert result.value("saved by the text row") == pytest.approx(100 * (1 - rates[0] / rates[1]), rel=1e-3)
    with pytest.raises(InputError, match="no sound of the agent"):
        score_bits(tiny.lm, [torch.full((1, 17, 4), NO_INPUT)], 12.5, result)


def test_confirmed_words_stand_in_order() -> None:
    assert confirmed_words("The capital of Poland is Warsaw.", "the capital of holland is warsaw") == 5
    assert confirmed_words("one two three", "three one") == 1
    assert confirmed_words("", "hello") == 0


def test_every_number_of_codebooks_is_judged(tiny) -> None:
    clips = load_clips(SPEECH[0].parent, 24_000, limit=1)
    result = Result("codebooks", "tiny")
    score_codebooks(tiny.codec, clips, {"stoi": stoi}, result, asr=lambda wav_S: clips[0].text or "")
    assert [f.name for f in result.figures if "stoi" in f.name] == [
        f"{n} codebooks: stoi" for n in range(1, 9)
    ]
    assert result.value("3 codebooks: WER") == 0
    whole_1S = tiny.codec.decode(tiny.codec.encode(torch.from_numpy(clips[0].wav_S)[None]))
    expected = stoi(clips[0].wav_S, fit(whole_1S[0].numpy(), len(clips[0].wav_S)))
    assert result.value("8 codebooks: stoi") == pytest.approx(expected)


# --- recognition -----------------------------------------------------------------------------------------


def librispeech(root: Path) -> Path:
    chapter = root / "dev-clean/84/121123"
    chapter.mkdir(parents=True)
    for number in range(2):
        write_audio(chapter / f"84-121123-000{number}.flac", read_mono(SPEECH[number])[:24_000])
    (chapter / "84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN TWENTY\n"
    )
    return root


def test_recognition_by_hand(tmp_path: Path) -> None:
    utterances = read_utterances(librispeech(tmp_path))
    assert [(u.path.stem, u.text) for u in utterances][1] == ("84-121123-0001", "BUT IN TWENTY")
    result = Result("recognition", "x")
    score_recognition(
        utterances, [Transcript("a", "Go, do you here?"), Transcript("b", "But in 20.")], result
    )
    assert result.value("word errors") == pytest.approx(100 / 7)
    truth = [Word("Go", 0.5, 0.7), Word("on", 1.0, 1.2), Word("Go", 3.0, 3.2)]
    heard = [Word("go", 0.6, 0.7), Word("an", 1.0, 1.2), Word("go", 3.3, 3.4)]
    assert word_time_errors(truth, heard) == pytest.approx([0.1, 0.3])
    assert word_time_errors(truth, []) == []
    (tmp_path / "dev-clean/84/121123/84-121123-0001.flac").unlink()
    with pytest.raises(InputError, match="line 2"):
        read_utterances(tmp_path)


def test_recognition_verb(tmp_path: Path) -> None:
    write_audio(tmp_path / "long.wav", read_mono(SPEECH[0])[:12_000])
    (tmp_path / "long.json").write_text('{"text": "go now", "words": [["go", 0.1, 0.2], ["now", 0.3, 0.4]]}')
    assert len(read_utterances(tmp_path)[0].words) == 2
    main(["eval", "recognition", str(tmp_path), "--model", "nano", "--json", str(tmp_path / "r.json")])
    assert 0 <= (read_result(tmp_path / "r.json").value("word errors") or 0) <= 200
