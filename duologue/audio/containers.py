"""Compare what the headers of a sound file promise with the file: where they differ, libsndfile silently reads less.

A file that is shorter than its header says is refused. Where a length was never filled in, or is out of date (the
recorder was killed), the actual length replaces it. An Ogg file of several chained streams is split into them.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from duologue.errors import InputError

HEADER_SLACK = 64  # bytes: some recorders count their header in
UNKNOWN_LENGTH = 0x7FFF_F000  # this and above: the length was unknown when the header was written
LARGEST_WORD = 0xFFFF_FFFF
TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# After the samples of a wav file come these, or chunks up to the end; anything else is samples.
BESIDES = {
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"fact", b"cue ", b"smpl", b"inst", b"PEAK", b"iXML", b"JUNK", b"junk", b"PAD ",
    b"_PMX", b"acid", b"afsp", b"DISP", b"axml", b"chna", b"umid", b"minf", b"elm1", b"regn", b"plst", b"labl", b"note",
}  # fmt: skip


@dataclass
class Part:
    """A byte range of a file that is a sound file of its own, with corrected header bytes by their offset. `name` is
    for messages."""

    path: Path
    start: int
    end: int
    name: str
    instead: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def whole(cls, path: Path) -> "Part":
        """All of a file."""
        return cls(path, 0, path.stat().st_size, str(path))

    @property
    def plain(self) -> bool:
        """Whether it is the whole file as it is."""
        return self.start == 0 and self.end == self.path.stat().st_size and not self.instead

    def within(self, start: int, end: int, instead: dict[int, bytes] | None = None) -> "Part":
        """A part of it."""
        return Part(self.path, self.start + start, self.start + end, self.name, instead or {})

    def open(self) -> BinaryIO:
        """It, as a file."""
        return io.BufferedReader(_Window(self), 1 << 16)


class _Window(io.RawIOBase):
    def __init__(self, part: Part):
        self._part, self._at = part, 0
        self._file = part.path.open("rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._part.end - self._part.start}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:
        part, first = self._part, self._part.start + self._at
        self._file.seek(first)
        body = bytearray(self._file.read(max(0, min(len(buffer), part.end - first))))
        for place, value in part.instead.items():
            for at, byte in enumerate(value, place - self._at):
                if 0 <= at < len(body):
                    body[at] = byte
        buffer[: len(body)] = body
        self._at += len(body)
        return len(body)

    def close(self) -> None:
        self._file.close()
        super().close()


def parts_of(whole: Part) -> list[Part]:
    """The sound files inside a file, usually one. Raises InputError if it is cut short."""
    size = whole.end - whole.start
    with whole.open() as file:
        head = file.read(64)
        if head.startswith(b"OggS"):
            return [whole.within(start, end) for start, end in _ogg_links(file, size, whole.name)]
        sound = _find_sound(file, head, size)
        if sound is None or sound.start > size:
            return [whole]
        known = sound.length < sound.unknown and sound.length >= sound.counted
        end = sound.start + sound.length - sound.counted
        if known and end - size > HEADER_SLACK:
            raise InputError(f"{whole.name} is cut short: its header promises {end - size} bytes more")
        if known and (end >= size or sound.whole or _is_besides(file, end + end % 2, size, sound.order)):
            return [whole]
        return [whole.within(0, size, sound.filled_in(size))]


@dataclass(frozen=True)
class _Sound:
    """Where the samples of a file start, how many bytes of them its header promises, and where that length is.
    `counted`: bytes before the samples that the length includes. `whole`: a smaller length than the actual one is no
    error.
    """

    start: int
    length: int
    place: int  # of the length
    format: str  # of the length, for struct
    order: str = "<"
    unknown: int = UNKNOWN_LENGTH
    counted: int = 0
    whole: bool = False
    also: tuple[
        tuple[int, str, int], ...
    ] = ()  # other lengths: place, format, what they count before the samples

    def filled_in(self, size: int) -> dict[int, bytes]:
        """The corrected lengths of the header."""
        lengths = [(self.place, self.format, self.counted), *self.also]
        most = {"I": LARGEST_WORD, "Q": (1 << 63) - 1}
        return {
            place: struct.pack(kind, min(size - self.start + counted, most[kind[-1]]))
            for place, kind, counted in lengths
        }


def _find_sound(file: BinaryIO, head: bytes, size: int) -> _Sound | None:
    """The samples of a file whose container gives their number; None for others."""
    form, kind = head[:4], head[8:12]
    if form in (b"RIFF", b"RIFX", b"RF64", b"BW64") and kind == b"WAVE":
        return _in_riff(file, form, size)
    if form == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return next(
            (
                _Sound(at + 16, length, at + 4, ">I", ">", counted=8, also=((4, ">I", at + 8),))
                for at, name, length in _chunks(file, 12, size, ">4sI")
                if name == b"SSND"
            ),
            None,
        )
    if head.startswith(b"riff\x2e\x91\xcf\x11"):
        for at, name, length in _chunks(file, 40, size, "<16sQ", counted=24, align=8):
            if name.startswith(b"data"):
                # Recorders leave 0, or the length of the header.
                return _Sound(
                    at + 24, length, at + 16, "<Q", unknown=1 << 63, counted=24, also=((16, "<Q", at + 24),)
                )
    if form == b"caff":
        for at, name, length in _chunks(file, 8, size, ">4sQ"):
            if name == b"data":
                return _Sound(at + 16, length, at + 4, ">Q", ">", unknown=1 << 63, counted=4, whole=True)
    if form in (b".snd", b"dns.") and len(head) >= 24:
        order = ">" if form == b".snd" else "<"
        start, length = struct.unpack(f"{order}II", head[4:12])
        return _Sound(start, length, 8, f"{order}I", order, unknown=LARGEST_WORD)
    if form == b"NIST":
        return _in_sphere(file)
    return None


def _in_riff(file: BinaryIO, form: bytes, size: int) -> _Sound | None:
    order, large = (">" if form == b"RIFX" else "<"), None
    for at, name, length in _chunks(file, 12, size, f"{order}4sI"):
        if name == b"ds64" and form in (b"RF64", b"BW64"):
            file.seek(at + 8)
            body = file.read(16)
            large = (at + 16, struct.unpack("<QQ", body)[1]) if len(body) == 16 else None
        elif name == b"data" and large is not None and length == LARGEST_WORD:
            also = ((large[0] - 8, "<Q", at),)
            return _Sound(at + 8, large[1], large[0], "<Q", unknown=1 << 63, also=also)
        elif name == b"data":
            return _Sound(at + 8, length, at + 4, f"{order}I", order, also=((4, f"{order}I", at),))
    return None


def _in_sphere(file: BinaryIO) -> _Sound | None:
    """NIST SPHERE, whose header is text; only uncompressed samples have a known length."""
    file.seek(0)
    words = [line.split() for line in file.read(1024).split(b"\n")]
    fields = {line[0]: line[2] for line in words if len(line) == 3}
    try:
        start = int(words[1][0])
        counts = [int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    except (IndexError, KeyError, ValueError):
        return None
    if fields.get(b"sample_coding", b"pcm") not in (b"pcm", b"ulaw", b"alaw", b"mu-law") or min(counts) < 0:
        return None
    return _Sound(start, counts[0] * counts[1] * counts[2], 0, "<I", unknown=1 << 200, whole=True)


def _chunks(
    file: BinaryIO, at: int, size: int, header: str, counted: int = 0, align: int = 2
) -> Iterator[tuple[int, bytes, int]]:
    """(place, name, length) of each chunk; `counted` bytes of its header are part of a chunk's length."""
    head = struct.Struct(header)
    while at + head.size <= size:
        file.seek(at)
        name, length = head.unpack(file.read(head.size))
        yield at, name, length
        if length < counted:
            return
        at += head.size + length - counted
        at += -at % align


def _is_besides(file: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether the bytes after the samples are something other than samples."""
    if size - at < 8:
        return True
    for place, name, length in _chunks(file, at, size, f"{order}4sI"):
        if name in BESIDES:
            return True
        end = place + 8 + length
        if not all(32 <= letter < 127 for letter in name) or end > size:
            return False
        if size - end < 8:
            return True
    return False


def _ogg_links(file: BinaryIO, size: int, name: str) -> list[tuple[int, int]]:
    """The chained streams of an Ogg file, as byte ranges. Decoders silently skip damaged or missing pages, so each page
    is checked."""
    starts, at, before, ended = [0], 0, True, False
    numbers: dict[bytes, int] = {}
    file.seek(0)
    while at < size:
        page = file.read(27)
        if page[:4] != b"OggS":
            if ended:  # a tag behind the last page
                return [*_pairs(starts, at)]
            raise InputError(f"{name} is damaged: no page of Ogg at byte {at}")
        table = file.read(page[26]) if len(page) == 27 else b""
        page += table + file.read(sum(table))
        if len(page) < 27 or len(table) < page[26] or len(page) < 27 + len(table) + sum(table):
            raise InputError(f"{name} is cut short: its last page is not whole")
        serial, number, check = page[14:18], *struct.unpack("<II", page[18:26])
        first = bool(page[5] & 2)
        if check != _ogg_check(page) or (not first and number != numbers.get(serial, -1) + 1):
            raise InputError(f"{name} is damaged: a page of Ogg is wrong or missing at byte {at}")
        if first and not before:
            starts.append(at)
        numbers[serial] = number
        before, ended, at = first, bool(page[5] & 4), at + len(page)
    return [*_pairs(starts, size)]


def _ogg_check(page: bytes) -> int:
    """Ogg's checksum is zlib's with reversed bits and without inversion."""
    turned = (page[:22] + bytes(4) + page[26:]).translate(TURNED)
    return int(f"{zlib.crc32(turned, LARGEST_WORD) ^ LARGEST_WORD:032b}"[::-1], 2)


def _pairs(starts: list[int], end: int) -> Iterator[tuple[int, int]]:
    return zip(starts, [*starts[1:], end], strict=True)
