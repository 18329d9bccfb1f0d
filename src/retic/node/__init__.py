"""The node agent: pods' namespaces and redirection, one Envoy, its keys, and the relay of its discovery.

One agent per node and one per gateway. Envoy speaks to its agent only; the agent speaks to the control
plane. Refuses to decide anything about routes or policy: it passes on bytes, and keeps the last good ones.
"""
