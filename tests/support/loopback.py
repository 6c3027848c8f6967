"""What clients of this machine's own plain HTTP servers share."""

import ssl

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: a client that makes its own loads the system's authorities, which takes longer than most tests."""
