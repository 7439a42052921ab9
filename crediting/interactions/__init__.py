"""Who is redundant and who complements whom: Shapley interactions of two contributors."""
