"""What is left of an offer, and how the rest is answered."""

import pytest

from duologue.serve.sdp import CANDIDATES, SECTIONS, Offer

HEAD = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
SECRETS = ["a=ice-ufrag:u", "a=ice-pwd:p", "a=fingerprint:sha-256 AB", "a=setup:actpass"]


def section(kind: str, mid: str, *lines: str) -> list[str]:
    formats = "webrtc-datachannel" if kind == "application" else "96"
    return [f"m={kind} 9 UDP/TLS/RTP/SAVPF {formats}", f"a=mid:{mid}", *SECRETS, *lines]


def offer(*sections: list[str], bundle: str = "") -> str:
    head = [*HEAD, f"a=group:BUNDLE {bundle}"] if bundle else HEAD
    return "\r\n".join([*head, *(line for lines in sections for line in lines)]) + "\r\n"


def answer(text: str) -> str:
    """As a library would, to what is left: the same sections, with secrets of its own."""
    return text.replace("ice-ufrag:u", "ice-ufrag:mine").replace("setup:actpass", "setup:active")


def sections(text: str) -> list[list[str]]:
    return [("m=" + part).splitlines() for part in text.split("m=")[1:]]


def test_an_offer_of_sound_and_events_is_left_as_it_is():
    text = offer(section("audio", "0", "a=sendrecv"), section("application", "1"), bundle="0 1")
    assert sorted(Offer(text).text.splitlines()) == sorted(text.splitlines())
    assert Offer(text).complete(answer(text)).split() == answer(Offer(text).text).split()


def test_nothing_but_the_first_sound_and_the_first_channel_is_taken():
    video = section("video", "a", "a=rtpmap:96 VP8/90000", "a=sendrecv", "a=ssrc:1 cname:x")
    text = offer(
        video, section("audio", "b"), section("audio", "c"), section("application", "d"), bundle="a b c d"
    )
    reduced = Offer(text)
    assert [lines[1] for lines in sections(reduced.text)] == ["a=mid:b", "a=mid:d"]
    assert "a=group:BUNDLE b d" in reduced.text.splitlines()
    whole = reduced.complete(answer(reduced.text))
    assert "a=group:BUNDLE a b c d" in whole.splitlines()
    kinds = [lines[0].split()[0] for lines in sections(whole)]
    assert kinds == ["m=video", "m=audio", "m=audio", "m=application"]
    refused = sections(whole)[0]
    assert {"a=inactive", "a=mid:a", "a=ice-ufrag:mine", "a=rtpmap:96 VP8/90000"} <= set(refused)
    assert not any(line.startswith(("a=sendrecv", "a=ssrc")) for line in refused)
    assert [("a=inactive" in lines) for lines in sections(whole)] == [True, False, True, False]


def test_a_section_with_a_transport_of_its_own_is_refused_outright():
    reduced = Offer(offer(section("audio", "0"), section("video", "1"), bundle="0"))
    whole = reduced.complete(answer(reduced.text))
    assert sections(whole)[1][0].startswith("m=video 0 ")
    assert "a=group:BUNDLE 0" in whole.splitlines()


def test_few_addresses_are_tried_and_none_by_tcp():
    udp = [f"a=candidate:{i} 1 udp 1 192.0.2.{i} 9 typ host" for i in range(200)]
    tcp = ["a=candidate:9 1 tcp 1 192.0.2.9 9 typ host tcptype active"]
    left = Offer(offer(section("audio", "0", *tcp, *udp))).text.splitlines()
    assert [line for line in left if "candidate" in line] == udp[:CANDIDATES]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0",
        offer(section("video", "0")),
        offer(*[section("audio", str(i)) for i in range(SECTIONS + 1)]),
    ],
)
def test_what_offers_no_sound_is_refused(text):
    with pytest.raises(ValueError):
        Offer(text)
