"""Stage report: what was found, how far it can be trusted, and what more certainty would cost."""
