"""What the model writes down of the user's words, from its head to those who read it."""

import json

import numpy as np
import pytest
import torch

from duologue.config import LMConfig
from duologue.engine.backend import TorchBackend
from duologue.engine.offline import talk
from duologue.engine.recorder import Recorder
from duologue.engine.session import Session
from duologue.lm.sampling import Sampling
from duologue.lm.step import init_state, step
from duologue.weights import Model, load
from tests.engine.virtual import EchoBackend, Room, listening, noise, room, seeded


@pytest.fixture(scope="module")
def model() -> Model:
    return listening()


@torch.no_grad()
def test_the_likeliest_token_of_the_first_head_is_written_down(model):
    """Whatever the sampling; and what the agent says does not change by it."""
    plain, alone = TorchBackend(load("tiny")), np.ones(1, bool)
    backend, lm = TorchBackend(model), model.lm
    state = init_state(lm, [Sampling(seed=5)])
    for other in (plain, backend):
        other.start({0: Sampling(seed=5)})
    written = []
    for wav_S in noise(12):
        out, without = backend.step(wav_S[None], alone), plain.step(wav_S[None], alone)
        hidden_BD = step(lm, state, torch.from_numpy(out.heard_BQ)).hidden_BD
        assert out.user_text_B[0] == lm.extra_heads[0](hidden_BD).argmax()
        assert without.user_text_B.tolist() == [-1]
        np.testing.assert_array_equal(out.tokens_BK, without.tokens_BK)
        written.append(int(out.user_text_B[0]))
    assert len(set(written)) > 3


@pytest.mark.parametrize(("heads", "vocabulary"), [(4, 6), (1, 421), (0, 420)])
def test_heads_that_mean_something_else_write_down_nothing(heads: int, vocabulary: int):
    model = listening(heads, vocabulary)
    assert not model.files.config.lm.writes_down_user
    session = Session(model)
    said = [session.push(wav_S) for wav_S in noise(3)]
    assert [(s.user_text, s.user_token) for s in said] == [("", -1)] * 3
    assert "user" not in talk(model, noise(2).ravel(), tail=0).report


def test_the_head_need_not_know_the_tokens_that_are_only_read(model):
    lm: LMConfig = model.files.config.lm
    assert lm.writes_down_user
    assert lm.extra_heads_dim == lm.text_card_out


def test_a_conversation_of_many_writes_down_what_one_alone_and_a_recording_do(model, tmp_path):
    user_TS = noise(20, 4)
    offline = talk(model, user_TS.ravel(), seed=9, tail=0).report
    session = Session(model, seeded(model, 9))
    alone = [session.push(frame_S) for frame_S in user_TS]
    here, recorder = room(model, 2), Recorder(tmp_path, model.tokenizer, 24_000)
    track = recorder.track("one", "tiny", seeded(model, 9))
    caller = here.call(user_TS, seeded(model, 9), sink=track)
    here.call(noise(20, 5), seeded(model, 10), after=0.02)
    here.run(1.75)
    caller.session.end("gone")
    track.close()
    recorder.close()
    begin = next(i for i, said in enumerate(caller.said) if said.frame == 1)
    together = caller.said[begin : begin + 20]
    assert [s.user_token for s in together] == [s.user_token for s in alone]
    assert [s.user_text for s in together] == [s.user_text for s in alone]
    assert "".join(s.user_text for s in alone).strip() == offline["user"]["text"] != ""
    assert offline["user"]["text"] != offline["text"]
    assert all(0 <= word["start"] < word["end"] <= 1.6 for word in offline["user"]["words"])
    recorded = json.loads((tmp_path / "one.json").read_text())["user"]["words"]
    known = offline["user"]["words"][:-1]  # the last may go on
    assert len(known) > 2
    assert recorded[: len(known)] == known


def test_words_that_a_slow_reader_missed_are_kept(model):
    words = ["one", "two", "three", "four", "five", "six"]
    tokens = [token for word in words for token in model.tokenizer.encode(word)]
    here = Room(EchoBackend(1, heard=tokens), model.tokenizer)
    session = here.batcher.open(Sampling(), lambda: None)
    for _ in range(40 + len(tokens)):
        here.clock.time += 0.08
        session.push(noise(1)[0])
        while (at := here.batcher.tick()) is not None and at <= here.clock.time:
            pass
    said = session.take()
    assert len(said) == 25
    assert "".join(s.user_text for s in said).split() == words
