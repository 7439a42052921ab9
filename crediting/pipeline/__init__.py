"""The stages of a study and what they share."""
