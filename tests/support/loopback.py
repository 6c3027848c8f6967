"""A TLS context for clients of plain HTTP servers on this machine."""

import ssl

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no authority.

By default, a client loads the system's authorities, which takes longer than most tests.
"""
