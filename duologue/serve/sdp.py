"""Reduces a WebRTC offer to one audio section, one data section and few addresses. aiortc would decode and buffer
offered video, and send packets to every offered address. So other sections are removed from the offer, and added to the
answer as inactive ones (RFC 3264, RFC 8843).
"""

import re
from dataclasses import dataclass

CANDIDATES = 20  # addresses that are tried per peer
SECTIONS = 32
KEPT = ("audio", "application")  # the first section of each
PLAIN = re.compile(r"a=(mid|rtpmap|fmtp|rtcp-fb|rtcp-mux|sctp-port|sctpmap|max-message-size)\b")
TRANSPORT = re.compile(r"a=(ice-ufrag|ice-pwd|fingerprint|setup)\b")


@dataclass
class Section:
    """A media section of a description: its lines, from `m=` on."""

    lines: list[str]

    @property
    def kind(self) -> str:
        return self.lines[0][2:].partition(" ")[0]

    @property
    def mid(self) -> str:
        return next((line[6:] for line in self.lines if line.startswith("a=mid:")), "")


class Offer:
    """A reduced offer. `text` is the rest of it; `complete` turns its answer into an answer to the whole offer. Raises
    ValueError if it does not offer sound."""

    def __init__(self, text: str):
        self._head, self._sections = _split(text)
        if len(self._sections) > SECTIONS:
            raise ValueError("there are too many sections in the offer")
        self._bundle = _bundle(self._head)
        kept = {kind: next((s for s in self._sections if s.kind == kind), None) for kind in KEPT}
        if kept["audio"] is None:
            raise ValueError("there is no sound in the offer")
        self._kept = [section for section in self._sections if any(section is one for one in kept.values())]
        head = _with_bundle(self._head, [s.mid for s in self._kept if s.mid in self._bundle])
        self.text = _join(head, [_few_candidates(section) for section in self._kept])

    def complete(self, answer: str) -> str:
        """The answer with a section for every section of the offer."""
        head, answers = _split(answer)
        taken = _bundle(head)
        transport = [line for line in answers[0].lines if TRANSPORT.match(line)]
        given, sections = iter(answers), []
        for section in self._sections:
            if any(section is one for one in self._kept):
                sections.append(next(given))
            else:
                bundled = bool(taken) and section.mid in self._bundle
                sections.append(_nothing_flows(section, transport, bundled))
        mids = [s.mid for s in sections if s.mid in taken or (s.mid in self._bundle and _open(s))]
        return _join(_with_bundle(head, mids), sections)


def _split(text: str) -> tuple[list[str], list[Section]]:
    head: list[str] = []
    sections: list[Section] = []
    for line in text.splitlines():
        if line.startswith("m="):
            sections.append(Section([]))
        if line:
            (sections[-1].lines if sections else head).append(line)
    return head, sections


def _join(head: list[str], sections: list[Section]) -> str:
    return "".join(f"{line}\r\n" for lines in (head, *(s.lines for s in sections)) for line in lines)


def _bundle(head: list[str]) -> list[str]:
    """The mids of the sections that share one transport (BUNDLE)."""
    return next((line.split()[1:] for line in head if line.startswith("a=group:BUNDLE")), [])


def _with_bundle(head: list[str], mids: list[str]) -> list[str]:
    rest = [line for line in head if not line.startswith("a=group:BUNDLE")]
    return [*rest, f"a=group:BUNDLE {' '.join(mids)}"] if mids else rest


def _few_candidates(section: Section) -> Section:
    """The section with only its first UDP addresses."""
    lines, left = [], CANDIDATES
    for line in section.lines:
        if line.startswith("a=candidate:"):
            if left == 0 or " udp " not in line.lower():
                continue
            left -= 1
        lines.append(line)
    return Section(lines)


def _open(section: Section) -> bool:
    return section.lines[0].split()[1] != "0"


def _nothing_flows(section: Section, transport: list[str], bundled: bool) -> Section:
    """The answer to a removed section: inactive on the shared transport, or else refused."""
    kind, _, rest = section.lines[0].partition(" ")
    port = "9" if bundled else "0"
    lines = [f"{kind} {port} {rest.partition(' ')[2]}", "c=IN IP4 0.0.0.0", "a=inactive"]
    lines += [line for line in section.lines if PLAIN.match(line)]
    return Section(lines + transport)
