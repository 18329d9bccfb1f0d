"""A Kubernetes cluster of the real parts on one Linux machine, to develop and test against."""
