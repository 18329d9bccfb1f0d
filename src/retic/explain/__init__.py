"""Whatever is decided can be explained: from recorded reads and faults back to objects, files and lines.

Reads values that others recorded; decides nothing, changes nothing, and looks into no file.
"""
