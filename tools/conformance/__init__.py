"""The Gateway API's official conformance suite, run against Retic on a cluster."""
