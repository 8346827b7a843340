"""PyKCS11 as its users write it: one function is one scenario, `pykcs11.py SCENARIO` runs it.

PyKCS11 passes templates through as they are, so these are the templates of its own documentation and samples.
"""

import hashlib
import os
import subprocess
import sys
import tempfile

import PyKCS11
from PyKCS11 import Mechanism, PyKCS11Error

PIN = os.environ["HSMD_PIN"]
DATA = b"The quick brown fox jumps over the lazy dog. " * 1000
P256 = bytes.fromhex("06082a8648ce3d030107")
ED25519 = b"\x13\x0cedwards25519"
# `from PyKCS11 import *` would bring thousands of names; the constants are the ones of PKCS#11.
CK = PyKCS11.LowLevel
library = PyKCS11.PyKCS11Lib()


def session(flags=CK.CKF_SERIAL_SESSION | CK.CKF_RW_SESSION, pin=PIN):
    (slot,) = library.getSlotList(tokenPresent=True)
    opened = library.openSession(slot, flags)
    if pin:
        opened.login(pin)
    return opened


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except PyKCS11Error as error:
        assert error.value == code, f"{error} and not {PyKCS11.CKR[code]}"
        return
    raise AssertionError(f"{call} was not refused with {PyKCS11.CKR[code]}")


def pair(opened, kind, mechanism, *public):
    return opened.generateKeyPair(
        [(CK.CKA_CLASS, CK.CKO_PUBLIC_KEY), (CK.CKA_KEY_TYPE, kind), (CK.CKA_TOKEN, CK.CK_TRUE),
         (CK.CKA_PRIVATE, CK.CK_FALSE), (CK.CKA_VERIFY, CK.CK_TRUE), (CK.CKA_LABEL, "pair"), (CK.CKA_ID, (0x22,)),
         *public],
        [(CK.CKA_CLASS, CK.CKO_PRIVATE_KEY), (CK.CKA_KEY_TYPE, kind), (CK.CKA_TOKEN, CK.CK_TRUE),
         (CK.CKA_PRIVATE, CK.CK_TRUE), (CK.CKA_SIGN, CK.CK_TRUE), (CK.CKA_LABEL, "pair"), (CK.CKA_ID, (0x22,))],
        mecha=Mechanism(mechanism, None))


def rsa_pair(opened):
    return pair(opened, CK.CKK_RSA, CK.CKM_RSA_PKCS_KEY_PAIR_GEN, (CK.CKA_MODULUS_BITS, 2048),
                (CK.CKA_PUBLIC_EXPONENT, (1, 0, 1)), (CK.CKA_ENCRYPT, CK.CK_TRUE), (CK.CKA_WRAP, CK.CK_TRUE))


def aes_key(opened, *more):
    return opened.generateKey([(CK.CKA_CLASS, CK.CKO_SECRET_KEY), (CK.CKA_KEY_TYPE, CK.CKK_AES),
                               (CK.CKA_VALUE_LEN, 32), *more])


def slots_and_mechanisms():
    info = library.getInfo()
    assert info.manufacturerID.strip(), info
    (slot,) = library.getSlotList(tokenPresent=True)
    token = library.getTokenInfo(slot)
    assert token.label.strip() == os.environ["HSMD_TOKEN_LABEL"]
    assert token.flags & CK.CKF_TOKEN_INITIALIZED
    library.getSlotInfo(slot)
    names = library.getMechanismList(slot)
    assert {"CKM_RSA_PKCS", "CKM_ECDSA", "CKM_AES_GCM"} <= set(names), names
    for name in names:
        if name != "CKM_ML_DSA":  # PyKCS11 1.5.20 adds it to every list by itself
            library.getMechanismInfo(slot, name)


def sessions():
    opened = session(pin=None)
    assert opened.getSessionInfo().state == CK.CKS_RW_PUBLIC_SESSION
    refused(CK.CKR_PIN_INCORRECT, opened.login, "654321")
    opened.login(PIN)
    refused(CK.CKR_USER_ALREADY_LOGGED_IN, opened.login, PIN)
    assert opened.getSessionInfo().state == CK.CKS_RW_USER_FUNCTIONS
    opened.setPin(PIN, "a new one")
    opened.logout()
    refused(CK.CKR_PIN_INCORRECT, opened.login, PIN)
    opened.login("a new one")
    opened.setPin("a new one", PIN)
    assert len(bytes(opened.generateRandom(33))) == 33
    opened.seedRandom(b"seed")
    assert bytes(opened.digest(DATA, Mechanism(CK.CKM_SHA256, None))) == hashlib.sha256(DATA).digest()
    stream = opened.digestSession(Mechanism(CK.CKM_SHA384, None))
    assert bytes(stream.update(DATA).update(DATA).final()) == hashlib.sha384(DATA * 2).digest()
    opened.closeSession()
    refused(CK.CKR_SESSION_HANDLE_INVALID, opened.logout)
    officer = session(pin=None)
    officer.login(os.environ["HSMD_SO_PIN"], CK.CKU_SO)
    officer.initPin("yet another")
    officer.logout()
    officer.login("yet another")


def rsa():
    opened = session()
    public, private = rsa_pair(opened)
    for mechanism in (CK.CKM_SHA256_RSA_PKCS, CK.CKM_SHA512_RSA_PKCS):
        signature = opened.sign(private, DATA, Mechanism(mechanism, None))
        assert opened.verify(public, DATA, signature, Mechanism(mechanism, None))
        assert not opened.verify(public, DATA[1:], signature, Mechanism(mechanism, None))
    pss = PyKCS11.RSA_PSS_Mechanism(CK.CKM_SHA256_RSA_PKCS_PSS, CK.CKM_SHA256, CK.CKG_MGF1_SHA256, 32)
    assert opened.verify(public, DATA, opened.sign(private, DATA, pss), pss)
    for digest, mask in ((CK.CKM_SHA_1, CK.CKG_MGF1_SHA1), (CK.CKM_SHA256, CK.CKG_MGF1_SHA256)):
        oaep = PyKCS11.RSAOAEPMechanism(digest, mask)
        assert bytes(opened.decrypt(private, opened.encrypt(public, b"secret", oaep), oaep)) == b"secret"


def ec():
    opened = session()
    public, private = pair(opened, CK.CKK_EC, CK.CKM_EC_KEY_PAIR_GEN, (CK.CKA_EC_PARAMS, P256))
    digest = hashlib.sha256(DATA).digest()
    signature = opened.sign(private, digest, Mechanism(CK.CKM_ECDSA, None))
    assert len(signature) == 64 and opened.verify(public, digest, signature, Mechanism(CK.CKM_ECDSA, None))
    signature = opened.sign(private, DATA, Mechanism(CK.CKM_ECDSA_SHA256, None))
    assert opened.verify(public, DATA, signature, Mechanism(CK.CKM_ECDSA_SHA256, None))
    (point,) = opened.getAttributeValue(public, [CK.CKA_EC_POINT])
    secret = opened.deriveKey(
        private,
        [(CK.CKA_CLASS, CK.CKO_SECRET_KEY), (CK.CKA_KEY_TYPE, CK.CKK_GENERIC_SECRET), (CK.CKA_VALUE_LEN, 32),
         (CK.CKA_SENSITIVE, CK.CK_FALSE), (CK.CKA_EXTRACTABLE, CK.CK_TRUE)],
        PyKCS11.ECDH1_DERIVE_Mechanism(bytes(point)))
    (value,) = opened.getAttributeValue(secret, [CK.CKA_VALUE])
    assert len(value) == 32


def ed25519():
    opened = session()
    public, private = pair(opened, CK.CKK_EC_EDWARDS, CK.CKM_EC_EDWARDS_KEY_PAIR_GEN, (CK.CKA_EC_PARAMS, ED25519))
    for mechanism in (Mechanism(CK.CKM_EDDSA, None), PyKCS11.EDDSA_Mechanism()):
        signature = opened.sign(private, DATA, mechanism)
        assert len(signature) == 64 and opened.verify(public, DATA, signature, mechanism)


def openssl(*arguments, **files):
    """Runs openssl; a named argument `x=bytes` becomes a file whose path replaces the word `{x}`."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, content in files.items():
            paths[name] = os.path.join(folder, name)
            with open(paths[name], "wb") as file:
                file.write(content)
        words = [word.format(**paths) for word in arguments]
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout


def x25519():
    """The curve by its OID, by its name, and as OpenSC 0.23 miscounts it: each pair agrees with OpenSSL."""
    opened = session()
    for curve in (bytes.fromhex("06032b656e"), b"\x13\x0acurve25519", b"\x13\x0bcurve25519"):
        public, private = pair(
            opened, CK.CKK_EC_MONTGOMERY, CK.CKM_EC_MONTGOMERY_KEY_PAIR_GEN, (CK.CKA_EC_PARAMS, curve))
        (point,) = opened.getAttributeValue(public, [CK.CKA_EC_POINT])
        # RFC 8410, 4: the algorithm, then the 32 bytes of the key.
        spki = bytes.fromhex("302a300506032b656e032100") + bytes(point)[2:]
        theirs = openssl("genpkey", "-algorithm", "X25519")
        shared = openssl("pkeyutl", "-derive", "-inkey", "{key}", "-peerform", "DER", "-peerkey", "{peer}",
                         key=theirs, peer=spki)
        their_point = openssl("pkey", "-in", "{key}", "-pubout", "-outform", "DER", key=theirs)[-32:]
        for form in (their_point, b"\x04\x20" + their_point):
            secret = opened.deriveKey(
                private,
                [(CK.CKA_CLASS, CK.CKO_SECRET_KEY), (CK.CKA_KEY_TYPE, CK.CKK_GENERIC_SECRET),
                 (CK.CKA_SENSITIVE, CK.CK_FALSE), (CK.CKA_EXTRACTABLE, CK.CK_TRUE)],
                PyKCS11.ECDH1_DERIVE_Mechanism(form))
            (value,) = opened.getAttributeValue(secret, [CK.CKA_VALUE])
            assert bytes(value) == shared


def latch():
    """A key that has wrapped a sensitive key is left with that, at C_EncryptInit and C_DecryptInit."""
    opened = session()
    iv = bytes(16)
    padded = Mechanism(CK.CKM_AES_CBC_PAD, iv)
    sensitive = aes_key(opened, (CK.CKA_EXTRACTABLE, CK.CK_TRUE))
    for on_token in (CK.CK_TRUE, CK.CK_FALSE):
        key = aes_key(opened, (CK.CKA_WRAP, CK.CK_TRUE), (CK.CKA_TOKEN, on_token))
        secret = bytes(opened.encrypt(key, DATA, padded))
        opened.wrapKey(key, sensitive, Mechanism(CK.CKM_AES_KEY_WRAP, None))
        refused(CK.CKR_KEY_FUNCTION_NOT_PERMITTED, opened.encrypt, key, DATA, padded)
        refused(CK.CKR_KEY_FUNCTION_NOT_PERMITTED, opened.decrypt, key, secret, padded)


def aes():
    opened = session()
    key = aes_key(opened, (CK.CKA_TOKEN, CK.CK_TRUE), (CK.CKA_ENCRYPT, CK.CK_TRUE), (CK.CKA_DECRYPT, CK.CK_TRUE))
    iv = bytes(opened.generateRandom(16))
    padded, whole = Mechanism(CK.CKM_AES_CBC_PAD, iv), Mechanism(CK.CKM_AES_CBC, iv)
    secret = bytes(opened.encrypt(key, DATA, padded))
    assert bytes(opened.decrypt(key, secret, padded)) == DATA
    assert bytes(opened.decrypt(key, opened.encrypt(key, DATA[:4096], whole), whole)) == DATA[:4096]
    refused(CK.CKR_DATA_LEN_RANGE, opened.encrypt, key, DATA[:4097], whole)
    opened.encryptInit(padded, key)
    pieces = b"".join(bytes(opened.encryptUpdate(DATA[i:i + 1001])) for i in range(0, len(DATA), 1001))
    assert pieces + bytes(opened.encryptFinal()) == secret
    opened.decryptInit(padded, key)
    pieces = b"".join(bytes(opened.decryptUpdate(secret[i:i + 777])) for i in range(0, len(secret), 777))
    assert pieces + bytes(opened.decryptFinal()) == DATA
    gcm = PyKCS11.AES_GCM_Mechanism(os.urandom(12), b"header", 128)
    secret = bytes(opened.encrypt(key, DATA, gcm))
    assert len(secret) == len(DATA) + 16 and bytes(opened.decrypt(key, secret, gcm)) == DATA
    counter = PyKCS11.AES_CTR_Mechanism(128, iv)
    assert bytes(opened.decrypt(key, opened.encrypt(key, DATA, counter), counter)) == DATA


def hmac():
    opened = session()
    key = opened.generateKey(
        [(CK.CKA_CLASS, CK.CKO_SECRET_KEY), (CK.CKA_KEY_TYPE, CK.CKK_GENERIC_SECRET), (CK.CKA_VALUE_LEN, 32),
         (CK.CKA_SIGN, CK.CK_TRUE), (CK.CKA_VERIFY, CK.CK_TRUE)], Mechanism(CK.CKM_GENERIC_SECRET_KEY_GEN, None))
    mechanism = Mechanism(CK.CKM_SHA256_HMAC, None)
    code = opened.sign(key, DATA, mechanism)
    assert len(code) == 32 and opened.verify(key, DATA, code, mechanism)


def wrap():
    opened = session()
    wrapping = aes_key(opened, (CK.CKA_WRAP, CK.CK_TRUE), (CK.CKA_UNWRAP, CK.CK_TRUE))
    key = aes_key(opened, (CK.CKA_EXTRACTABLE, CK.CK_TRUE))
    public, private = rsa_pair(opened)
    unwrapped = [(CK.CKA_CLASS, CK.CKO_SECRET_KEY), (CK.CKA_KEY_TYPE, CK.CKK_AES)]
    cbc = Mechanism(CK.CKM_AES_CBC_PAD, bytes(16))
    secret = opened.encrypt(key, DATA, cbc)
    oaep = PyKCS11.RSAOAEPMechanism(CK.CKM_SHA_1, CK.CKG_MGF1_SHA1)
    for wrapper, unwrapper, mechanism in (
            (wrapping, wrapping, Mechanism(CK.CKM_AES_KEY_WRAP, None)),
            (wrapping, wrapping, Mechanism(CK.CKM_AES_KEY_WRAP_KWP, None)),
            (public, private, oaep)):
        again = opened.unwrapKey(unwrapper, opened.wrapKey(wrapper, key, mechanism), unwrapped, mechanism)
        assert bytes(opened.decrypt(again, secret, cbc)) == DATA
    refused(CK.CKR_KEY_UNEXTRACTABLE, opened.wrapKey, wrapping, aes_key(opened), Mechanism(CK.CKM_AES_KEY_WRAP, None))


def certificates():
    opened = session()
    with tempfile.TemporaryDirectory() as folder:
        der = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder + "/key",
                              "-subj", "/CN=pykcs11", "-days", "3", "-outform", "DER"],
                             check=True, capture_output=True).stdout
    opened.createObject([(CK.CKA_CLASS, CK.CKO_CERTIFICATE), (CK.CKA_CERTIFICATE_TYPE, CK.CKC_X_509),
                         (CK.CKA_TOKEN, CK.CK_TRUE), (CK.CKA_LABEL, "c"), (CK.CKA_ID, (0x22,)),
                         (CK.CKA_SUBJECT, b"\x30\x00"), (CK.CKA_VALUE, der)])
    opened.logout()
    (found,) = opened.findObjects([(CK.CKA_CLASS, CK.CKO_CERTIFICATE), (CK.CKA_ID, (0x22,))])
    assert bytes(opened.getAttributeValue(found, [CK.CKA_VALUE])[0]) == der
    assert found.to_dict()["CKA_LABEL"] == "c"


def search():
    opened = session()
    for number in range(30):
        aes_key(opened, (CK.CKA_LABEL, f"k{number % 3}"), (CK.CKA_ID, (number,)))
    assert len(opened.findObjects()) == 30
    found = opened.findObjects([(CK.CKA_LABEL, "k1")])
    assert len(found) == 10
    # Every attribute that the library knows, one by one: what the object has not is None.
    known = sorted(code for code in PyKCS11.CKA.values() if isinstance(code, int) and code < CK.CKA_VENDOR_DEFINED)
    everything = opened.getAttributeValue(found[0], known)
    assert everything
    opened.setAttributeValue(found[0], [(CK.CKA_LABEL, "renamed")])
    assert len(opened.findObjects([(CK.CKA_LABEL, "k1")])) == 9
    opened.destroyObject(found[1])
    assert len(opened.findObjects([(CK.CKA_CLASS, CK.CKO_SECRET_KEY)])) == 29
    opened.logout()
    assert opened.findObjects() == []


if __name__ == "__main__":
    library.load(os.environ["HSMD_PKCS11_MODULE"])
    globals()[sys.argv[1]]()
