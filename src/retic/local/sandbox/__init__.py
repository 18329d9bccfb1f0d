"""A mesh's private corner of one machine: network namespaces of nodes and pods, and commands run in them.

`fabric` is what pid 1 of a mesh uses, `enter` what a command on the host side uses. All the rest serves one
of them. Nothing here knows of Kubernetes objects or of proxies, and nothing is made in the host's namespaces.
"""
