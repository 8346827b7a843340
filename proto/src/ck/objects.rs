//! Values that tell objects of one class apart: types of certificates, and profiles.

use cryptoki_sys as sys;

ck_type! {
    /// A certificate type (`CKC_`).
    CertificateType {
        X_509 = CKC_X_509,
        X_509_ATTR_CERT = CKC_X_509_ATTR_CERT,
        WTLS = CKC_WTLS,
    }
}

ck_type! {
    /// A profile of the OASIS profiles document (`CKP_`).
    Profile {
        BASELINE_PROVIDER = CKP_BASELINE_PROVIDER,
        EXTENDED_PROVIDER = CKP_EXTENDED_PROVIDER,
        AUTHENTICATION_TOKEN = CKP_AUTHENTICATION_TOKEN,
    }
}
