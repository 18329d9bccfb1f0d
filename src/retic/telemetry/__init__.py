"""What passes through the proxies: counted, reported, and kept for a while for whoever asks.

It knows what Envoys count and say of requests. It starts no Envoy and knows no mesh.
"""
