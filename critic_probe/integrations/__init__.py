"""What other frameworks call: thin, and computed by the functions that score here."""
