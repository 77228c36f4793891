"""Telephone corpora in the layouts in which they are distributed, made small."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.audio.files import read_audio, read_mono, resample, write_audio
from duologue.data.extend import BandReplication, Plain
from duologue.data.manifest import read_transcript
from duologue.data.phone import Phone, find_calls
from duologue.data.phone_layouts import plain
from duologue.data.runner import run
from duologue.data.sphere import read_sphere
from duologue.errors import InputError

SPEECH = sorted((Path(__file__).parents[2] / "duologue/assets/speech").glob("*.opus"))


def tone(hertz: float, seconds: float = 1.0, rate: int = 8000) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sphere(path: Path, wav_CS: np.ndarray, coding: str = "ULAW", rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav_CS.T, rate, format="NIST", subtype=coding)


def two_sides(path: Path) -> None:
    write_sphere(path, np.stack([tone(300), tone(800)]))


def loudest(wav_S: np.ndarray, rate: int = 24000) -> float:
    return float(np.abs(np.fft.rfft(wav_S)).argmax() * rate / len(wav_S))


@pytest.mark.parametrize("coding", ["ULAW", "PCM_16", "ALAW"])
def test_sphere_files_are_read(tmp_path: Path, coding: str) -> None:
    wav_CS = np.stack([tone(300), tone(800)])
    write_sphere(tmp_path / "x.sph", wav_CS, coding)
    read_CS, rate = read_sphere(tmp_path / "x.sph")
    assert rate == 8000 and read_CS.shape == (2, 8000)
    assert np.abs(read_CS - wav_CS).max() < 0.03


def test_what_is_no_whole_sphere_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.sph"
    two_sides(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5000])
    with pytest.raises(InputError, match="cut short: its header promises 5000 bytes more"):
        read_sphere(path)
    path.write_bytes(b"RIFF" + whole)
    with pytest.raises(InputError, match="no NIST SPHERE"):
        read_sphere(path)
    coded = whole.replace(b"sample_coding -s4 ulaw\n", b"sample_coding -s26 ulaw,embedded-shorten-v2.00\n", 1)
    assert coded != whole
    path.write_bytes(coded)
    with pytest.raises(InputError, match="install the program sph2pipe"):
        read_sphere(path)


def test_shorten_goes_through_sph2pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.sph"
    two_sides(path)
    soundfile.write(tmp_path / "answer.wav", np.stack([tone(300), tone(800)]).T, 8000)
    path.write_bytes(path.read_bytes().replace(b"-s4 ulaw\n", b"-s26 ulaw,embedded-shorten-v2.00\n", 1))
    program = tmp_path / "sph2pipe"
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "-f wav {path}" ] || exit 1\ncat {tmp_path}/answer.wav\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert subprocess.run(["sph2pipe", "x"], capture_output=True).returncode == 1
    wav_CS, rate = read_sphere(path)
    assert rate == 8000 and loudest(wav_CS[1], 8000) == 800


def fisher(root: Path) -> Path:
    for number in ("00001", "00002"):
        two_sides(root / f"fe_03_p1_sph1/audio/000/fe_03_{number}.sph")
    text = root / "fe_03_p1_tran/data/trans/000/fe_03_00001.txt"
    text.parent.mkdir(parents=True)
    lines = ["# fe_03_00001.sph", "# Transcribed at the LDC", ""]
    lines += ["0.10 0.40 A: (( hello )) [laughter] th- there", "", "0.50 0.90 B: hi", "0.9 1.0 B: [noise]"]
    text.write_text("\n".join(lines) + "\n")
    return root


def test_fisher(tmp_path: Path) -> None:
    rows = find_calls("fisher", fisher(tmp_path / "ldc"))
    done = run(Phone(tmp_path / "out", Plain()), rows, tmp_path / "manifest.jsonl").rows
    assert [row["id"] for row in done] == ["fe_03_00001", "fe_03_00002"]
    first = done[0]
    agent, user = ("A", "B") if first["agent_side"] == "A" else ("B", "A")
    said = {turn["role"]: turn["said"] for turn in first["turns"]}
    assert said == {
        "agent" if agent == "A" else "user": "hello there",
        "agent" if agent == "B" else "user": "hi",
    }
    wav_CS = read_audio(first["path"])
    assert wav_CS.shape == (2, 24000) and first["duration"] == 1.0
    hertz = {"A": 300, "B": 800}
    assert [loudest(wav_S) for wav_S in wav_CS] == [hertz[agent], hertz[user]]
    assert done[1]["turns"] == []  # a recording whose transcript is missing: `align` hears what is said
    sides = {Phone(tmp_path / "out", Plain(), seed)([rows[0]])[0]["agent_side"] for seed in range(8)}
    assert sides == {"A", "B"}


def test_switchboard_has_word_times(tmp_path: Path) -> None:
    two_sides(tmp_path / "swb1/sw02001.sph")
    home = tmp_path / "swb_ms98_transcriptions/20/2001"
    home.mkdir(parents=True)
    for side, words in (
        ("A", "0.0 0.1 [silence]|0.1 0.4 uh-huh|0.4 0.6 [laughter-yes]"),
        ("B", "0.0 0.5 [silence]|0.5 0.9 th[is]-"),
    ):
        lines = [f"sw2001{side}-ms98-a-0001 {word}" for word in words.split("|")]
        (home / f"sw2001{side}-ms98-a-word.text").write_text("\n".join(lines) + "\n")
        (home / f"sw2001{side}-ms98-a-trans.text").write_text(f"sw2001{side}-ms98-a-0001 0.0 1.0 not used\n")
    rows = find_calls("switchboard", tmp_path)
    (made,) = Phone(tmp_path / "out", Plain())(rows)
    words = read_transcript(made["path"]).words
    assert [(w.text, w.start, w.end) for w in words] == [("uh-huh", 0.1, 0.4), ("yes", 0.4, 0.6)]
    assert {w.speaker for w in words} == {"SPEAKER_MAIN" if made["agent_side"] == "A" else "SPEAKER_USER"}
    assert "turns" not in made


def test_candor(tmp_path: Path) -> None:
    home = tmp_path / "7ae0a6e8-0001"
    (home / "processed").mkdir(parents=True)
    (home / "transcription").mkdir()
    write_audio(
        home / "processed/7ae0a6e8-0001.wav", np.stack([tone(300, rate=24000), tone(800, rate=24000)])
    )
    (home / "processed/channel_map.json").write_text('{"L": "user-b", "R": "user-a"}')
    (home / "transcription/transcript_audiophile.csv").write_text(
        'turn_id,speaker,start,stop,utterance\n0,user-a,0.2,0.5,"Well, hello."\n1,user-b,0.6,0.9,Hi\n'
    )
    (made,) = Phone(tmp_path / "out", Plain())(find_calls("candor", tmp_path))
    left = "user-b" if made["agent_side"] == "A" else "user-a"
    assert {turn["said"]: turn["role"] for turn in made["turns"]} == {
        "Well, hello.": "agent" if left == "user-a" else "user", "Hi": "agent" if left == "user-b" else "user",
    }  # fmt: skip
    assert loudest(read_audio(made["path"])[0]) == (300 if left == "user-b" else 800)


def test_seamless_interaction_is_paired(tmp_path: Path) -> None:
    home = tmp_path / "improvised/train/0000/0005"
    home.mkdir(parents=True)
    for person, hertz in (("P0001", 300), ("P0002", 800)):
        stem = home / f"V00_S0809_I00000582_{person}"
        write_audio(stem.with_suffix(".wav"), tone(hertz, 1.0 if person == "P0001" else 0.9, 24000))
        words = [{"word": person, "start": 0.1, "end": 0.3, "score": 1.0}, {"word": "lost"}]
        stem.with_suffix(".json").write_text(json.dumps({"metadata:transcript": [{"words": words}]}))
    write_audio(home / "V00_S0809_I00000583_P0001.wav", tone(300, rate=24000))  # the other side is missing
    rows = find_calls("seamless", tmp_path)
    assert [row["id"] for row in rows] == ["V00_S0809_I00000582"]
    (made,) = Phone(tmp_path / "out", Plain())(rows)
    agent = "P0001" if made["agent_side"] == "A" else "P0002"
    assert [w.text for w in read_transcript(made["path"]).of("SPEAKER_MAIN")] == [agent]
    assert read_audio(made["path"]).shape == (2, 24000)


def test_a_bad_transcript_costs_its_call_alone(tmp_path: Path) -> None:
    root = fisher(tmp_path / "ldc")
    (root / "fe_03_p1_tran/data/trans/000/fe_03_00002.txt").write_text("0.1 0.2 hello\n")
    result = run(Phone(tmp_path / "out", Plain()), find_calls("fisher", root), tmp_path / "manifest.jsonl")
    assert [row["id"] for row in result.rows] == ["fe_03_00001"]
    assert "fe_03_00002.txt, line 1" in result.bad[0]["error"]
    with pytest.raises(InputError, match="no recordings here in the layout of switchboard"):
        find_calls("switchboard", tmp_path)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("(( I mean )) yeah [laughter] ~f b i", "I mean yeah f b i"),
        ("[laughter-right] [wanna/want to] th[at]- {uh} it's", "right want to it's"),
        ("<noise> __ -- uh-huh", "uh-huh"),
    ],
)
def test_plain_words(written: str, said: str) -> None:
    assert plain(written) == said


def spectral_distance(wav_S: np.ndarray, truth_S: np.ndarray, low: float, high: float) -> float:
    """Root mean square difference in dB of the spectra of 32 ms, where the truth is not silent."""
    spectra = []
    for one_S in (wav_S, truth_S):
        frames = np.lib.stride_tricks.sliding_window_view(one_S, 768)[::384] * np.hanning(768)
        spectra.append(20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-4))
    heard = spectra[1].max(1) > spectra[1].max() - 40
    band = slice(round(low / 31.25), round(high / 31.25))
    return float(np.sqrt(((spectra[0] - spectra[1])[heard, band] ** 2).mean()))


def test_extension_comes_nearer_to_the_sound_before_the_telephone() -> None:
    plain_db, extended_db = [], []
    for path in SPEECH[:4]:
        truth_S = read_mono(path)
        phone_S = resample(truth_S, 24000, 8000)
        outs = [extend(phone_S, 8000)[: len(truth_S)] for extend in (Plain(), BandReplication())]
        low = [spectral_distance(out_S, truth_S, 200, 3300) for out_S in outs]
        assert low[1] < low[0] + 0.5  # below 3.4 kHz nothing changes
        for out_S, found in zip(outs, (plain_db, extended_db), strict=True):
            found.append(spectral_distance(out_S, truth_S, 4500, 10000))
    assert np.mean(extended_db) < 0.8 * np.mean(plain_db)
    assert len(BandReplication()(tone(300, 0.01), 8000)) == 240
