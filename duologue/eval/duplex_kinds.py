"""The kinds of scenes; nothing is imported here."""

OVER = ("interruption", "backchannel", "stop")  # over the agent's speech
SPOKEN = (*OVER, "conversation", "pause", "turn")
QUIET = ("silence", "noise", "babble")
KINDS = (*QUIET, *SPOKEN)
LONG = "ten-minutes"
HEARD, UNHEARD = "heard", "unheard"
