"""Whatever is decided can be explained: from recorded reads and faults back to objects, files and lines.

Reads values that others recorded; changes nothing, and looks into no file. `request` says what becomes of a request
that nobody sends.
"""
