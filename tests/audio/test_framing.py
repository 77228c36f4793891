import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio.framing import FRAME_SIZE, Framer, frame_count, pad_to_frames

chunk_sizes = st.lists(st.integers(0, 5000), max_size=12)


@given(chunk_sizes)
def test_whatever_the_chunks_the_frames_are_the_stream_in_order(sizes):
    stream_S = np.arange(sum(sizes), dtype=np.float32)
    framer, frames = Framer(), []
    for chunk_S in np.split(stream_S, np.cumsum(sizes)[:-1]) if sizes else []:
        frames.extend(framer.push(chunk_S))
        assert framer.waiting < FRAME_SIZE
    assert len(frames) == len(stream_S) // FRAME_SIZE
    frames.extend(framer.flush())

    assert all(frame_S.shape == (FRAME_SIZE,) and frame_S.dtype == np.float32 for frame_S in frames)
    assert len(frames) == frame_count(len(stream_S))
    heard_S = np.concatenate([*frames, np.zeros(0, np.float32)])
    np.testing.assert_array_equal(heard_S[: len(stream_S)], stream_S)
    assert not heard_S[len(stream_S) :].any()
    assert framer.waiting == 0
    assert framer.flush().shape == (0, FRAME_SIZE)


def test_frames_do_not_share_memory_with_a_buffer_that_is_filled_again():
    framer, buffer_S = Framer(frame_size=4), np.ones(6, np.float32)
    first_S = framer.push(buffer_S)[0]
    buffer_S[:] = 9
    second_S = framer.push(buffer_S[:2])[0]
    np.testing.assert_array_equal(first_S, [1, 1, 1, 1])
    np.testing.assert_array_equal(second_S, [1, 1, 9, 9])


def test_padding_fills_the_last_frame_with_silence_on_the_last_axis():
    padded_CS = pad_to_frames(np.ones((2, 1921), np.float32))
    assert padded_CS.shape == (2, 3840)
    assert padded_CS[:, :1921].all()
    assert not padded_CS[:, 1921:].any()
    assert pad_to_frames(np.ones(1920, np.float32)).shape == (1920,)
    assert pad_to_frames(np.ones(0, np.float32)).shape == (0,)
    assert [frame_count(n) for n in (0, 1, 1920, 1921)] == [0, 1, 1, 2]
