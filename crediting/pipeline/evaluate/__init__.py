"""Stage evaluate: utilities of coalitions, of which the ledger is filled until the design ends."""
