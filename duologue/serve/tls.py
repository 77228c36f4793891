"""A self-signed certificate, so that browsers on other machines may use the microphone."""

import datetime
import io
import ipaddress
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from duologue.errors import InputError

EVERYWHERE = "0.0.0.0", "::"  # hosts that mean all addresses of this machine


def lan_address() -> str | None:
    """This machine's address in its own network, None without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of nobody: only the way there is looked up
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if ipaddress.ip_address(address).is_loopback else address


def qr_code(text: str) -> str:
    """A QR code for a terminal. Raises InputError without the extra."""
    try:
        import segno
    except ImportError:
        raise InputError("--ssl-self-signed needs the extra: pip install 'duologue[serve]'") from None
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, border=2, compact=True)
    return out.getvalue().rstrip("\n")


@contextmanager
def self_signed(host: str) -> Generator[tuple[Path, Path]]:
    """Yields the files of a certificate for this machine and its key, and deletes them at the end. Browsers will warn
    about it."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise InputError("--ssl-self-signed needs the extra: pip install 'duologue[serve]'") from None
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    for address in filter(None, ("127.0.0.1", "::1", host, lan_address())):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "duologue")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(list(dict.fromkeys(names))), critical=False)
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        pair[1].touch(0o600)
        pair[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        yield pair
