"""Miniature files in the formats of the published data and weights, piece by piece."""
