"""One prediction followed through a network, forward, back, and one step further."""
