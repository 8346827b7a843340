//! The rows of the attribute rules. Order: as in PKCS#11 3.2, chapter 4: storage, data, certificates, keys, then by key type.

use hsmd_proto::ck::{AttributeType as A, MechanismType as M};

use super::{Change, Default, Rule, Shapes as S, Ways as W};

const fn rule(attribute: A, shapes: S, named: W, default: Default, change: Change) -> Rule {
    Rule {
        attribute,
        shapes,
        named,
        required: W::NONE,
        default,
        change,
        so_only: false,
    }
}

/// Named at any time, changed at will.
const fn free(attribute: A, shapes: S, default: Default) -> Rule {
    rule(attribute, shapes, W::MAKE.or(W::COPY).or(W::SET), default, Change::Any)
}

/// Named when the object is made and kept for life; a copy may repeat it.
const fn fixed(attribute: A, shapes: S, named: W, default: Default) -> Rule {
    rule(attribute, shapes, named.or(W::COPY), default, Change::Same)
}

/// Never named: the token computes it.
const fn computed(attribute: A, shapes: S) -> Rule {
    rule(attribute, shapes, W::NONE, Default::Computed, Change::Same)
}

impl Rule {
    const fn required(self, required: W) -> Self {
        Self { required, ..self }
    }

    const fn so_only(self) -> Self {
        Self { so_only: true, ..self }
    }
}

const MADE: W = W::MAKE.or(W::COPY);
const CHANGED: W = MADE.or(W::SET);
const KEYS_WITH_VALUE: S = S::PRIVATE.or(S::SECRET);

/// Every attribute that objects of this build have.
pub(crate) static RULES: &[Rule] = &[
    // 4.4 storage objects; what the token makes itself says how it may be treated in the same words
    fixed(A::CLASS, S::STORED, W::MAKE, Default::Computed).required(W::CREATE),
    rule(A::TOKEN, S::STORED, MADE, Default::False, Change::Any),
    rule(A::PRIVATE, S::STORED, MADE, Default::Private, Change::Raise),
    rule(A::MODIFIABLE, S::STORED, MADE, Default::True, Change::Lower),
    rule(A::COPYABLE, S::STORED, CHANGED, Default::True, Change::Lower),
    rule(A::DESTROYABLE, S::STORED, CHANGED, Default::True, Change::Lower),
    free(A::LABEL, S::STORED, Default::Empty),
    computed(A::CLASS, S::BUILT_IN),
    computed(A::TOKEN, S::BUILT_IN),
    computed(A::PRIVATE, S::BUILT_IN),
    computed(A::MODIFIABLE, S::BUILT_IN),
    computed(A::COPYABLE, S::BUILT_IN),
    computed(A::DESTROYABLE, S::BUILT_IN),
    computed(A::UNIQUE_ID, S::ALL),
    // 4.3 hardware features, 4.13 mechanisms, 4.14 profiles
    computed(A::HW_FEATURE_TYPE, S::FEATURE),
    computed(A::HSMD_POLICY, S::FEATURE),
    computed(A::MECHANISM_TYPE, S::MECHANISM),
    computed(A::PROFILE_ID, S::PROFILE),
    // 4.5 data objects
    free(A::APPLICATION, S::DATA, Default::Empty),
    free(A::OBJECT_ID, S::DATA, Default::Empty),
    free(A::VALUE, S::DATA, Default::Empty),
    // 4.6 certificates (what SoftHSM leaves optional is optional)
    fixed(A::CERTIFICATE_TYPE, S::CERTIFICATES, W::CREATE, Default::Computed).required(W::CREATE),
    rule(
        A::TRUSTED,
        S::CERTIFICATES.or(S::PUBLIC).or(S::SECRET),
        CHANGED,
        Default::False,
        Change::Any,
    )
    .so_only(),
    fixed(A::CERTIFICATE_CATEGORY, S::CERTIFICATES, W::CREATE, Default::Number(0)),
    fixed(A::CHECK_VALUE, S::CERTIFICATES, W::CREATE, Default::Computed),
    free(A::START_DATE, S::CERTIFICATES.or(S::KEYS), Default::Empty),
    free(A::END_DATE, S::CERTIFICATES.or(S::KEYS), Default::Empty),
    fixed(A::PUBLIC_KEY_INFO, S::CERTIFICATES, W::CREATE, Default::Empty),
    fixed(
        A::SUBJECT,
        S::CERTIFICATE.or(S::WTLS_CERTIFICATE),
        W::CREATE,
        Default::Computed,
    )
    .required(W::CREATE),
    free(A::ISSUER, S::CERTIFICATE.or(S::WTLS_CERTIFICATE), Default::Empty),
    free(
        A::SERIAL_NUMBER,
        S::CERTIFICATE.or(S::ATTRIBUTE_CERTIFICATE),
        Default::Empty,
    ),
    fixed(A::VALUE, S::CERTIFICATES, W::CREATE, Default::Empty),
    fixed(
        A::URL,
        S::CERTIFICATE.or(S::WTLS_CERTIFICATE),
        W::CREATE,
        Default::Empty,
    ),
    fixed(
        A::HASH_OF_SUBJECT_PUBLIC_KEY,
        S::CERTIFICATE.or(S::WTLS_CERTIFICATE),
        W::CREATE,
        Default::Empty,
    ),
    fixed(
        A::HASH_OF_ISSUER_PUBLIC_KEY,
        S::CERTIFICATE.or(S::WTLS_CERTIFICATE),
        W::CREATE,
        Default::Empty,
    ),
    fixed(
        A::JAVA_MIDP_SECURITY_DOMAIN,
        S::CERTIFICATE,
        W::CREATE,
        Default::Number(0),
    ),
    fixed(
        A::NAME_HASH_ALGORITHM,
        S::CERTIFICATE.or(S::WTLS_CERTIFICATE).or(S::TRUST),
        W::CREATE,
        Default::Number(M::SHA_1.0),
    ),
    // 4.6.5 attribute certificates
    fixed(A::OWNER, S::ATTRIBUTE_CERTIFICATE, W::CREATE, Default::Computed).required(W::CREATE),
    free(A::AC_ISSUER, S::ATTRIBUTE_CERTIFICATE, Default::Empty),
    free(A::ATTR_TYPES, S::ATTRIBUTE_CERTIFICATE, Default::Empty),
    // 4.7 trust objects: what the application's user trusts a certificate for
    fixed(A::ISSUER, S::TRUST, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::SERIAL_NUMBER, S::TRUST, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::HASH_OF_CERTIFICATE, S::TRUST, W::CREATE, Default::Empty),
    free(A::TRUST_SERVER_AUTH, S::TRUST, Default::Number(0)),
    free(A::TRUST_CLIENT_AUTH, S::TRUST, Default::Number(0)),
    free(A::TRUST_CODE_SIGNING, S::TRUST, Default::Number(0)),
    free(A::TRUST_EMAIL_PROTECTION, S::TRUST, Default::Number(0)),
    free(A::TRUST_IPSEC_IKE, S::TRUST, Default::Number(0)),
    free(A::TRUST_TIME_STAMPING, S::TRUST, Default::Number(0)),
    free(A::TRUST_OCSP_SIGNING, S::TRUST, Default::Number(0)),
    // 4.8 keys
    fixed(A::KEY_TYPE, S::KEYS, W::MAKE, Default::Computed).required(W::CREATE.or(W::UNWRAP).or(W::DERIVE)),
    free(A::ID, S::CERTIFICATE.or(S::KEYS), Default::Empty),
    computed(A::HSMD_ORIGIN, S::KEYS),
    computed(A::HSMD_WRAPPING, S::KEYS),
    free(A::SUBJECT, S::PUBLIC.or(S::PRIVATE), Default::Empty),
    free(
        A::DERIVE,
        S::KEYS,
        Default::Usage(
            S::EC_PRIVATE
                .or(S::MONTGOMERY_PRIVATE)
                .or(S::DH_PRIVATE)
                .or(S::AES)
                .or(S::GENERIC),
        ),
    ),
    computed(A::LOCAL, S::KEYS),
    computed(A::KEY_GEN_MECHANISM, S::KEYS),
    fixed(A::ALLOWED_MECHANISMS, S::KEYS, W::MAKE, Default::Absent),
    fixed(A::DERIVE_TEMPLATE, KEYS_WITH_VALUE, W::MAKE, Default::Absent),
    // 4.9 public keys, 4.10 private keys, 4.11 secret keys: what they are used for
    free(
        A::ENCRYPT,
        S::PUBLIC.or(S::SECRET),
        Default::Usage(S::RSA_PUBLIC.or(S::AES).or(S::CIPHERS)),
    ),
    free(
        A::DECRYPT,
        KEYS_WITH_VALUE,
        Default::Usage(S::RSA_PRIVATE.or(S::AES).or(S::CIPHERS)),
    ),
    free(
        A::SIGN,
        KEYS_WITH_VALUE,
        Default::Usage(
            S::RSA_PRIVATE
                .or(S::SIGNING_PRIVATE)
                .or(S::ML_DSA_PRIVATE)
                .or(S::SLH_DSA_PRIVATE)
                .or(S::SECRET),
        ),
    ),
    free(
        A::VERIFY,
        S::PUBLIC.or(S::SECRET),
        Default::Usage(
            S::RSA_PUBLIC
                .or(S::SIGNING_PUBLIC)
                .or(S::ML_DSA_PUBLIC)
                .or(S::SLH_DSA_PUBLIC)
                .or(S::STATEFUL_PUBLIC)
                .or(S::SECRET),
        ),
    ),
    free(A::SIGN_RECOVER, S::PRIVATE, Default::False),
    free(A::VERIFY_RECOVER, S::PUBLIC, Default::False),
    free(A::WRAP, S::PUBLIC, Default::Usage(S::RSA_PUBLIC)),
    free(A::UNWRAP, S::PRIVATE, Default::Usage(S::RSA_PRIVATE)),
    free(A::WRAP, S::SECRET, Default::LegacyUsage(S::AES)),
    free(A::UNWRAP, S::SECRET, Default::LegacyUsage(S::AES)),
    free(A::ENCAPSULATE, S::PUBLIC, Default::Usage(S::ML_KEM_PUBLIC)),
    free(A::DECAPSULATE, S::PRIVATE, Default::Usage(S::ML_KEM_PRIVATE)),
    fixed(A::ENCAPSULATE_TEMPLATE, S::PUBLIC, W::MAKE, Default::Absent),
    fixed(A::DECAPSULATE_TEMPLATE, S::PRIVATE, W::MAKE, Default::Absent),
    fixed(A::WRAP_TEMPLATE, S::PUBLIC.or(S::SECRET), W::MAKE, Default::Absent),
    fixed(A::UNWRAP_TEMPLATE, KEYS_WITH_VALUE, W::MAKE, Default::Absent),
    fixed(
        A::PUBLIC_KEY_INFO,
        S::PUBLIC.or(S::PRIVATE),
        W::CREATE.or(W::UNWRAP),
        Default::Computed,
    ),
    // what may be done with the value
    rule(
        A::SENSITIVE,
        KEYS_WITH_VALUE,
        CHANGED,
        Default::Sensitive,
        Change::Raise,
    ),
    rule(
        A::EXTRACTABLE,
        KEYS_WITH_VALUE,
        CHANGED,
        Default::Extractable,
        Change::Lower,
    ),
    rule(
        A::WRAP_WITH_TRUSTED,
        KEYS_WITH_VALUE,
        CHANGED,
        Default::False,
        Change::Raise,
    ),
    rule(
        A::ALWAYS_AUTHENTICATE,
        S::PRIVATE,
        CHANGED,
        Default::False,
        Change::Raise,
    ),
    computed(A::ALWAYS_SENSITIVE, KEYS_WITH_VALUE),
    computed(A::NEVER_EXTRACTABLE, KEYS_WITH_VALUE),
    // 6.1 RSA
    fixed(
        A::MODULUS,
        S::RSA_PUBLIC.or(S::RSA_PRIVATE),
        W::CREATE,
        Default::Computed,
    )
    .required(W::CREATE),
    fixed(A::MODULUS_BITS, S::RSA_PUBLIC, W::GENERATE, Default::Computed).required(W::GENERATE),
    fixed(
        A::PUBLIC_EXPONENT,
        S::RSA_PUBLIC,
        W::CREATE.or(W::GENERATE),
        Default::Computed,
    )
    .required(W::CREATE),
    fixed(A::PUBLIC_EXPONENT, S::RSA_PRIVATE, W::CREATE, Default::Computed),
    fixed(A::PRIVATE_EXPONENT, S::RSA_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::PRIME_1, S::RSA_PRIVATE, W::CREATE, Default::Computed),
    fixed(A::PRIME_2, S::RSA_PRIVATE, W::CREATE, Default::Computed),
    fixed(A::EXPONENT_1, S::RSA_PRIVATE, W::CREATE, Default::Computed),
    fixed(A::EXPONENT_2, S::RSA_PRIVATE, W::CREATE, Default::Computed),
    fixed(A::COEFFICIENT, S::RSA_PRIVATE, W::CREATE, Default::Computed),
    // 6.3 elliptic curves; the point of a private key is ours, for libraries that look for it there
    fixed(
        A::EC_PARAMS,
        S::CURVE_PUBLIC,
        W::CREATE.or(W::GENERATE),
        Default::Computed,
    )
    .required(W::CREATE.or(W::GENERATE)),
    fixed(A::EC_PARAMS, S::CURVE_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::EC_POINT, S::CURVE_PUBLIC, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::EC_POINT, S::CURVE_PRIVATE, W::CREATE, Default::Computed),
    fixed(A::VALUE, S::CURVE_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    // 6.4 Diffie-Hellman
    fixed(A::PRIME, S::DH_PUBLIC, W::CREATE.or(W::GENERATE), Default::Computed).required(W::CREATE.or(W::GENERATE)),
    fixed(A::BASE, S::DH_PUBLIC, W::CREATE.or(W::GENERATE), Default::Computed).required(W::CREATE.or(W::GENERATE)),
    fixed(A::VALUE, S::DH_PUBLIC, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::PRIME, S::DH_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::BASE, S::DH_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::VALUE, S::DH_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(
        A::VALUE_BITS,
        S::DH_PRIVATE,
        W::GENERATE.or(W::UNWRAP),
        Default::Computed,
    ),
    // 6.65 HSS, 6.66 XMSS and XMSS^MT
    computed(A::HSS_LEVELS, S::HSS_PUBLIC),
    computed(A::HSS_LMS_TYPE, S::HSS_PUBLIC),
    computed(A::HSS_LMOTS_TYPE, S::HSS_PUBLIC),
    fixed(A::PARAMETER_SET, S::XMSS_PUBLIC, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::VALUE, S::STATEFUL_PUBLIC, W::CREATE, Default::Computed).required(W::CREATE),
    // 6.67 ML-DSA, 6.68 ML-KEM, 6.69 SLH-DSA; of the first two one of seed and value is enough
    fixed(
        A::PARAMETER_SET,
        S::PQ_PUBLIC,
        W::CREATE.or(W::GENERATE),
        Default::Computed,
    )
    .required(W::CREATE.or(W::GENERATE)),
    fixed(A::PARAMETER_SET, S::PQ_PRIVATE, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::VALUE, S::PQ_PUBLIC, W::CREATE, Default::Computed).required(W::CREATE),
    fixed(A::VALUE, S::PQ_PRIVATE, W::CREATE, Default::Computed),
    fixed(
        A::SEED,
        S::ML_DSA_PRIVATE.or(S::ML_KEM_PRIVATE),
        W::CREATE,
        Default::Computed,
    ),
    // 6.8, 6.10, 6.18, 6.20 to 6.36, 6.58 generic secrets, AES, HMAC keys
    fixed(A::VALUE, S::SECRET, W::CREATE, Default::Computed).required(W::CREATE),
    // All keys of ChaCha20 have the same length, and those of Triple DES.
    fixed(
        A::VALUE_LEN,
        S::OF_ONE_LENGTH,
        W::GENERATE.or(W::UNWRAP).or(W::DERIVE),
        Default::Computed,
    ),
    fixed(
        A::VALUE_LEN,
        S::AES.or(S::AES_XTS).or(S::GENERIC).or(S::HMAC),
        W::GENERATE.or(W::UNWRAP).or(W::DERIVE),
        Default::Computed,
    )
    .required(W::GENERATE),
    fixed(A::CHECK_VALUE, S::SECRET, W::MAKE, Default::Computed),
];
