"""Whether scores that were computed elsewhere are a checkpoint's: servers, and what may have been done on the way."""
