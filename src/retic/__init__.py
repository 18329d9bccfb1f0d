"""Retic, a service mesh: the control plane in Python, the proxy stock Envoy."""
