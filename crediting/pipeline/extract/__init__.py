"""Stage extract: what properties read in images, through the extractors that see it."""
