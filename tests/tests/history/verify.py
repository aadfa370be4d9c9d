"""An independent reading of a proof: verify.py PROOF VKEY. Written from the C2SP and RFC 9162 texts, not from our code.

Uses `cryptography` where it is installed, else openssl's command line, for Ed25519. Ends with 0 and prints the kind of
the event when everything holds.
"""

import base64
import hashlib
import subprocess
import sys
import tempfile


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def need(holds, what):
    if not holds:
        sys.exit("refused: " + what)


def unbase64(text):
    """Base64 in its one form: Python's own decoder takes others too."""
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 in another form")
    return data


def number(text):
    need(str(int(text)) == text, "a number in another form")
    return int(text)


def ed25519(key, signature, message):
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        with tempfile.TemporaryDirectory() as folder:
            names = [f"{folder}/{name}" for name in ("key", "signature", "message")]
            der = bytes.fromhex("302a300506032b6570032100") + key
            for name, content in zip(names, (der, signature, message)):
                with open(name, "wb") as file:
                    file.write(content)
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", names[0], "-rawin"]
            return subprocess.run(command + ["-sigfile", names[1], "-in", names[2]], capture_output=True).returncode == 0
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except InvalidSignature:
        return False


def leaf_of(opening):
    lines = opening.decode().split("\n")
    need(lines.pop(0) == "kluis-log-opening/v1" and lines.pop() == "", "the opening's form")
    fields = dict(line.split(" ", 1) for line in lines)
    salt = unbase64(fields["salt"])
    texts = [fields["actor"].encode(), fields["vault"].encode(), fields["document"].encode(), unbase64(fields["details"])]
    kind = fields["kind"].encode()
    leaf = bytes([1, len(kind)]) + kind + number(fields["time"]).to_bytes(8, "big")
    for tag, text in enumerate(texts, 1):
        own = sha(b"kluis log salt v1", bytes([tag]), salt)
        leaf += sha(b"kluis log commitment v1", bytes([tag]), own, text)
    return fields["kind"], leaf


def root_of(leaf, index, size, path):
    """RFC 9162, 2.1.3.2, as a walk over widths."""
    at, last, node = index, size - 1, sha(b"\0", leaf)
    for step in path:
        need(last > 0, "too many hashes")
        if at % 2 == 1 or at == last:
            node = sha(b"\1", step, node)
            while at % 2 == 0 and at > 0:
                at, last = at // 2, last // 2
        else:
            node = sha(b"\1", node, step)
        at, last = at // 2, last // 2
    need(last == 0, "too few hashes")
    return node


def main(proof_file, vkey):
    with open(proof_file, encoding="utf-8", newline="") as file:
        head, note = file.read().split("\n\n", 1)
    lines = head.split("\n")
    need(lines.pop(0) == "c2sp.org/tlog-proof@v1", "the head")
    kind, leaf = leaf_of(unbase64(lines.pop(0).removeprefix("extra ")))
    index = number(lines.pop(0).removeprefix("index "))
    path = [unbase64(line) for line in lines]

    name, key_id, key = vkey.strip().split("+", 2)
    key = unbase64(key)
    need(key[0] == 1 and sha(name.encode(), b"\n", key)[:4].hex() == key_id, "the key")
    text, signatures = note.split("\n\n", 1)
    need(signatures.endswith("\n"), "the last line's end")
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    need(origin == name, "the log's name")
    found = [line.split(" ") for line in signatures[:-1].split("\n")]
    own = [unbase64(sig) for dash, by, sig in found if dash == "\u2014" and by == name]
    own = [sig[4:] for sig in own if sig[:4].hex() == key_id]
    need(any(ed25519(key[1:], sig, text.encode()) for sig in own), "the signature")
    size = number(size)
    need(index < size, "the place")
    need(root_of(leaf, index, size, path) == unbase64(root), "the entry is not in the log")
    print(kind)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ArithmeticError, ValueError, KeyError, IndexError) as error:
        sys.exit(f"refused: {error!r}")
