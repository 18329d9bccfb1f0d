"""Fakes and waiting rooms for tests, public on purpose: nothing here is used by the product."""
