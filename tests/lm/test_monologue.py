import pytest

from duologue.lm.monologue import lead_text, text_row, user_text_row


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ([], [3, 3, 3, 3]),
        ([([7, 8], 0.16)], [3, 0, 7, 8]),
        ([([7, 8], 0.0)], [0, 7, 8, 3]),  # no frame before: EPAD there, the word moves on
        (
            [([7, 8, 9], 0.08), ([5], 0.24)],
            [0, 7, 8, 5],
        ),  # a new word drops what is left, and overwrites no token
        ([([7], 0.08), ([5], 0.24)], [0, 7, 0, 5]),
        ([([7, 8, 9], 0.2)], [3, 0, 7, 8]),  # cut at the end
        ([([7], 9.0)], [3, 3, 3, 3]),
    ],
)
def test_words_on_frames(words: list[tuple[list[int], float]], row: list[int]) -> None:
    assert text_row(words, 4) == row


def test_word_at_the_edge_is_announced() -> None:
    assert text_row([([7], 0.32)], 4) == [3, 3, 3, 0]


def test_without_marks() -> None:
    assert text_row([([7], 0.0), ([8], 0.16)], 4, mark=False) == [7, 3, 8, 3]


def test_the_listener_queues_what_comes_too_fast() -> None:
    row = user_text_row([([7, 8, 9], 0.08), ([5], 0.1), ([6], 0.8)], 13, delay=2)
    assert row == [3, 3, 3, 7, 8, 9, 5, 3, 3, 3, 3, 3, 6]


def test_words_lead_their_sound_as_far_as_there_is_room() -> None:
    words = [([7], 1.0, 1.2), ([8, 9], 1.6, 1.8), ([10], 1.84, 2.0), ([11], 3.0, 3.2)]
    ahead = lead_text(words, 3)
    assert [tokens for tokens, _ in ahead] == [tokens for tokens, _, _ in words]
    # the first word of an utterance stays, the next leads by three frames, then one waits for the tokens before it
    assert [start for _, start in ahead] == pytest.approx([1.0, 1.36, 1.6, 3.0])
    assert [start for _, start in lead_text(words, 0)] == [start for _, start, _ in words]
    # one that would come too late for its sound does not wait
    assert lead_text([([1, 2, 3], 0.0, 0.1), ([4], 0.1, 0.2)], 3)[1][1] == pytest.approx(0.1)
