"""What differences of complementary coalitions say about Shapley values."""
