"""Models as measuring instruments: what embeds images and texts, and what scores a pair, behind one protocol."""
