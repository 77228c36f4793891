"""The kinds of scenes; nothing is imported here."""

OVER = ("interruption", "backchannel", "stop")  # over the agent's speech
SPOKEN = (*OVER, "conversation", "pause", "turn")
QUIET = ("silence", "noise", "babble")
CHAINS = (  # a line that leans on what came before it, or that no fact answers: its answer is what counts
    "opener", "negation", "third-party", "half-heard", "unknown", "correction", "repetition", "recall", "follow-up",
)  # fmt: skip
ASIDE = "aside"  # said to somebody else
KINDS = (*QUIET, ASIDE, *CHAINS, *SPOKEN)
LONG = "ten-minutes"
HEARD, UNHEARD = "heard", "unheard"
