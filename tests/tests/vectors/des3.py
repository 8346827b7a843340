"""Encrypts with a key of Triple DES in the token of argv[1] and prints the bytes: the same program on SoftHSM2 and on ours."""

import sys

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

KEY = bytes.fromhex("8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5")
IV = bytes(range(8))

token = pkcs11.lib(sys.argv[1]).get_token(token_label="demo")
with token.open(user_pin=sys.argv[2], rw=True) as session:
    key = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.DES3,
            Attribute.VALUE: KEY,
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
            Attribute.SIGN: True,
            Attribute.TOKEN: False,
        }
    )
    text = b"x" * 24
    print(key.encrypt(text, mechanism=Mechanism.DES3_ECB).hex())
    for mechanism, length in ((Mechanism.DES3_CBC, 24), (Mechanism.DES3_CBC_PAD, 21)):
        sealed = key.encrypt(text[:length], mechanism=mechanism, mechanism_param=IV)
        assert key.decrypt(sealed, mechanism=mechanism, mechanism_param=IV) == text[:length]
        print(sealed.hex())
    print(key.sign(text[:13], mechanism=Mechanism.DES3_CMAC).hex())
