"""The stages of a study, each a module or a package with a module `stage`, and what they share."""
