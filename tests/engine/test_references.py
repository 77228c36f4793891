"""MoshiRAG: what its own program says, told first who begins and then references while it speaks."""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from starlette.testclient import TestClient

from duologue.engine.backend import TorchBackend
from duologue.errors import InputError
from duologue.lm import Sampling
from duologue.lm.step import init_state, restart, step
from duologue.lm.step_state import LONGEST_REFERENCE_FRAMES
from duologue.serve.references import LARGEST, References, create_app
from duologue.weights.convert import convert
from duologue.weights.published import model_config
from duologue.weights.reference import ReferenceTokenizer, load_encoder
from tests import golden
from tests.engine.speech_models import GoldenModel
from tests.weights.published import MOSHIKA_RAG

IO = golden.io("rag")
GREEDY = Sampling.greedy()
RESET = 40
SPEAKERS = ("SPEAKER_MAIN", "SPEAKER_OTHER")


def told_at(step: int, vectors_TD: Any) -> list[tuple[int, Any]]:
    """Which slot is told what before a step, as `make_rag.py` does it."""
    first = {9: vectors_TD, 12: vectors_TD[1:]}
    second = {15: vectors_TD, RESET - 2: vectors_TD}
    return [(slot, told[step]) for slot, told in enumerate((first, second)) if step in told]


def in_torch() -> Callable[[int], np.ndarray]:
    lm = golden.lm("rag")
    assert lm.conditioning is not None
    condition = lm.conditioning({"first_speaker": SPEAKERS[0]})
    other = lm.conditioning({"first_speaker": SPEAKERS[1]})
    assert condition.prepended_BSD is not None and other.prepended_BSD is not None
    condition.prepended_BSD = torch.cat([condition.prepended_BSD, other.prepended_BSD])
    state = init_state(lm, [GREEDY, GREEDY], condition)

    def one(s: int) -> np.ndarray:
        if s == RESET:
            restart(lm, state, torch.ones(2, dtype=torch.bool))
        for slot, vectors_TD in told_at(s, IO["encoded.11"]):
            assert state.references is not None
            state.references.refer(slot, vectors_TD)
        return step(lm, state, IO["user"][..., s], IO["runs"][:, s].bool()).tokens_BK.numpy()

    return one


def in_mlx() -> Callable[[int], np.ndarray]:
    mx = pytest.importorskip("mlx.core")
    from duologue.mlx.load import load_lm
    from duologue.mlx.step import init_state, restart, step

    lm = load_lm(GoldenModel("rag"), mx.float32)
    assert lm.conditioning is not None
    condition, other = (lm.conditioning({"first_speaker": name}) for name in SPEAKERS)
    condition.prepended_BSD = mx.concatenate([condition.prepended_BSD, other.prepended_BSD])
    state = init_state(lm, [GREEDY, GREEDY], condition)

    def one(s: int) -> np.ndarray:
        if s == RESET:
            restart(lm, state, mx.array([True, True]))
        for slot, vectors_TD in told_at(s, mx.array(IO["encoded.11"].numpy())):
            assert state.references is not None
            state.references.refer(slot, vectors_TD)
        heard = mx.array(IO["user"][..., s].int().numpy())
        return np.array(step(lm, state, heard, mx.array(IO["runs"][:, s].bool().numpy())).tokens_BK)

    return one


@pytest.mark.parametrize("opened", [in_torch, in_mlx])
def test_it_says_what_the_reference_says(opened: Callable[[], Callable[[int], np.ndarray]]) -> None:
    one, expected, runs = opened(), IO["said"].numpy(), IO["runs"].bool().numpy()
    for s in range(expected.shape[-1]):
        said = one(s)
        for slot in range(2):
            if runs[slot, s]:
                np.testing.assert_array_equal(said[slot], expected[slot, :, s], f"slot {slot}, step {s}")


def test_who_begins_and_what_is_told_both_matter() -> None:
    lm = golden.lm("rag")
    assert lm.conditioning is not None

    def hidden(speaker: str, told: bool) -> torch.Tensor:
        assert lm.conditioning is not None
        state = init_state(lm, [GREEDY], lm.conditioning({"first_speaker": speaker}))
        if told:
            assert state.references is not None
            state.references.refer(0, IO["encoded.11"])
        return torch.cat([step(lm, state, IO["user"][:1, :, s]).hidden_BD for s in range(4)])

    plain = hidden("SPEAKER_MAIN", False)
    assert not torch.allclose(plain, hidden("SPEAKER_OTHER", False), atol=0.01)
    assert (plain - hidden("SPEAKER_MAIN", True)).abs().amax(-1).min() > 0.01


def test_streamed_equals_offline_after_what_comes_first() -> None:
    lm = golden.lm("rag")
    assert lm.conditioning is not None
    condition = lm.conditioning({"first_speaker": "SPEAKER_OTHER"})
    state = init_state(lm, [GREEDY], condition)
    user_1QT = IO["user"][:1, :, :12]
    outs = [step(lm, state, user_1QT[..., s]) for s in range(12)]
    said_1KT = torch.stack([out.tokens_BK for out in outs[1:]], -1)
    codes_1KT = torch.cat([said_1KT, user_1QT[..., 1:]], 1)
    with torch.no_grad():
        offline = lm(codes_1KT, condition).hidden_BTD[0]
    torch.testing.assert_close(
        torch.cat([out.hidden_BD for out in outs[:-1]])[:9], offline[:9], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_conversation_is_told_who_begins_and_can_be_told_more(backend: str) -> None:
    model = GoldenModel("rag")
    assert model.conditions == {"first_speaker": "SPEAKER_MAIN"}
    if backend == "mlx":
        pytest.importorskip("mlx.core")
        from duologue.mlx.backend import MLXBackend

        made: Any = MLXBackend(model, 2)
    else:
        made = TorchBackend(model, 2)
    vectors_TD = IO["encoded.11"].numpy()
    everyone = np.ones(2, bool)
    heard_BQT = IO["user"][:1].expand(2, -1, -1).numpy()

    def said(told: bool) -> np.ndarray:
        made.start({0: GREEDY, 1: GREEDY})
        frames = []
        for s in range(30):
            if s == 10 and told:
                made.refer(1, vectors_TD)
            frames.append(made.step_codes(heard_BQT[..., s], everyone).tokens_BK)
        return np.stack(frames, -1)

    plain, told = said(False), said(True)
    np.testing.assert_array_equal(plain, said(False))
    np.testing.assert_array_equal(plain[0], told[0])
    np.testing.assert_array_equal(plain[1, :, :10], told[1, :, :10])
    assert (plain[1] != told[1]).any()


def test_a_model_that_takes_no_references() -> None:
    backend = TorchBackend(GoldenModel("lm_moshi"), 1)
    with pytest.raises(ValueError, match="takes no references"):
        backend.refer(0, np.zeros((3, 24), np.float32))
    with pytest.raises(InputError, match="lm_moshi takes no references: moshika-rag"):
        load_encoder(GoldenModel("lm_moshi"))


def test_too_long_a_reference_is_cut() -> None:
    lm = golden.lm("rag")
    references = init_state(lm, [GREEDY]).references
    assert references is not None
    long_TD = torch.arange(LONGEST_REFERENCE_FRAMES + 5.0)[:, None].expand(-1, 24)
    references.refer(0, long_TD)
    read = [float(references.take(None)[0, 0, 0]) for _ in range(LONGEST_REFERENCE_FRAMES + 2)]
    assert read == [*range(LONGEST_REFERENCE_FRAMES), 0.0, 0.0]


@pytest.mark.parametrize("length", [1, 4, 7, 11])
def test_the_encoder_gives_the_vectors_of_the_reference(length: int) -> None:
    encoder = load_encoder(GoldenModel("rag"))
    torch.testing.assert_close(encoder(IO["tokens"][:length]), IO[f"encoded.{length}"], atol=1e-5, rtol=1e-4)


def test_no_text_is_one_vector_of_zeros() -> None:
    vectors_TD = load_encoder(GoldenModel("rag"))(torch.zeros(0, dtype=torch.int64))
    assert vectors_TD.shape == (1, 24) and not vectors_TD.any()


def client() -> TestClient:
    model = GoldenModel("rag")
    references = References(load_encoder(model), lambda text: [int(word) for word in text.split()])
    return TestClient(create_app(references, model.files.config.lm))


def test_the_service_answers_as_the_reference_does() -> None:
    with client() as service:
        text = " ".join(str(int(token)) for token in IO["tokens"])
        answer = service.post("/embed", json={"text": text})
        assert answer.headers["content-type"] == "application/octet-stream"
        torch.testing.assert_close(load(answer.content)["tensor"][0], IO["encoded.11"], atol=1e-5, rtol=1e-4)
        assert load(service.post("/embed", json={}).content)["tensor"].shape == (1, 1, 24)
        assert service.get("/health").json()["status"] == "healthy"
        assert service.get("/spec").json() == {
            "conditioner_name": "reference_with_time",
            "text_conditioners": ["reference_with_time"],
            "tensor_conditioners": [],
            "fuser": {"sum": [], "cross": [], "prepend": [], "streaming_sum": ["reference_with_time"]},
        }


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"[1]", 422), (b'{"text": 3}', 422), (b'{"text": "' + b"x" * LARGEST + b'"}', 413)],
)
def test_requests_that_cannot_be(body: bytes, status: int) -> None:
    with client() as service:
        assert service.post("/embed", content=body).status_code == status


def arc(**values: Any) -> dict[str, Any]:
    """What the published configuration says of the encoder, with other values."""
    published = copy.deepcopy(MOSHIKA_RAG)
    published["conditioners"]["reference_with_time"]["multi_arc_encoder"].update(values)
    return published


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            MOSHIKA_RAG | {"rag_token_id": 32_000},
            "32000 that asks for a reference is not in the text vocabulary",
        ),
        (arc(embedder_params={"compress_rates": [-4, -2]}), "compress_rates is one number below -1"),
        (arc(embedder_params={"compress_rates": [4]}), "compress_rates is one number below -1"),
        (arc(learn_padding=False), "only learn_padding = true is supported"),
        (arc(color="red"), "unknown key 'color'"),
        (
            MOSHIKA_RAG | {"fuser": {"streaming_sum": ["first_speaker"]}},
            "streaming_sum is for one conditioner",
        ),
        (MOSHIKA_RAG | {"fuser": {"prepend": ["nobody"]}}, "there is no conditioner 'nobody'"),
    ],
)
def test_configurations_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_config(values)


def test_it_cannot_be_written_in_another_format(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        convert(str(golden.FOLDER / "rag"), tmp_path / "out", "pytorch")


def test_the_tokenizer(tmp_path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    assert ReferenceTokenizer(tmp_path / "tokenizer.json").encode("b a c") == [1, 0, 2]
    (tmp_path / "bad.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="bad.json is no tokenizer"):
        ReferenceTokenizer(tmp_path / "bad.json")
