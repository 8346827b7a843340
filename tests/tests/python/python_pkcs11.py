"""python-pkcs11 as its users write it: one function is one scenario, `python_pkcs11.py SCENARIO` runs it.

Everything that a template could say is left to the library's and the token's defaults, unless a scenario is about it.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import traceback

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ec_public_key, encode_ecdsa_signature, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key
from pkcs11.util.x509 import decode_x509_certificate

PIN = os.environ["HSMD_PIN"]
# The PrintableString "edwards25519", as PKCS#11 3.0 asks.
ED25519 = b"\x13\x0cedwards25519"
DATA = b"The quick brown fox jumps over the lazy dog. " * 1000


def token():
    return pkcs11.lib(os.environ["HSMD_PKCS11_MODULE"]).get_token(token_label=os.environ["HSMD_TOKEN_LABEL"])


def user(rw=True):
    return token().open(rw=rw, user_pin=PIN)


def refused(kind, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except kind:
        return
    raise AssertionError(f"{call} was not refused with {kind}")


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


def slots_and_mechanisms():
    library = pkcs11.lib(os.environ["HSMD_PKCS11_MODULE"])
    assert library.cryptoki_version[0] in (2, 3), library.cryptoki_version
    (slot,) = library.get_slots(token_present=True)
    assert slot.get_token().label == os.environ["HSMD_TOKEN_LABEL"]
    mechanisms = slot.get_mechanisms()
    for mechanism in (Mechanism.RSA_PKCS, Mechanism.ECDSA, Mechanism.AES_GCM, Mechanism.SHA256_HMAC):
        assert mechanism in mechanisms, mechanism
    for mechanism in mechanisms:
        slot.get_mechanism_info(mechanism)
    assert token().flags & pkcs11.TokenFlag.USER_PIN_INITIALIZED


def sessions():
    refused(pkcs11.PinIncorrect, token().open, user_pin="654321")
    with token().open() as public:
        assert list(public.get_objects()) == []
        assert len(public.generate_random(128)) == 16
        public.seed_random(b"seed")
        assert public.digest(DATA, mechanism=Mechanism.SHA256) == hashlib.sha256(DATA).digest()
        assert public.digest((DATA, DATA), mechanism=Mechanism.SHA512) == hashlib.sha512(DATA * 2).digest()
    with user(rw=False) as session:
        session.generate_key(KeyType.AES, 256)
        refused(pkcs11.SessionReadOnly, session.generate_key, KeyType.AES, 256, store=True)
    with user() as session:
        session.generate_key(KeyType.AES, 256, store=True, label="kept", id=b"\x07")
    with user() as session:
        key = session.get_key(label="kept")
        assert key.id == b"\x07" and key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
        key[Attribute.LABEL] = "renamed"
        assert session.get_key(id=b"\x07", object_class=ObjectClass.SECRET_KEY).label == "renamed"
        key.destroy()
        refused(pkcs11.NoSuchKey, session.get_key, label="renamed")


def rsa():
    with user() as session:
        public, private = session.generate_keypair(KeyType.RSA, 2048, store=True, label="r", id=b"\x01")
        spki = openssl("rsa", "-RSAPublicKey_in", "-inform", "DER", "-in", "{key}", "-outform", "DER", "-pubout",
                       key=encode_rsa_public_key(public))
        signature = private.sign(DATA)  # SHA512_RSA_PKCS
        assert public.verify(DATA, signature)
        assert not public.verify(DATA + b"!", signature)
        openssl("dgst", "-sha512", "-keyform", "DER", "-verify", "{key}", "-signature", "{sig}", "{data}",
                key=spki, sig=signature, data=DATA)
        pss = (Mechanism.SHA256, pkcs11.MGF.SHA256, 32)
        signature = private.sign(DATA, mechanism=Mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=pss)
        openssl("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-keyform", "DER", "-verify", "{key}",
                "-signature", "{sig}", "{data}", key=spki, sig=signature, data=DATA)
        signature = private.sign((DATA, DATA), mechanism=Mechanism.SHA256_RSA_PKCS)
        assert public.verify((DATA, DATA), signature, mechanism=Mechanism.SHA256_RSA_PKCS)
        secret = public.encrypt(b"secret")  # OAEP with SHA-1, the library's default
        assert private.decrypt(secret) == b"secret"
        oaep = (Mechanism.SHA_1, pkcs11.MGF.SHA1, None)
        secret = openssl("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "{key}", "-pkeyopt",
                         "rsa_padding_mode:oaep", "-in", "{data}", key=spki, data=b"secret")
        assert private.decrypt(secret, mechanism_param=oaep) == b"secret"


def oaep():
    """Every hash, with a label and without, against OpenSSL; and the mask's hash may be another one."""
    with user() as session:
        public, private = session.generate_keypair(KeyType.RSA, 2048)
        spki = openssl("rsa", "-RSAPublicKey_in", "-inform", "DER", "-in", "{key}", "-outform", "DER", "-pubout",
                       key=encode_rsa_public_key(public))
        hashes = (("SHA_1", "SHA1", "sha1"), ("SHA224", "SHA224", "sha224"), ("SHA256", "SHA256", "sha256"),
                  ("SHA384", "SHA384", "sha384"), ("SHA512", "SHA512", "sha512"),
                  ("SHA3_224", "SHA3_224", "sha3-224"), ("SHA3_256", "SHA3_256", "sha3-256"),
                  ("SHA3_384", "SHA3_384", "sha3-384"), ("SHA3_512", "SHA3_512", "sha3-512"))
        for name, mask, md in hashes:
            for label in (None, b"a label of some length" * 3):
                for own, other in (((mask, md), (mask, md)), ((mask, md), ("SHA1", "sha1"))):
                    parameter = (Mechanism[name], pkcs11.MGF[other[0]], label)
                    options = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:" + own[1],
                               "-pkeyopt", "rsa_mgf1_md:" + other[1]]
                    if label:
                        options += ["-pkeyopt", "rsa_oaep_label:" + label.hex()]
                    theirs = openssl("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "{key}", *options,
                                     "-in", "{data}", key=spki, data=b"secret")
                    ours = public.encrypt(b"secret", mechanism_param=parameter)
                    for text in (theirs, ours):
                        assert private.decrypt(text, mechanism_param=parameter) == b"secret", parameter
                    wrong = (Mechanism[name], pkcs11.MGF[other[0]], b"another label")
                    refused(pkcs11.EncryptedDataInvalid, private.decrypt, theirs, mechanism_param=wrong)


def ec():
    with user() as session:
        for curve, name, size in (("secp256r1", "sha256", 32), ("secp384r1", "sha384", 48), ("secp521r1", "sha512", 66),
                                  ("secp256k1", "sha256", 32)):
            parameters = session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True)
            public, private = parameters.generate_keypair(store=True, label=curve)
            digest = hashlib.new(name, DATA).digest()
            signature = private.sign(digest, mechanism=Mechanism.ECDSA)
            assert len(signature) == 2 * size and public.verify(digest, signature, mechanism=Mechanism.ECDSA)
            openssl("dgst", "-" + name, "-keyform", "DER", "-verify", "{key}", "-signature", "{sig}", "{data}",
                    key=encode_ec_public_key(public), sig=encode_ecdsa_signature(signature), data=DATA)
            signature = private.sign(DATA, mechanism=Mechanism.ECDSA_SHA256)
            assert public.verify(DATA, signature, mechanism=Mechanism.ECDSA_SHA256)


def ed25519():
    with user() as session:
        parameters = session.create_domain_parameters(
            KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: ED25519}, local=True)
        public, private = parameters.generate_keypair(
            store=True, label="ed", mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
        signature = private.sign(DATA, mechanism=Mechanism.EDDSA)
        assert len(signature) == 64 and public.verify(DATA, signature, mechanism=Mechanism.EDDSA)
        assert not public.verify(DATA[1:], signature, mechanism=Mechanism.EDDSA)


def ecdh():
    with user() as session:
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        (our_public, ours), (their_public, theirs) = parameters.generate_keypair(), parameters.generate_keypair()
        keys = []
        for private, public in ((ours, their_public), (theirs, our_public)):
            keys.append(private.derive_key(
                KeyType.AES, 128, mechanism_param=(pkcs11.KDF.NULL, None, public[Attribute.EC_POINT])))
        iv = session.generate_random(128)
        assert keys[1].decrypt(keys[0].encrypt(DATA, mechanism_param=iv), mechanism_param=iv) == DATA
        readable = ours.derive_key(
            KeyType.GENERIC_SECRET, 256, mechanism_param=(pkcs11.KDF.NULL, None, their_public[Attribute.EC_POINT]),
            template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
        assert len(readable[Attribute.VALUE]) == 32


def x963(name, secret, data, length):
    """ANSI X9.63, 5.6.3."""
    blocks = (hashlib.new(name, secret + number.to_bytes(4, "big") + data).digest() for number in range(1, 1000))
    out = b""
    while len(out) < length:
        out += next(blocks)
    return out[:length]


def agreed(private, public, openssl_key):
    """The secret of our private key and OpenSSL's, from both sides: C_DeriveKey's and OpenSSL's."""
    theirs = openssl("pkey", "-in", "{key}", "-pubout", "-outform", "DER", key=openssl_key)
    template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    shared = openssl("pkeyutl", "-derive", "-inkey", "{key}", "-peerform", "DER", "-peerkey", "{peer}",
                     key=openssl_key, peer=encode_ec_public_key(public))
    point = theirs[-(2 * len(shared) + 1):]

    def derive(length, kdf=pkcs11.KDF.NULL, data=None):
        key = private.derive_key(KeyType.GENERIC_SECRET, length * 8, mechanism_param=(kdf, data, point), template=template)
        return key[Attribute.VALUE]
    return shared, derive


def key_derivation():
    """The functions of ANSI X9.63 over every hash, on secrets that OpenSSL agrees on."""
    with user() as session:
        for curve, known in (("secp256r1", "prime256v1"), ("secp521r1", "secp521r1")):
            parameters = session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True)
            public, private = parameters.generate_keypair()
            shared, derive = agreed(private, public, openssl(
                "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + known))
            assert derive(len(shared)) == shared
            kdf = pkcs11.KDF
            for function, name in ((kdf.SHA1, "sha1"), (kdf.SHA224, "sha224"), (kdf.SHA256, "sha256"),
                                   (kdf.SHA384, "sha384"), (kdf.SHA512, "sha512"),
                                   (kdf.SHA3_224_KDF, "sha3_224"), (kdf.SHA3_256_KDF, "sha3_256"),
                                   (kdf.SHA3_384_KDF, "sha3_384"), (kdf.SHA3_512_KDF, "sha3_512")):
                for length in (16, 32, 100):
                    assert derive(length, function, b"shared") == x963(name, shared, b"shared", length), (function, length)


def macs():
    """HMAC over every hash against Python's own, CMAC against OpenSSL's."""
    import hmac as python_hmac
    with user() as session:
        value = bytes(range(32))
        key = session.create_object({
            Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, Attribute.VALUE: value})
        for name, md in (("SHA_1", "sha1"), ("SHA224", "sha224"), ("SHA256", "sha256"), ("SHA384", "sha384"),
                         ("SHA512", "sha512"), ("SHA3_224", "sha3_224"), ("SHA3_256", "sha3_256"),
                         ("SHA3_384", "sha3_384"), ("SHA3_512", "sha3_512")):
            mechanism = Mechanism[name + "_HMAC"]
            code = key.sign(DATA, mechanism=mechanism)
            assert code == python_hmac.new(value, DATA, md).digest(), name
            assert key.sign((DATA[:7], DATA[7:]), mechanism=mechanism) == code
            assert key.verify(DATA, code, mechanism=mechanism)
        key = session.create_object({
            Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: value})
        code = key.sign(DATA, mechanism=Mechanism.AES_CMAC)
        assert code == openssl("mac", "-cipher", "AES-256-CBC", "-macopt", "hexkey:" + value.hex(), "-binary",
                               "-in", "{data}", "CMAC", data=DATA)
        assert key.verify(DATA, code, mechanism=Mechanism.AES_CMAC)


def aes():
    with user() as session:
        key = session.generate_key(KeyType.AES, 256, store=True, label="a")
        iv = session.generate_random(128)
        secret = key.encrypt(DATA, mechanism_param=iv)  # CBC_PAD
        assert secret[:16] != DATA[:16] and key.decrypt(secret, mechanism_param=iv) == DATA
        pieces = [DATA[i:i + 1001] for i in range(0, len(DATA), 1001)]
        assert b"".join(key.encrypt(iter(pieces), mechanism_param=iv)) == secret
        pieces = [secret[i:i + 777] for i in range(0, len(secret), 777)]
        assert b"".join(key.decrypt(iter(pieces), mechanism_param=iv)) == DATA
        gcm = pkcs11.GCMParams(nonce=session.generate_random(96), aad=b"header", tag_bits=128)
        secret = key.encrypt(DATA, mechanism=Mechanism.AES_GCM, mechanism_param=gcm)
        assert len(secret) == len(DATA) + 16
        assert key.decrypt(secret, mechanism=Mechanism.AES_GCM, mechanism_param=gcm) == DATA
        refused(pkcs11.EncryptedDataInvalid, key.decrypt, secret[:-1] + bytes([secret[-1] ^ 1]),
                mechanism=Mechanism.AES_GCM, mechanism_param=gcm)
        counter = pkcs11.CTRParams(nonce=session.generate_random(96))
        secret = key.encrypt(DATA, mechanism=Mechanism.AES_CTR, mechanism_param=counter)
        assert len(secret) == len(DATA)
        assert key.decrypt(secret, mechanism=Mechanism.AES_CTR, mechanism_param=counter) == DATA


def hmac():
    with user() as session:
        key = session.generate_key(KeyType.GENERIC_SECRET, 256, mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
                                   capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY)
        code = key.sign(DATA, mechanism=Mechanism.SHA256_HMAC)
        assert len(code) == 32 and key.verify(DATA, code, mechanism=Mechanism.SHA256_HMAC)
        assert not key.verify(DATA, bytes(32), mechanism=Mechanism.SHA256_HMAC)


def digest_of_a_key():
    with user() as session:
        key = session.generate_key(KeyType.AES, 256, template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
        expected = hashlib.sha256(b"head" + key[Attribute.VALUE] + b"tail").digest()
        assert session.digest((b"head", key, b"tail"), mechanism=Mechanism.SHA256) == expected
        for hidden in ({}, {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True}):
            key = session.generate_key(KeyType.AES, 256, template=hidden)
            assert len(session.digest((b"head", key), mechanism=Mechanism.SHA256)) == 32
        public, private = session.generate_keypair(KeyType.RSA, 2048)
        refused(pkcs11.KeyIndigestible, session.digest, private, mechanism=Mechanism.SHA256)
        refused(pkcs11.KeyIndigestible, session.digest, public, mechanism=Mechanism.SHA256)


def threads():
    """Eight threads of one session pool: python-pkcs11 lets go of the interpreter's lock in each call."""
    with user() as session:
        public, private = session.generate_keypair(KeyType.RSA, 2048, store=True, label="shared")
        failures = []

        def work(number):
            try:
                with token().open() as own:
                    key = own.get_key(label="shared", object_class=ObjectClass.PRIVATE_KEY)
                    check = own.get_key(label="shared", object_class=ObjectClass.PUBLIC_KEY)
                    for turn in range(20):
                        data = f"{number} {turn}".encode() * 100
                        assert check.verify(data, key.sign(data))
            except BaseException as error:
                failures.append(repr(error))

        pool = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        assert not failures, failures


def processes():
    """Forked workers, as gunicorn and multiprocessing make them: each initialises the library again and logs in."""
    library = pkcs11.lib(os.environ["HSMD_PKCS11_MODULE"])
    with user() as session:
        session.generate_key(KeyType.AES, 256, store=True, label="shared")
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                try:
                    # The child has no library to end yet (PKCS#11 says so), but python-pkcs11 must try before it begins.
                    refused(pkcs11.PKCS11Error, library.finalize)
                    library.initialize()
                    with user() as own:
                        key = own.get_key(label="shared")
                        secret = key.encrypt(DATA, mechanism_param=bytes(16))
                        assert key.decrypt(secret, mechanism_param=bytes(16)) == DATA
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert session.get_key(label="shared").label == "shared"


def wrap():
    with user() as session:
        # By the library's default it encrypts, decrypts, wraps and unwraps.
        wrapping = session.generate_key(KeyType.AES, 256)
        key = session.generate_key(KeyType.AES, 128, template={Attribute.EXTRACTABLE: True})
        iv = session.generate_random(128)
        copy = wrapping.copy({Attribute.LABEL: "the same key"})
        copy.encrypt(DATA, mechanism_param=iv)
        blob = wrapping.wrap_key(key)  # AES_KEY_WRAP
        again = wrapping.unwrap_key(ObjectClass.SECRET_KEY, KeyType.AES, blob)
        assert again.decrypt(key.encrypt(DATA, mechanism_param=iv), mechanism_param=iv) == DATA
        # It has wrapped a sensitive key: nothing else is left to it and to its copies, and C_EncryptInit says so.
        for latched in (wrapping, copy):
            try:
                latched.encrypt(DATA, mechanism_param=iv)
                raise AssertionError("a key that has wrapped encrypts")
            except pkcs11.PKCS11Error as error:
                assert "0x68" in str(error), error  # CKR_KEY_FUNCTION_NOT_PERMITTED, which the library has no name for


def certificates():
    with user() as session:
        with tempfile.TemporaryDirectory() as folder:
            der = openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder + "/key", "-subj",
                          "/CN=python", "-days", "3", "-outform", "DER")
        session.create_object({**decode_x509_certificate(der), Attribute.TOKEN: True, Attribute.LABEL: "c"})
    with token().open() as public:
        (certificate,) = public.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE})
        assert certificate[Attribute.VALUE] == der
        (same,) = public.get_objects({Attribute.SUBJECT: certificate[Attribute.SUBJECT]})
        assert same[Attribute.LABEL] == "c"


def imports():
    """Keys that came from elsewhere: a public key verifies, a secret key decrypts, data is read back."""
    with user() as session:
        key = session.create_object({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES,
                                     Attribute.VALUE: bytes(range(16))})
        expected = openssl("enc", "-aes-128-cbc", "-K", bytes(range(16)).hex(), "-iv", "00" * 16, "-in", "{data}",
                           data=DATA)
        assert key.encrypt(DATA, mechanism_param=bytes(16)) == expected
        data = session.create_object({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: "d",
                                      Attribute.TOKEN: True, Attribute.VALUE: b"some data"})
        assert data[Attribute.VALUE] == b"some data"
        public, private = session.generate_keypair(KeyType.RSA, 2048)
        copy = session.create_object({
            Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.RSA, Attribute.VERIFY: True,
            Attribute.MODULUS: public[Attribute.MODULUS],
            Attribute.PUBLIC_EXPONENT: public[Attribute.PUBLIC_EXPONENT]})
        assert copy.verify(DATA, private.sign(DATA))


def search():
    with user() as session:
        for number in range(60):
            session.generate_key(KeyType.AES, 128, store=number % 2 == 0, label=f"k{number % 3}", id=bytes([number]))
        assert len(list(session.get_objects())) == 60
        assert len(list(session.get_objects({Attribute.LABEL: "k1"}))) == 20
        assert len(list(session.get_objects({Attribute.TOKEN: True, Attribute.LABEL: "k2"}))) == 10
        assert session.get_key(id=b"\x05").label == "k2"
        refused(pkcs11.MultipleObjectsReturned, session.get_key, label="k0")
        copy = session.get_key(id=b"\x05").copy({Attribute.LABEL: "copy"})
        assert session.get_key(label="copy").id == copy.id == b"\x05"
        for key in session.get_objects({Attribute.LABEL: "k1"}):
            key.destroy()
        assert len(list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))) == 41


if __name__ == "__main__":
    globals()[sys.argv[1]]()
