"""Sending firmware to a device over the air: ArduinoOTA's protocol, as `espota.py` speaks it.

    we to it, UDP     0 PORT SIZE MD5              an invitation: fetch SIZE bytes at our PORT
    it to us, UDP     OK   or   AUTH NONCE
    we to it, UDP     200 CNONCE RESPONSE          RESPONSE = md5(md5(password):NONCE:CNONCE)
    it to us, UDP     OK   or   Authentication Failed
    it to us, TCP     a connection to PORT; then after each piece how many bytes it has written
    we to it, TCP     the file, in pieces
    it to us, TCP     OK, once the whole of it has the MD5 that was announced; or a text of ERROR

The protocol knows MD5 only. It keeps accidents away, not attackers: whoever may reach the
device's port may write it, so that port belongs to a network of its own.
"""

import hashlib
import socket
import time
from collections.abc import Callable

from examples.firmware_ci.suite.place import Address

FLASH, AUTH = 0, 200
INVITATION_S = 1.0  # a device in the middle of something answers the next one
PIECE_BYTES = 1_460  # what fits a packet, and what the device reads at a time
PIECE_S = 10.0
RESULT_S = 60.0  # writing the last blocks and checking the sum take their time


class OfflineError(Exception):
    """The device did not answer the invitation."""


class UploadError(Exception):
    """The device refused the firmware, or was lost while it was sent."""


def upload(
    address: Address,
    binary: bytes,
    *,
    log: Callable[[str], None],
    password: str = "",
    wait_s: float = 10.0,
) -> None:
    """Send a binary to a device, which starts it.

    Args:
        wait_s: How long the device is invited.

    Raises:
        OfflineError: It did not answer in that time.
        UploadError: It refused, or the connection broke; the message is the device's own.
    """
    md5 = _md5(binary)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((address.host, address.ota_port))
        here = udp.getsockname()[0]
        with socket.create_server((here, 0)) as server:
            port = server.getsockname()[1]
            log(f"inviting {address.host}:{address.ota_port} to fetch {len(binary)} bytes")
            answer = _invite(udp, f"{FLASH} {port} {len(binary)} {md5}\n", wait_s)
            if answer.startswith("AUTH "):
                _authenticate(udp, answer.removeprefix("AUTH ").strip(), password, md5)
            elif answer != "OK":
                raise UploadError(f"the device answers {answer[:100]!r}")
            server.settimeout(PIECE_S)
            try:
                connection, _ = server.accept()
            except TimeoutError as error:
                raise UploadError(f"the device did not fetch it within {PIECE_S} s") from error
    with connection:
        _send(connection, binary, log)


def _invite(udp: socket.socket, invitation: str, wait_s: float) -> str:
    until_s = time.monotonic() + wait_s
    while True:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise OfflineError(f"the device did not answer within {wait_s:g} s")
        try:
            udp.settimeout(min(INVITATION_S, left_s))
            udp.send(invitation.encode())
            return udp.recv(128).decode("latin-1").strip()
        except TimeoutError:
            continue
        except OSError:  # nobody listens there, yet
            time.sleep(min(INVITATION_S, left_s) / 5)


def _authenticate(udp: socket.socket, nonce: str, password: str, md5: str) -> None:
    if not password:
        raise UploadError("the device wants a password: set K1_OTA_PASSWORD")
    cnonce = _md5(f"firmware.bin{md5}{time.monotonic_ns()}".encode())
    response = response_to(nonce, cnonce, password)
    udp.settimeout(PIECE_S)
    try:
        udp.send(f"{AUTH} {cnonce} {response}\n".encode())
        answer = udp.recv(128).decode("latin-1").strip()
    except OSError as error:
        raise UploadError(f"the device did not answer the password: {error}") from error
    if answer != "OK":
        raise UploadError(f"the device refuses the password: {answer[:100]!r}")


def response_to(nonce: str, cnonce: str, password: str) -> str:
    """Give what proves that we know the password."""
    return _md5(f"{_md5(password.encode())}:{nonce}:{cnonce}".encode())


def _send(connection: socket.socket, binary: bytes, log: Callable[[str], None]) -> None:
    said, quarter = "", 0
    connection.settimeout(PIECE_S)
    try:
        for start in range(0, len(binary), PIECE_BYTES):
            connection.sendall(binary[start : start + PIECE_BYTES])
            said = connection.recv(32).decode("latin-1")
            if not said or "ERR" in said:
                break
            if (start + PIECE_BYTES) * 4 // len(binary) > quarter:
                quarter += 1
                log(f"sent {25 * quarter} %")
        connection.settimeout(RESULT_S)
        while said and "OK" not in said and "ERR" not in said:
            said = (said + connection.recv(32).decode("latin-1"))[-32:]
    except OSError as error:
        raise UploadError(f"the device was lost: {error}") from error
    if "OK" not in said:
        raise UploadError(f"the device was lost or refused the firmware: {said[-100:]!r}")
    log("the device has it and starts")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
