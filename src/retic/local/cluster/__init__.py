"""The laptop's cluster: the first process of a mesh's namespaces.

What a cluster has in an API server, controllers, kubelets, a network plugin and a DNS, put together from the
rooms beside this one. It decides nothing about the mesh: the control plane is a process of its own.
"""
