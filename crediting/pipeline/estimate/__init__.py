"""Stage estimate: which coalitions an estimator can use, and what it finds in them."""
