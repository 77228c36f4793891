"""Start nano's language model from that of the first generation, which had another codec and another vocabulary.

`python -m recipes.nano.first_generation FIRST CODEC.safetensors TOKENIZER.model CORPUS OUT` writes OUT, a folder for
`duologue train lm --model`. The transformers are copied. A piece of text begins as the mean of the old pieces that
spell it; the embeddings of the semantic codes are fitted so that, of the same sound, their sum is that of the old ones.
"""

import argparse
import random
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from duologue import presets
from duologue.codec import Codec
from duologue.data.split import clip_set
from duologue.data.voices import read_clip, read_index
from duologue.lm import LM
from duologue.lm.tokenizer import Tokenizer
from duologue.train.lm_run import write_model
from duologue.weights import load

OLD_CODEBOOKS = 3  # of the user's: those that carry the words
ROUNDS = 8
SHRINK = 3.0  # frames: an entry that few frames use stays near zero


def spelling(old: Tokenizer, new: Tokenizer) -> Tensor:
    """How the pieces of the new vocabulary are made of the old ones, `[new, old]`, rows that sum to 1."""
    known = {old.piece(token): token for token in range(old.size)}
    mix_NO = torch.zeros(new.size, old.size)
    for token in range(new.size):
        piece = new.piece(token)
        if piece in known:
            parts = [known[piece]]
        else:
            parts = old.encode_word(piece.strip())
        mix_NO[token].index_add_(0, torch.tensor(parts), torch.full((len(parts),), 1 / len(parts)))
    return mix_NO


def fit(codes_QN: Tensor, target_ND: Tensor, entries: int) -> tuple[Tensor, float]:
    """Tables `[Q, entries, D]` whose rows for `codes_QN` add up to `target_ND`, by least squares, one table after the
    other; and the share of the variance that they explain."""
    tables = target_ND.new_zeros(len(codes_QN), entries, target_ND.shape[1])
    counts = torch.stack([torch.bincount(ids_N, minlength=entries) for ids_N in codes_QN])
    rest_ND = target_ND.clone()
    for _ in range(ROUNDS):
        for table, ids_N, count in zip(tables, codes_QN, counts, strict=True):
            rest_ND += table[ids_N]
            table.zero_().index_add_(0, ids_N, rest_ND).div_((count + SHRINK)[:, None])
            rest_ND -= table[ids_N]
    return tables, 1 - float(rest_ND.var(0).sum() / target_ND.var(0).sum())


def encoded(folders: Iterable[Path], codecs: list[Codec], codebooks: list[int], clips: int) -> list[Tensor]:
    """The codes of some training clips of each folder, `[Q, N]` for each codec."""
    found: list[list[Tensor]] = [[] for _ in codecs]
    rows = [[row for row in read_index(folder) if clip_set(row) in ("agent", "user")] for folder in folders]
    for row in (row for some in rows for row in random.Random(0).sample(some, min(clips, len(some)))):
        wav_1S = torch.from_numpy(read_clip(row))[None]
        wav_1S = nn.functional.pad(wav_1S, (0, 1920))
        for codec, count, codes in zip(codecs, codebooks, found, strict=True):
            codes.append(codec.encode(wav_1S, count)[0])
    return [torch.cat(codes, 1) for codes in found]


@torch.no_grad()
def transfer(first: LM, old: Tokenizer, new: Tokenizer, lm: LM) -> None:
    """Everything of `first` but what belongs to its codec, into `lm`."""
    mix_NO = spelling(old, new)
    size, last = lm.config.text_card, first.config.text_card
    for target, source in (
        (lm.text_head.weight, first.text_head.weight),
        (lm.extra_heads[0].weight, first.extra_heads[0].weight),
    ):
        target[: new.size] = mix_NO @ source[: old.size]
    assert lm.depth is not None and first.depth is not None
    for target, source in ((lm.text_emb, first.text_emb), (lm.depth.text_emb, first.depth.text_emb)):
        target.weight[: new.size] = mix_NO @ source.weight[: old.size]
        target.weight[size] = source.weight[last]
        assert target.first is not None and target.second is not None
        nn.init.eye_(target.first.weight)
        nn.init.orthogonal_(target.second.weight, gain=0.3)
    own = lm.state_dict()
    for name, value in first.state_dict().items():
        if name.startswith(("temporal.", "out_norm.", "depth.layers.", "depth.in_projs.", "depth.norms.")):
            own[name].copy_(value)
    parts = [part for layer in lm.depth.layers for part in (layer.in_projs, layer.out_projs, layer.mlps)]
    for part in (lm.depth.in_projs, *parts):  # codebook 3 begins as those that shared its weights
        part[3].load_state_dict(part[2].state_dict())


@torch.no_grad()
def hear(lm: LM, first: LM, codecs: list[Codec], corpus: Path, clips: int) -> None:
    """Fit the embeddings of the semantic codes, the user's three and the agent's first, which alone it hears."""
    heard, spoken = lm.config.heard, lm.config.depth_steps
    for whose, streams, old_streams in (
        ("user-*", range(spoken, spoken + heard), range(8, 8 + OLD_CODEBOOKS)),
        ("agent*", range(1), range(OLD_CODEBOOKS)),
    ):
        folders = sorted(corpus.glob(whose))
        new_QN, old_QN = encoded(folders, codecs, [heard, OLD_CODEBOOKS], clips)
        target_ND = sum(
            (first.audio_embs[k].weight[ids_N] for k, ids_N in zip(old_streams, old_QN, strict=True)),
            start=torch.zeros(()),
        )
        tables, explained = fit(new_QN[: len(streams)], target_ND, lm.config.card)
        for k, table in zip(streams, tables, strict=True):
            lm.audio_embs[k].weight[: lm.config.card] = table
        print(f"{whose}: {new_QN.shape[1]} frames, {explained:.0%} of the embeddings' variance", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", help="folder of the first generation's model")
    parser.add_argument("codec", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("corpus", type=Path, help="folder of clip folders: agent*, user-*")
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=120, help="of each folder")
    options = parser.parse_args()
    torch.manual_seed(0)
    first, codec = load(options.first), load(str(options.codec)).codec
    lm = LM(presets.nano_lm())
    transfer(first.lm, first.tokenizer, Tokenizer(options.tokenizer), lm)
    hear(lm, first.lm, [codec, first.codec], options.corpus, options.clips)
    write_model(options.out, lm, options.tokenizer, options.codec)


if __name__ == "__main__":
    main()
