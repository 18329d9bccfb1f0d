"""The `retic` command: reads what the user wrote, asks the mesh, prints. Decides nothing about the mesh.

Each command is a module of its own, imported when it is called, so that help comes at once.
"""
