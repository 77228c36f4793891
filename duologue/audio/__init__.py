"""Waveforms at the edges of the system, in numpy: files, framing, the wire, devices."""
