"""The cluster's controllers: what has to be written to the API server, and who of several replicas writes it.

Decides nothing about traffic, which is `retic.mesh`; reads objects from where `retic.sources` brought them.
"""
