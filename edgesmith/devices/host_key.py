"""`python host_key.py FINGERPRINT HOST TYPE KEY`: print KEY as a known host if it has the fingerprint.

ssh calls this (KnownHostsCommand) with the key that a server shows, so a device file may pin a machine by the line that
`ssh-keygen -lf` prints for it, and no known_hosts file has to be kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys


def fingerprint(key: str) -> str:
    """The SHA256 fingerprint of a host key in base64, as ssh-keygen writes it; "" for what is none."""
    try:
        blob = base64.b64decode(key, validate=True)
    except binascii.Error:
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


if __name__ == "__main__":
    wanted, host, kind, shown = sys.argv[1:5]
    found = fingerprint(shown)
    if found == wanted:
        print(host, kind, shown)
    elif found:  # ssh also asks before it has seen a key
        print(f"{host} shows {found} ({kind}), the device file says {wanted}.", file=sys.stderr)
