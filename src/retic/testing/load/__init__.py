"""A load generator that tells the truth about latency: `python -m retic.testing.load URL ...`.

Open loop: requests are due at the times of a Poisson process, whatever the server does, and latency counts
from when a request was due, so a stall is felt by every request that it delayed. Closed loop (`--rate 0`):
each worker asks again as soon as it was answered, which shows throughput and hides stalls. Percentiles come
from every single latency, not from buckets.
"""
