"""What a failed request's entry means: the code, what decided, the state of what was called, what to change."""
