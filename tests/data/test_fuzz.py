"""Files that were good until something happened to them, for every reader of recordings, training data, checkpoints and
evaluation sets."""

import gzip
import json
import resource
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duologue import presets
from duologue.audio.files import open_audio
from duologue.codec.codes import Codes, load_codes, save_codes
from duologue.data.corpus.classify import LineClassifier
from duologue.data.corpus.pack import PackedRows
from duologue.data.corpus.sources import read_documents
from duologue.data.manifest import Transcript, read_manifest, read_transcript, write_transcript
from duologue.data.runner import run
from duologue.data.script import Script
from duologue.data.segments import load_blocks
from duologue.data.shards import ShardReader, read_shard, write_shards
from duologue.data.voices import read_clip, read_index
from duologue.errors import InputError
from duologue.eval.abx import read_items
from duologue.eval.likelihood import read_mmlu, read_pairs
from duologue.eval.questions import read_questions
from duologue.eval.recognition import read_utterances
from duologue.eval.safety import read_prompts
from duologue.lm.tokenizer import Tokenizer
from duologue.train import checkpoint
from duologue.train.lm_batches import conversation_rows, misheard_row
from duologue.train.lm_text_batches import texts_of
from duologue.train.parallel import World
from duologue.types import Word

from .sounds import clip_folder

MANY = pytest.mark.parametrize("count", [25, pytest.param(500, marks=pytest.mark.slow)])
TOKENIZER = Tokenizer(Path(presets.__file__).parent / "assets" / "tiny" / "tokenizer.model")
SOUND = (np.sin(np.arange(6000) * 0.1) * 9000).astype(np.int16)
AUDIO = {
    "wav": ("WAV", "PCM_16"), "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"), "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "sph": ("NIST", "PCM_16"), "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip
SCRAPS = [
    b"null", b"-1", b"1e999", b"NaN", b"true", b"[", b"{}", b'""', b"99999999999999999999", b"\0", b"\xff\xfe", b"\n",
    b'"path"', b'"../../x.tar"', b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0\0\0\0\0", b"2147483648", b"|O8",
    b"(1000000000, 10)", b"\\ud800",
]  # fmt: skip
EDIT = st.tuples(
    st.sampled_from(["flip", "put", "insert", "cut", "drop", "repeat"]),
    st.floats(0, 1),
    st.one_of(st.sampled_from(SCRAPS), st.binary(min_size=1, max_size=8)),
)


@dataclass(frozen=True)
class Reader:
    """A good file that `write` puts into a folder, and what reads it."""

    write: Callable[[Path], Path]
    read: Callable[[Path], object]


def audio(name: str) -> Reader:
    def write(folder: Path) -> Path:
        path = folder / f"x.{name}"
        soundfile.write(path, SOUND, 16_000, AUDIO[name][1], format=AUDIO[name][0])
        return path

    return Reader(write, lambda path: sum(block_CS.shape[1] for block_CS in open_audio(path).blocks()))


def text(name: str, body: str, read: Callable[[Path], object]) -> Reader:
    def write(folder: Path) -> Path:
        (folder / "a.wav").touch()
        (folder / name).write_text(body)
        return folder / name

    return Reader(write, read)


def sample(number: int) -> dict:
    words = [[" yes", [0.1, 0.4], "SPEAKER_MAIN"], [" no", [0.5, 0.6], "SPEAKER_USER"]]
    return {
        "key": f"{number}",
        "codes.npy": np.ones((2, 8, 20), np.int16),
        "json": {"alignments": words, "cuts": [0.7]},
    }


def shard(folder: Path) -> Path:
    return write_shards(folder, [sample(0), sample(1)])[0]


def learn(samples: list[dict]) -> None:
    for one in samples:
        if "json" in one:
            _, user_text_T = conversation_rows(one, TOKENIZER, ahead=3)
            misheard_row(one, TOKENIZER, user_text_T)


def transcripts(folder: Path) -> Path:
    """Conversations without sound."""
    words = [[" yes", [0.1, 0.4], "SPEAKER_MAIN"], [" no", [0.5, 0.6], "SPEAKER_USER"]]
    body = {"alignments": words, "misheard": words[1:], "frames": 20, "cuts": []}
    return write_shards(folder, [{"key": "0", "json": body}])[0]


def learn_all(folder: Path) -> None:
    reader = ShardReader(folder)
    learn([next(reader) for _ in range(min(len(reader), 4))])


def clips(folder: Path) -> Path:
    clip_folder(
        folder / "clips", [("hi-0", "user", "ann", "hello there"), ("hi-1", "user", "bob", "hello there")]
    )
    with tarfile.open(folder / "some.tar", "w") as tar:
        for path in sorted((folder / "clips").iterdir()):
            tar.add(path, path.name)
    return folder / "some.tar"


def part(folder: Path) -> Path:
    (folder / "out.jsonl.part").write_text('{"path": "a.wav", "id": "a", "made_from": "0"}\n')
    return folder / "out.jsonl.part"


def codes(folder: Path) -> Path:
    save_codes(folder / "x.npz", Codes(np.arange(24).reshape(8, 3), 24_000, 12.5, "tiny"))
    return folder / "x.npz"


def transcript(folder: Path) -> Path:
    words = [Word("hi", 0.1, 0.4), Word("ho", 0.5, 0.6)]
    write_transcript(folder / "x.wav", Transcript(words, {"a": "b"}, {"cuts": [0.1]}))
    return folder / "x.json"


def checkpoint_file(name: str) -> Reader:
    def write(folder: Path) -> Path:
        return checkpoint.save(folder, 1, {"module": {"a": torch.ones(3)}, "step": 1}, World()) / name

    def read(path: Path) -> None:
        checkpoint.load(path.parent, {"module": {"a": torch.zeros(3)}, "step": 0}, World())
        checkpoint.load_weights(path.parent)

    return Reader(write, read)


def classifier(folder: Path) -> Path:
    LineClassifier(["a", "b"], np.ones((16, 2), np.float32), np.zeros(2)).save(folder / "c.npz")
    return folder / "c.npz"


def packed_text(name: str) -> Reader:
    def write(folder: Path) -> Path:
        (folder / "packed.json").write_text('{"rows": [3]}')
        np.save(folder / "000000.npy", np.zeros((3, 8), np.uint16))
        return folder / name

    def read(path: Path) -> None:
        rows = PackedRows(path.parent)
        assert [len(rows[row]) for row in range(len(rows))] == [rows.context] * len(rows)

    return Reader(write, read)


def segments(name: str) -> Reader:
    def write(folder: Path) -> Path:
        (folder / "meta.jsonl").write_text('{"kind": "agent", "clips": []}\n')
        for array in ("wav", "teacher"):
            np.save(folder / f"{array}.npy", np.zeros((1, 6), np.int16))
        return folder / name

    return Reader(write, lambda path: load_blocks(path.parent))


def gzipped(name: str, body: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(gzip.compress(body.encode(), mtime=0))
        return folder / name

    return write


def questions(folder: Path) -> Path:
    (folder / "test").mkdir()
    path = folder / "test" / "law_test.csv"
    path.write_text('Who?,a,b,c,d,A\n"What,\nthen?",a,b,c,d,B\n')
    return path


TEXTS = '{"text": "hello"}\n{"text": "there", "id": 2}\n'
MANIFEST = '{"path": "a.wav", "duration": 2.0, "id": "a"}\n{"path": "b.wav", "turns": [{"start": 0.1}]}\n'
SCRIPT = '{"id": "a", "user": ["Hi."], "moshi": "Hello."}\n{"id": "b", "turns": [["Hi.", "Hello."], ["Bye.", "Ah."]]}\n'
CHECKPOINT = "manifest.json", "rank-0.json", ".metadata", "__0_0.distcp"
GOLD = "id,filename,voice,correct\n1,a,x,1\n1,a,x,0\n"
ITEMS = "#file onset offset #phone prev next speaker\na 0.1 0.2 p q r s\n"
HEARD = '{"text": "hi", "words": [["hi", 0.1, 0.2]]}'
READERS = {name: audio(name) for name in AUDIO} | {
    **{f"checkpoint's {name}": checkpoint_file(name) for name in CHECKPOINT},
    "manifest": text("set.jsonl", MANIFEST, read_manifest),
    "packed manifest": Reader(gzipped("set.jsonl.gz", MANIFEST), read_manifest),
    "transcript": Reader(transcript, lambda path: read_transcript(path.with_suffix(".wav"))),
    "script": text("s.jsonl", SCRIPT, Script.read),
    "index": Reader(
        lambda folder: shard(folder).with_name("shards.json"), lambda path: learn_all(path.parent)
    ),
    "shard": Reader(shard, lambda path: learn(read_shard(path))),
    "transcripts": Reader(transcripts, lambda path: learn(read_shard(path))),
    "clips": Reader(clips, lambda path: [read_clip(row) for row in read_index(path)]),
    "clip": Reader(
        lambda folder: clips(folder).with_name("clips") / "hi-0.json", lambda path: read_index(path.parent)
    ),
    "codes": Reader(codes, load_codes),
    "part": Reader(part, lambda path: run(lambda rows: rows, [], path.with_suffix(""))),
    "documents": text("a.jsonl", TEXTS, lambda path: list(read_documents(path))),
    "packed documents": Reader(gzipped("a.jsonl.gz", TEXTS), lambda path: list(read_documents(path))),
    "texts": text("a.jsonl", TEXTS, lambda path: list(texts_of(path))),
    "plain texts": text("a.txt", "hello\nthere\n", lambda path: list(texts_of(path))),
    "classifier": Reader(classifier, LineClassifier.load),
    "index of packed text": packed_text("packed.json"),
    "packed text": packed_text("000000.npy"),
    "rows of segments": segments("meta.jsonl"),
    "segments": segments("wav.npy"),
    "spoken questions": text("q.jsonl", '{"question": "a.wav", "answers": ["Paris"]}\n', read_questions),
    "pairs": text("p.jsonl", '{"good": "a.wav", "bad": "a.wav"}\n', read_pairs),
    "gold": text("gold.csv", GOLD, lambda path: read_pairs(path.parent)),
    "prompts": text("s.jsonl", '{"prompt": "hi", "category": "c"}\n', read_prompts),
    "items": text("a.item", ITEMS, read_items),
    "words of a recording": text("a.json", HEARD, lambda path: read_utterances(path.parent)),
    "mmlu": Reader(questions, lambda path: read_mmlu(path.parent.parent, "test")),
}


def edited(body: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """`body` after all that has happened to it."""
    for kind, where, scrap in edits:
        at = round(where * len(body))
        head, tail = body[:at], body[at:]
        body = {
            "flip": head + bytes([tail[0] ^ scrap[0] or 1]) + tail[1:] if tail else head,
            "put": head + scrap + tail[len(scrap) :],
            "insert": head + scrap + tail,
            "cut": head,
            "drop": head + tail[len(scrap) * 7 :],
            "repeat": head + head[-64:] + tail,
        }[kind]
    return body


@MANY
@pytest.mark.parametrize("name", READERS)
def test_a_file_is_read_or_refused_in_a_line(name, count, tmp_path):
    reader = READERS[name]
    path = reader.write(tmp_path)
    whole = path.read_bytes()
    reader.read(path)
    complaints: list[str] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(edits=st.lists(EDIT, min_size=1, max_size=4))
    def attack(edits):
        path.write_bytes(edited(whole, edits))
        try:
            reader.read(path)
        except InputError as error:
            complaints.append(str(error))

    attack()
    assert all("\n" not in line and len(line) < 1000 for line in complaints)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def with_json(change: Callable[[dict], object]) -> bytes:
    index = {"shards": [{"name": "000000.tar", "samples": 2}]}
    return json.dumps(change(index) or index).encode()


@pytest.mark.parametrize(
    "index",
    [
        with_json(lambda index: index["shards"][0].update(samples=2**31)),
        with_json(lambda index: index["shards"][0].update(samples=-1)),
        with_json(lambda index: index["shards"][0].update(samples=True)),
        with_json(lambda index: index["shards"][0].update(samples="2")),
        with_json(lambda index: index["shards"][0].update(name="../000000.tar")),
        with_json(lambda index: index["shards"][0].update(name="/etc/passwd")),
        with_json(lambda index: index["shards"][0].update(name="absent.tar")),
        with_json(lambda index: index["shards"][0].update(name=None)),
        with_json(lambda index: index["shards"][0].pop("samples") and None),
        with_json(lambda index: index.update(shards=None)),
        with_json(lambda index: index.update(shards=[None])),
        with_json(lambda index: index["shards"]),
        b"", b"[" * 100_000, b"\xff", b"null",
    ],
)  # fmt: skip
def test_an_index_that_promises_what_is_not_there(tmp_path, index):
    (tmp_path / "set").mkdir()
    shard(tmp_path / "set")
    shard(tmp_path)
    (tmp_path / "set" / "shards.json").write_bytes(index)
    with pytest.raises(InputError, match=r"shards.json"):
        ShardReader(tmp_path / "set")
