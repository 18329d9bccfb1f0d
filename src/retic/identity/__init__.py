"""Who is who: SPIFFE ids, the certificate authority, and who may ask it for which identity.

Refuses to know where pods come from: that a client may enrol, or may hold an identity, is decided by the
two Protocols of `attest`, which local mode and clusters fulfil each in their own way.
"""
