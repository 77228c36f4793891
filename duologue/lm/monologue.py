"""The Inner Monologue: timed words as a text stream of one token a frame (section 3.4.4 of the Moshi paper).

Framework-free: words and frames in, a list of ids out.
"""

from collections.abc import Iterable

FRAME_RATE = 12.5
USER_TEXT_DELAY_FRAMES = (
    2  # frames from the one in which a word of the user's ends to that of its first token
)


def text_row(
    words: Iterable[tuple[list[int], float]], frames: int, pad: int = 3, epad: int = 0, mark: bool = True
) -> list[int]:
    """Token ids of `frames` frames. `words`: the tokens of each word and when it starts (seconds), in order.

    A word's tokens start in the frame in which it starts, one a frame. With `mark`, EPAD takes the frame before if that
    is PAD ("a word is coming"; a word at frame 0 moves by one frame to make room). Tokens that are left when the next
    word starts are dropped. All other frames are PAD.
    """
    row = [pad] * frames
    placed = [(int(start * FRAME_RATE), tokens) for tokens, start in words]
    for i, (first, tokens) in enumerate(placed):
        until = placed[i + 1][0] if i + 1 < len(placed) else frames
        if first < 0 or not tokens:
            continue
        if mark and first == 0:
            first = 1
            row[0] = epad
        elif mark and first <= frames and row[first - 1] == pad:
            row[first - 1] = epad
        for offset, token in enumerate(tokens[: max(0, min(until, frames) - first)]):
            row[first + offset] = token
    return row


def lead_text(
    words: Iterable[tuple[list[int], float, float]], frames: int, gap: float = 0.5
) -> list[tuple[list[int], float]]:
    """Words moved ahead of their sound by `frames`, as far as the tokens before them leave room; the first word after a
    silence of `gap` seconds stays. `words`: tokens, start, end; the result is for `text_row`.

    Word times are not exact, and a sound already tells the next one: a model whose text only follows its own voice
    learns to transcribe that voice instead of deciding what to say.
    """
    row: list[tuple[list[int], float]] = []
    free = ended = float("-inf")
    for tokens, start, end in words:
        at = start if start - ended > gap else max(min(start, free), start - frames / FRAME_RATE)
        row.append((tokens, at))
        free, ended = at + len(tokens) / FRAME_RATE, end
    return row


def user_text_row(
    words: Iterable[tuple[list[int], float]], frames: int, delay: int = USER_TEXT_DELAY_FRAMES, pad: int = 3
) -> list[int]:
    """The transcript of a listener: each word's tokens from `delay` frames after it has ended, queued, one a frame.

    `words`: the tokens of each word and when it ends (seconds).
    """
    row = [pad] * frames
    free = 0
    for tokens, end in words:
        at = max(free, int(end * FRAME_RATE) + delay)
        for token in tokens:
            if at < frames:
                row[at] = token
            at += 1
        free = at
    return row
