"""Every attribute of objects made with the shortest templates, one line each: what a token fills in by itself.

The same program runs on our token and on one of SoftHSM2; the test compares what they print.
"""

import ctypes
import os
import sys

import PyKCS11
from PyKCS11 import Mechanism

CK = PyKCS11.LowLevel
# Different for each object: only that they are there is of interest.
UNIQUE = {"CKA_MODULUS", "CKA_EC_POINT", "CKA_CHECK_VALUE", "CKA_UNIQUE_ID", "CKA_PUBLIC_KEY_INFO", "CKA_VALUE"}
P256 = bytes.fromhex("06082a8648ce3d030107")
ED25519 = b"\x13\x0cedwards25519"


class Attribute(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong)]


def read(module, session, handle, code):
    """C_GetAttributeValue as it is: PyKCS11 does not tell an attribute without value from one that is not there."""
    query = Attribute(code, None, 0)
    found = module.C_GetAttributeValue(ctypes.c_ulong(session), ctypes.c_ulong(handle), ctypes.byref(query), ctypes.c_ulong(1))
    if found != CK.CKR_OK:
        return found, b""
    room = ctypes.create_string_buffer(max(query.length, 1))
    query.value = ctypes.cast(room, ctypes.c_void_p)
    found = module.C_GetAttributeValue(ctypes.c_ulong(session), ctypes.c_ulong(handle), ctypes.byref(query), ctypes.c_ulong(1))
    return found, room.raw[:query.length]


def show(name, value):
    if name in UNIQUE and value:
        return "there"
    if len(value) == 1:
        return {b"\0": "no", b"\1": "yes"}.get(value, value.hex())
    if len(value) == 8:
        number = int.from_bytes(value, "little")
        return "unavailable" if number == (1 << 64) - 1 else str(number)
    return value.hex() or "empty"


def dump(module, session, what, handle):
    codes = {code: name for name, code in PyKCS11.CKA.items() if isinstance(name, str) and code != CK.CKA_VENDOR_DEFINED}
    for code, name in sorted(codes.items()):
        found, value = read(module, session, handle, code)
        if found == CK.CKR_ATTRIBUTE_TYPE_INVALID:
            continue
        shown = show(name, value) if found == CK.CKR_OK else PyKCS11.CKR[found]
        print(f"{what}: {name} = {shown}")


def objects(session):
    generate, make = session.generateKey, session.createObject
    secret = lambda kind: [(CK.CKA_CLASS, CK.CKO_SECRET_KEY), (CK.CKA_KEY_TYPE, kind)]
    yield "generated AES key", generate([(CK.CKA_VALUE_LEN, 32)], Mechanism(CK.CKM_AES_KEY_GEN, None))
    yield "generated generic secret", generate([(CK.CKA_VALUE_LEN, 32)], Mechanism(CK.CKM_GENERIC_SECRET_KEY_GEN, None))
    pairs = (
        ("RSA", CK.CKM_RSA_PKCS_KEY_PAIR_GEN, [(CK.CKA_MODULUS_BITS, 2048), (CK.CKA_PUBLIC_EXPONENT, (1, 0, 1))]),
        ("P-256", CK.CKM_EC_KEY_PAIR_GEN, [(CK.CKA_EC_PARAMS, P256)]),
        ("Ed25519", CK.CKM_EC_EDWARDS_KEY_PAIR_GEN, [(CK.CKA_EC_PARAMS, ED25519)]),
    )
    made = {}
    for name, mechanism, template in pairs:
        made[name] = session.generateKeyPair(template, [], mecha=Mechanism(mechanism, None))
        yield f"generated {name} public key", made[name][0]
        yield f"generated {name} private key", made[name][1]
    yield "imported AES key", make([*secret(CK.CKK_AES), (CK.CKA_VALUE, bytes(range(32)))])
    yield "imported generic secret", make([*secret(CK.CKK_GENERIC_SECRET), (CK.CKA_VALUE, bytes(range(32)))])
    modulus, exponent = session.getAttributeValue(made["RSA"][0], [CK.CKA_MODULUS, CK.CKA_PUBLIC_EXPONENT])
    yield "imported RSA public key", make([
        (CK.CKA_CLASS, CK.CKO_PUBLIC_KEY), (CK.CKA_KEY_TYPE, CK.CKK_RSA),
        (CK.CKA_MODULUS, modulus), (CK.CKA_PUBLIC_EXPONENT, exponent)])
    (point,) = session.getAttributeValue(made["P-256"][0], [CK.CKA_EC_POINT])
    yield "imported P-256 public key", make([
        (CK.CKA_CLASS, CK.CKO_PUBLIC_KEY), (CK.CKA_KEY_TYPE, CK.CKK_EC), (CK.CKA_EC_PARAMS, P256),
        (CK.CKA_EC_POINT, point)])
    yield "imported P-256 private key", make([
        (CK.CKA_CLASS, CK.CKO_PRIVATE_KEY), (CK.CKA_KEY_TYPE, CK.CKK_EC), (CK.CKA_EC_PARAMS, P256),
        (CK.CKA_VALUE, bytes(range(1, 33)))])
    key = generate([(CK.CKA_VALUE_LEN, 32), (CK.CKA_WRAP, CK.CK_TRUE), (CK.CKA_UNWRAP, CK.CK_TRUE)],
                   Mechanism(CK.CKM_AES_KEY_GEN, None))
    other = generate([(CK.CKA_VALUE_LEN, 32), (CK.CKA_EXTRACTABLE, CK.CK_TRUE)], Mechanism(CK.CKM_AES_KEY_GEN, None))
    wrap = Mechanism(CK.CKM_AES_KEY_WRAP, None)
    blob = session.wrapKey(key, other, wrap)
    yield "extractable AES key", other
    yield "unwrapped AES key", session.unwrapKey(key, bytes(blob), secret(CK.CKK_AES), wrap)
    (raw,) = session.getAttributeValue(made["P-256"][0], [CK.CKA_EC_POINT])
    deriving = session.generateKeyPair(
        [(CK.CKA_EC_PARAMS, P256)], [(CK.CKA_DERIVE, CK.CK_TRUE)], mecha=Mechanism(CK.CKM_EC_KEY_PAIR_GEN, None))
    yield "derived AES key", session.deriveKey(
        deriving[1], [*secret(CK.CKK_AES), (CK.CKA_VALUE_LEN, 32)], PyKCS11.ECDH1_DERIVE_Mechanism(bytes(raw)))
    yield "certificate", make([
        (CK.CKA_CLASS, CK.CKO_CERTIFICATE), (CK.CKA_CERTIFICATE_TYPE, CK.CKC_X_509), (CK.CKA_SUBJECT, b"subject"),
        (CK.CKA_VALUE, b"value")])
    yield "data object", make([(CK.CKA_CLASS, CK.CKO_DATA), (CK.CKA_VALUE, b"value")])


def main():
    library = PyKCS11.PyKCS11Lib()
    library.load(os.environ["PYKCS11LIB"])
    module = ctypes.CDLL(os.environ["PYKCS11LIB"])
    module.C_GetAttributeValue.restype = ctypes.c_ulong
    slot = library.getSlotList(tokenPresent=True)[0]
    session = library.openSession(slot, CK.CKF_SERIAL_SESSION | CK.CKF_RW_SESSION)
    session.login(sys.argv[1])
    for what, handle in objects(session):
        dump(module, session.session.value(), what, handle.value())


main()
