"""A reading's way in: the bounded pipeline to the database, and the live values beside it."""
