"""The held-out split: three voices, a tenth of the phrasings, some sentences and speakers are never trained on.

Every rule is a function of names alone (a hash), so that all parts of the project agree without sharing a file. The
first phrasing of a question is always for training, so that no answer is left out.
"""

import hashlib
import re
from pathlib import Path

from duologue.data.manifest import Row

AGENT_VOICE = "af_heart"
VALID_VOICES = ("af_river", "am_onyx", "bf_emma")
VALID_ROBOTS = ("espeak:en-gb-scotland", "espeak:en-us+f5", "espeak:en-029", "flite:awb")
TRAIN_VOICES = (
    "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_nicole", "af_sarah", "af_sky",
    "am_adam", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_puck",
    "bf_alice", "bf_isabella", "bm_daniel", "bm_fable", "bm_george",
)  # fmt: skip

SETS = ("agent", "user", "human", "valid-agent", "voice", "phrasing", "valid-human")
HUMAN = ("alphanum", "kathleen", "libri-resemblyzer", "libri-walleclipse", "speechocean762")
FEW_SPEAKERS = ("kathleen", "libri-walleclipse")


def fraction(name: str) -> float:
    """A number in [0, 1) that depends on `name` only."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def valid_phrasing(item_id: str, index: int) -> bool:
    """Whether phrasing `index` of a dialogue item is kept for validation (about a tenth of all of them)."""
    return index > 0 and fraction(f"{item_id}-{index}") < 0.18


def valid_agent_text(text: str) -> bool:
    """Whether a sentence of the agent's is kept for validation (5 %), whatever its case and punctuation."""
    return fraction("agent " + re.sub(r"[^a-z0-9' ]", "", text.lower())) < 0.05


def valid_speaker(corpus: str, name: str) -> bool:
    """Whether a human speaker (or an utterance, where there are few speakers) is kept for validation (3 %)."""
    return fraction(f"{corpus} {name}") < 0.03


def clip_set(row: Row) -> str:
    """Where a clip (a row of `voices.read_index`) belongs.

    In training: "agent", "user", "human". Never trained on: "valid-agent", "voice" (a held-out voice, a phrasing heard
    in training), "phrasing" (a held-out phrasing by any voice), "valid-human". A row's own "split" takes
    precedence: one of these sets, or "train" or "valid", which only says whether its phrasing is held out.
    """
    if row.get("split") in SETS:
        return row["split"]
    corpus = Path(row["place"]).name.removesuffix(".tar")
    if corpus in HUMAN:
        name = row["key"] if corpus in FEW_SPEAKERS else row["speaker"]
        return "valid-human" if valid_speaker(corpus, name) else "human"
    item, _, index = row["key"].rpartition("/")[2].partition("-mix")[0].rpartition("-")
    heard = row["role"] == "agent" and row["id"] != "extra"
    if corpus == "agent-more" and item.startswith(("arctic", "libri")):
        heard = True
    unheard = item != "backchannel" and not heard and index.isdigit() and valid_phrasing(item, int(index))
    if "split" in row and not heard:
        unheard = row["split"] == "valid"
    if row["role"] == "agent":
        return (
            "valid-agent"
            if (unheard and corpus == "agent-more") or valid_agent_text(row["text"])
            else "agent"
        )
    if row["voice"] in VALID_VOICES + VALID_ROBOTS:
        return "phrasing" if unheard else "voice"
    return "phrasing" if unheard else "user"
