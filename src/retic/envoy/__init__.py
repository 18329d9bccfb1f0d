"""Mesh values as Envoy resources: one builder per kind, all names in one file.

Pure functions: no input or output, no clock, no log, and no Kubernetes object.
"""
