"""The kinds of scenes; nothing is imported here."""

SPOKEN = ("interruption", "backchannel", "stop", "conversation", "pause", "turn")
QUIET = ("silence", "noise", "babble")
KINDS = (*QUIET, *SPOKEN)
LONG = "ten-minutes"
HEARD, UNHEARD = "heard", "unheard"
