from dataclasses import fields, replace

import numpy as np
import pytest

from duologue.audio.files import read_audio, write_audio
from duologue.data.augment import (
    NOISES,
    Augment,
    augment_user,
    change_speed,
    convolve,
    echo,
    noise,
    room,
    telephone,
)
from duologue.data.manifest import Transcript, read_transcript, write_transcript
from duologue.data.options import Recipe
from duologue.data.runner import run
from duologue.data.voices import SAMPLE_RATE
from duologue.types import Word

from .sounds import buzz, silence

CHANCES = ("gain", "noise", "noise_gap", "echo", "room", "telephone", "floor", "offset")
NEVER = Recipe(**dict.fromkeys(CHANCES, 0.0))


def rms(wav_S):
    return float(np.sqrt(np.mean(wav_S.astype(np.float64) ** 2)))


def rng():
    return np.random.default_rng(3)


def speech():
    return np.concatenate([silence(0.5), buzz(1.0), silence(0.5)]), np.concatenate([buzz(1.0), silence(1.0)])


def test_a_recipe_of_nothing_changes_nothing():
    user_S, agent_S = speech()
    np.testing.assert_array_equal(augment_user(user_S, agent_S, NEVER, rng()), user_S)


@pytest.mark.parametrize("chance", [c for c in CHANCES if c != "noise_gap"])
def test_each_step_changes_the_sound_and_keeps_its_length(chance):
    user_S, agent_S = speech()
    out_S = augment_user(user_S, agent_S, replace(NEVER, **{chance: 1.0}), rng())
    assert out_S.shape == user_S.shape
    assert out_S.dtype == np.float32
    assert np.abs(out_S).max() <= 1
    assert not np.array_equal(out_S, user_S)


def test_the_defaults_are_the_papers():
    recipe = Recipe()
    assert (recipe.gain, recipe.gain_db) == (0.5, (-24, 15))
    assert (recipe.noise, recipe.noise_db, recipe.noise_gap) == (0.3, (-30, 6), 0.5)
    assert (recipe.echo, recipe.echo_scale, recipe.echo_delay) == (0.3, (0, 0.2), (0.1, 0.5))
    assert {f.name for f in fields(Recipe)} >= set(CHANCES)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_has_the_level_and_colour_asked_for(kind):
    wav_S = noise(kind, SAMPLE_RATE, rng(), [buzz(0.3), buzz(0.5, 220)])
    assert wav_S.shape == (SAMPLE_RATE,)
    assert rms(wav_S) == pytest.approx(1, abs=1e-3)
    power_F = np.abs(np.fft.rfft(wav_S)) ** 2
    ratio = power_F[100:1000].sum() / power_F[4000:].sum()
    expected = {"white": (0.05, 0.3), "pink": (0.8, 3), "brown": (20, 1000)}
    if kind in expected:
        assert expected[kind][0] < ratio < expected[kind][1]


def test_noise_is_as_loud_as_asked_relative_to_the_speech():
    user_S, agent_S = speech()
    recipe = replace(NEVER, noise=1.0, noise_db=(-10.0, -10.0))
    added_S = augment_user(user_S, agent_S, recipe, rng()) - user_S
    level = rms(user_S[np.abs(user_S) > 0.01])
    assert 20 * np.log10(rms(added_S) / level) == pytest.approx(-10, abs=0.5)
    gone_S = augment_user(user_S, agent_S, replace(recipe, noise_gap=1.0), rng())
    np.testing.assert_array_equal(gone_S, user_S)


def test_the_echo_of_the_agent_comes_late_and_faint():
    _, agent_S = speech()
    heard_S = echo(agent_S, 0.2, 0.3, rng())
    late = round(0.3 * SAMPLE_RATE)
    assert not np.abs(heard_S[: late - 1]).max() > 1e-6
    direct_S = heard_S[late : late + 40]
    np.testing.assert_allclose(direct_S, 0.2 * agent_S[:40], atol=1e-5)
    assert rms(heard_S) < 0.3 * rms(agent_S)


def test_a_room_starts_with_the_direct_sound_and_decays():
    response_S = room(rng())
    assert response_S[0] == 1
    third = len(response_S) // 3
    assert rms(response_S[1:third]) > 10 * rms(response_S[-third:])
    wav_S = buzz(0.2)
    np.testing.assert_allclose(
        convolve(wav_S, np.array([0, 0.5], np.float32))[1:], 0.5 * wav_S[:-1], atol=1e-6
    )


def test_a_telephone_passes_300_to_3400_hz():
    t_S = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    kept = {
        hertz: rms(telephone((0.3 * np.sin(2 * np.pi * hertz * t_S)).astype(np.float32)))
        for hertz in (60, 1000, 6000)
    }
    assert kept[1000] == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert kept[60] < 0.02
    assert kept[6000] < 0.02


def test_speed_moves_length_and_pitch():
    fast_S = change_speed(buzz(1.0, 200), 1.15)
    assert len(fast_S) / SAMPLE_RATE == pytest.approx(1 / 1.15, abs=0.001)
    peak = np.argmax(np.abs(np.fft.rfft(fast_S))) / (len(fast_S) / SAMPLE_RATE)
    assert peak == pytest.approx(230, abs=2)


def test_offsets_are_less_than_half_a_frame_either_way():
    user_S, agent_S = speech()
    shifts = set()
    for seed in range(30):
        out_S = augment_user(user_S, agent_S, replace(NEVER, offset=1.0), np.random.default_rng(seed))
        shifts.add(int(np.flatnonzero(out_S)[0] - np.flatnonzero(user_S)[0]))
    assert -960 <= min(shifts) < -400
    assert 400 < max(shifts) < 960
    assert len(shifts) > 20


def test_the_stage_leaves_the_agent_alone_and_reports_a_bad_file(tmp_path):
    user_S, agent_S = speech()
    rows = []
    for name in "abc":
        write_audio(tmp_path / f"{name}.wav", np.stack([agent_S, user_S]))
        rows.append({"path": str(tmp_path / f"{name}.wav"), "id": name, "duration": 2.0})
    write_transcript(tmp_path / "a.wav", Transcript([Word("hi", 0.1, 0.4)]))
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    always = Recipe(**dict.fromkeys(CHANCES, 1.0))
    result = run(Augment(tmp_path / "one", always), rows, tmp_path / "out.jsonl")
    assert [bad["id"] for bad in result.bad] == ["b"]
    made = read_audio(result.rows[0]["path"])
    np.testing.assert_allclose(made[0], agent_S, atol=1e-4)
    assert not np.allclose(made[1], user_S, atol=0.01)
    assert read_transcript(result.rows[0]["path"]).words == [Word("hi", 0.1, 0.4)]
    same = Augment(tmp_path / "two", always)([rows[0]])[0]
    other = Augment(tmp_path / "two", always, take=1)([rows[0]])[0]
    np.testing.assert_array_equal(read_audio(same["path"]), made)
    assert not np.array_equal(read_audio(other["path"]), made)


def test_recordings_of_one_name_are_kept_apart(tmp_path):
    rows = []
    for number, text in enumerate(("one", "two")):
        path = tmp_path / f"s{number}" / "0001.wav"
        path.parent.mkdir()
        write_audio(path, np.stack([buzz(0.5 + number), buzz(0.5 + number, 200)]))
        write_transcript(path, Transcript([Word(text, 0.1, 0.4)], extra={"aligned": "0123"}))
        rows.append({"path": str(path)})
    made = run(Augment(tmp_path / "out", NEVER), rows, tmp_path / "out.jsonl").rows
    assert [read_audio(row["path"]).shape[1] for row in made] == [12_000, 36_000]
    transcripts = [read_transcript(row["path"]) for row in made]
    assert [t.words[0].text for t in transcripts] == ["one", "two"]
    assert all("aligned" not in t.extra for t in transcripts)  # the sound is another one now
    # the words change, the sound does not
    write_transcript(rows[0]["path"], Transcript([Word("three", 0.1, 0.4)]))
    made = run(Augment(tmp_path / "out", NEVER), rows, tmp_path / "out.jsonl").rows
    assert [read_transcript(row["path"]).words[0].text for row in made] == ["three", "two"]


def test_what_cannot_be_written_in_its_format_becomes_flac(tmp_path):
    write_audio(tmp_path / "a.wav", np.stack([buzz(0.5), buzz(0.5)]))
    (tmp_path / "a.wav").rename(tmp_path / "a.aiff")
    (row,) = Augment(tmp_path / "out", NEVER)([{"path": str(tmp_path / "a.aiff")}])
    assert row["path"].endswith(".flac")
    assert read_audio(row["path"]).shape == (2, 12_000)
