"""Boosted trees on membership, and their exact Shapley values."""
