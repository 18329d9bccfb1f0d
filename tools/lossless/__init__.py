"""Whether a request is lost while a mesh changes: one event again and again under load, and the table of results."""
