"""Telling systemd that a service is ready (Type=notify)."""

from __future__ import annotations

import socket
from collections.abc import Mapping

NOTIFY = "NOTIFY_SOCKET"


def notify_systemd(env: Mapping[str, str], state: str) -> None:
    """Tell systemd (Type=notify) how we are, as sd_notify(3) does; nothing without it."""
    address = env.get(NOTIFY)
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError:
        pass  # readiness is a courtesy; the work goes on


def without_notify(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for jobs: they must not speak to systemd in our name."""
    return {name: value for name, value in env.items() if name != NOTIFY}
