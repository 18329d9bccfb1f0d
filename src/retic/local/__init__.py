"""The laptop's end of a mesh: the objects a cluster's controllers would write, and pods as processes.

Nothing here decides what objects mean to the mesh.
"""
