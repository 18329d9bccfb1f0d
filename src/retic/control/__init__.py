"""The API behind the commands: a unix socket of mode 0600 that one user's own commands may ask.

It passes questions to what the wiring gives it and answers on; it decides nothing about the mesh.
"""
