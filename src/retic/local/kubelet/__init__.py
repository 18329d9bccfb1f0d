"""Runs pods: namespaces, network, containers as processes, probes, volumes, and their end in order."""
