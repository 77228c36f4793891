"""How fast this machine is: the codec, the language model, and a whole frame of a conversation."""
