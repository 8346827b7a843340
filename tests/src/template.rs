//! Attributes and mechanisms as Rust values, and their C form for the time of one call. It checks nothing: tests pass
//! what is wrong on purpose.

use cryptoki_sys::*;

/// One attribute of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `CKA_...`
    pub kind: CK_ATTRIBUTE_TYPE,
    /// The value's bytes as the C type has them.
    pub value: Vec<u8>,
}

/// A `CK_BBOOL` attribute.
#[must_use]
pub fn flag(kind: CK_ATTRIBUTE_TYPE, value: bool) -> Attribute {
    Attribute {
        kind,
        value: vec![u8::from(value)],
    }
}

/// A `CK_ULONG` attribute.
#[must_use]
pub fn number(kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Attribute {
    Attribute {
        kind,
        value: value.to_ne_bytes().to_vec(),
    }
}

/// An attribute of bytes or text.
#[must_use]
pub fn bytes(kind: CK_ATTRIBUTE_TYPE, value: impl AsRef<[u8]>) -> Attribute {
    Attribute {
        kind,
        value: value.as_ref().to_vec(),
    }
}

/// An attribute that is an array of attributes (`CKF_ARRAY_ATTRIBUTE`). What it points to lives as long as the process.
#[must_use]
pub fn array(kind: CK_ATTRIBUTE_TYPE, inner: &[Attribute]) -> Attribute {
    let entries = inner.iter().flat_map(|entry| {
        let value = Box::leak(entry.value.clone().into_boxed_slice());
        [entry.kind as usize, value.as_mut_ptr() as usize, value.len()]
    });
    Attribute {
        kind,
        value: entries.flat_map(usize::to_ne_bytes).collect(),
    }
}

/// A parameter that is a structure of words: numbers, lengths, and addresses of bytes that live as long as the process.
#[must_use]
pub fn words(kind: CK_MECHANISM_TYPE, words: &[Word<'_>]) -> Mechanism {
    let word = |word: &Word<'_>| match word {
        Word::Number(number) => *number,
        Word::Bytes(bytes) => Box::leak(bytes.to_vec().into_boxed_slice()).as_mut_ptr() as usize,
    };
    Mechanism::Bytes(kind, words.iter().flat_map(|each| word(each).to_ne_bytes()).collect())
}

/// A word of a structure.
#[derive(Clone, Copy, Debug)]
pub enum Word<'a> {
    /// A number.
    Number(usize),
    /// The address of these bytes.
    Bytes(&'a [u8]),
}

/// The DER of the named curve P-256 (RFC 5480, 2.1.1.1).
pub const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The DER of the named curve P-384.
pub const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// The DER of the object identifier of Ed25519 (RFC 8410, 3).
pub const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// The C form of a template; the pointers in it live as long as it does.
pub struct Template {
    values: Vec<Vec<u8>>,
    raw: Vec<CK_ATTRIBUTE>,
}

impl Template {
    /// Copies the attributes.
    #[must_use]
    pub fn new(attributes: &[Attribute]) -> Self {
        let mut values: Vec<Vec<u8>> = attributes.iter().map(|attribute| attribute.value.clone()).collect();
        let raw = attributes
            .iter()
            .zip(&mut values)
            .map(|(attribute, value)| CK_ATTRIBUTE {
                type_: attribute.kind,
                pValue: value.as_mut_ptr().cast(),
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect();
        Self { values, raw }
    }

    /// Room of `length` bytes for each of `kinds`, to be filled by `C_GetAttributeValue`; 0 asks for the length.
    #[must_use]
    pub fn room(kinds: &[CK_ATTRIBUTE_TYPE], lengths: &[usize]) -> Self {
        let wanted: Vec<Attribute> = kinds
            .iter()
            .zip(lengths)
            .map(|(kind, length)| bytes(*kind, vec![0; *length]))
            .collect();
        let mut template = Self::new(&wanted);
        for (raw, length) in template.raw.iter_mut().zip(lengths) {
            if *length == 0 {
                raw.pValue = std::ptr::null_mut();
            }
        }
        template
    }

    /// Address of the first attribute.
    pub fn address(&mut self) -> usize {
        self.raw.as_mut_ptr() as usize
    }

    /// Number of attributes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.raw.len()
    }

    /// The lengths that the module has written; nothing where it wrote `CK_UNAVAILABLE_INFORMATION`.
    #[must_use]
    pub fn lengths(&self) -> Vec<Option<usize>> {
        self.raw
            .iter()
            .map(|raw| {
                if raw.ulValueLen == CK_UNAVAILABLE_INFORMATION {
                    None
                } else {
                    Some(raw.ulValueLen as usize)
                }
            })
            .collect()
    }

    /// The values that the module has written, cut to the lengths that it has written.
    #[must_use]
    pub fn values(&self) -> Vec<Option<Vec<u8>>> {
        let lengths = self.lengths();
        self.values
            .iter()
            .zip(lengths)
            .map(|(value, length)| length.and_then(|length| value.get(..length)).map(<[u8]>::to_vec))
            .collect()
    }
}

/// A mechanism with its parameter.
#[derive(Clone, Debug)]
pub enum Mechanism {
    /// No parameter.
    Plain(CK_MECHANISM_TYPE),
    /// A parameter that is bytes, such as an IV.
    Bytes(CK_MECHANISM_TYPE, Vec<u8>),
    /// `CKM_AES_GCM`.
    Gcm {
        /// The initialisation vector.
        iv: Vec<u8>,
        /// Additional data.
        aad: Vec<u8>,
        /// Length of the tag in bits.
        tag_bits: CK_ULONG,
    },
    /// `CKM_AES_GMAC` with a tag of 128 bits.
    Gmac {
        /// The initialisation vector.
        iv: Vec<u8>,
    },
    /// `CKM_HKDF_DERIVE`, extract and expand, with the salt as data.
    Hkdf {
        /// `CKM_SHA...`
        hash: CK_MECHANISM_TYPE,
        /// The salt.
        salt: Vec<u8>,
        /// The info.
        info: Vec<u8>,
    },
    /// `CKM_AES_CCM`.
    Ccm {
        /// Length of the plain text in bytes.
        length: CK_ULONG,
        /// The nonce.
        nonce: Vec<u8>,
        /// Additional data.
        aad: Vec<u8>,
        /// Length of the tag in bytes.
        tag: CK_ULONG,
    },
    /// `CKM_CHACHA20_POLY1305`.
    ChaCha {
        /// The nonce.
        nonce: Vec<u8>,
        /// Additional data.
        aad: Vec<u8>,
    },
    /// `CKM_ECDH1_DERIVE` without key derivation function.
    Ecdh {
        /// The other side's point.
        public: Vec<u8>,
    },
    /// A mechanism of PSS.
    Pss {
        /// `CKM_RSA_PKCS_PSS` or one that hashes.
        kind: CK_MECHANISM_TYPE,
        /// `CKM_SHA...`
        hash: CK_MECHANISM_TYPE,
        /// `CKG_MGF1_...`
        mgf: CK_ULONG,
        /// Length of the salt in bytes.
        salt: CK_ULONG,
    },
    /// `CKM_RSA_PKCS_OAEP` without label.
    Oaep {
        /// `CKM_SHA...`
        hash: CK_MECHANISM_TYPE,
        /// `CKG_MGF1_...`
        mgf: CK_ULONG,
    },
    /// `CKM_RSA_PKCS_OAEP` with a label.
    OaepLabel {
        /// `CKM_SHA...`
        hash: CK_MECHANISM_TYPE,
        /// `CKG_MGF1_...`
        mgf: CK_ULONG,
        /// The label.
        label: Vec<u8>,
    },
    /// A mechanism of ML-DSA or SLH-DSA.
    SignContext {
        /// `CKM_ML_DSA`, `CKM_HASH_ML_DSA`, one that hashes, or one of SLH-DSA.
        kind: CK_MECHANISM_TYPE,
        /// `CKH_HEDGE_PREFERRED` and so on.
        hedge: CK_ULONG,
        /// The context string.
        context: Vec<u8>,
        /// `CKM_HASH_ML_DSA` and `CKM_HASH_SLH_DSA` alone: `CKM_SHA...`
        hash: Option<CK_MECHANISM_TYPE>,
    },
}

impl Mechanism {
    /// Calls `work` with the address of the C form.
    pub fn with<T>(&self, work: impl FnOnce(usize) -> T) -> T {
        match self {
            Self::Plain(kind) => with_parameter(*kind, 0, 0, work),
            Self::Bytes(kind, parameter) => with_parameter(*kind, parameter.as_ptr() as usize, parameter.len(), work),
            Self::Gcm { .. } | Self::Gmac { .. } => self.with_gcm(work),
            Self::Ccm { .. } | Self::ChaCha { .. } | Self::Hkdf { .. } => self.with_secret_key(work),
            Self::Ecdh { public } => {
                let parameter = CK_ECDH1_DERIVE_PARAMS {
                    kdf: CKD_NULL,
                    ulSharedDataLen: 0,
                    pSharedData: std::ptr::null_mut(),
                    ulPublicDataLen: public.len() as CK_ULONG,
                    pPublicData: public.as_ptr().cast_mut(),
                };
                with_struct(CKM_ECDH1_DERIVE, &parameter, work)
            }
            Self::Pss { kind, hash, mgf, salt } => with_struct(
                *kind,
                &CK_RSA_PKCS_PSS_PARAMS {
                    hashAlg: *hash,
                    mgf: *mgf,
                    sLen: *salt,
                },
                work,
            ),
            Self::Oaep { hash, mgf } => {
                let parameter = CK_RSA_PKCS_OAEP_PARAMS {
                    hashAlg: *hash,
                    mgf: *mgf,
                    source: CKZ_DATA_SPECIFIED,
                    pSourceData: std::ptr::null_mut(),
                    ulSourceDataLen: 0,
                };
                with_struct(CKM_RSA_PKCS_OAEP, &parameter, work)
            }
            Self::OaepLabel { hash, mgf, label } => {
                let parameter = CK_RSA_PKCS_OAEP_PARAMS {
                    hashAlg: *hash,
                    mgf: *mgf,
                    source: CKZ_DATA_SPECIFIED,
                    pSourceData: label.as_ptr().cast_mut().cast(),
                    ulSourceDataLen: label.len() as CK_ULONG,
                };
                with_struct(CKM_RSA_PKCS_OAEP, &parameter, work)
            }
            Self::SignContext {
                kind,
                hedge,
                context,
                hash,
            } => {
                let (at, length) = (context.as_ptr().cast_mut(), context.len() as CK_ULONG);
                let plain = CK_SIGN_ADDITIONAL_CONTEXT {
                    hedgeVariant: *hedge,
                    pContext: at,
                    ulContextLen: length,
                };
                match hash {
                    None => with_struct(*kind, &plain, work),
                    Some(hash) => with_struct(
                        *kind,
                        &CK_HASH_SIGN_ADDITIONAL_CONTEXT {
                            hedgeVariant: *hedge,
                            pContext: at,
                            ulContextLen: length,
                            hash: *hash,
                        },
                        work,
                    ),
                }
            }
        }
    }

    /// [`Self::with`] for CK_GCM_PARAMS.
    fn with_gcm<T>(&self, work: impl FnOnce(usize) -> T) -> T {
        let (kind, iv, aad, tag_bits): (_, _, &[u8], _) = match self {
            Self::Gcm { iv, aad, tag_bits } => (CKM_AES_GCM, iv, aad, *tag_bits),
            Self::Gmac { iv } => (CKM_AES_GMAC, iv, &[], 128),
            _ => unreachable!("a mechanism of another parameter"),
        };
        let parameter = CK_GCM_PARAMS {
            pIv: iv.as_ptr().cast_mut(),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvBits: (iv.len() * 8) as CK_ULONG,
            pAAD: aad.as_ptr().cast_mut(),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: tag_bits,
        };
        with_struct(kind, &parameter, work)
    }

    /// [`Self::with`] for other mechanisms of secret keys.
    fn with_secret_key<T>(&self, work: impl FnOnce(usize) -> T) -> T {
        match self {
            Self::Hkdf { hash, salt, info } => {
                let parameter = CK_HKDF_PARAMS {
                    bExtract: CK_TRUE,
                    bExpand: CK_TRUE,
                    prfHashMechanism: *hash,
                    ulSaltType: CKF_HKDF_SALT_DATA,
                    pSalt: salt.as_ptr().cast_mut(),
                    ulSaltLen: salt.len() as CK_ULONG,
                    hSaltKey: 0,
                    pInfo: info.as_ptr().cast_mut(),
                    ulInfoLen: info.len() as CK_ULONG,
                };
                with_struct(CKM_HKDF_DERIVE, &parameter, work)
            }
            Self::Ccm {
                length,
                nonce,
                aad,
                tag,
            } => {
                let parameter = CK_CCM_PARAMS {
                    ulDataLen: *length,
                    pNonce: nonce.as_ptr().cast_mut(),
                    ulNonceLen: nonce.len() as CK_ULONG,
                    pAAD: aad.as_ptr().cast_mut(),
                    ulAADLen: aad.len() as CK_ULONG,
                    ulMACLen: *tag,
                };
                with_struct(CKM_AES_CCM, &parameter, work)
            }
            Self::ChaCha { nonce, aad } => {
                let parameter = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
                    pNonce: nonce.as_ptr().cast_mut(),
                    ulNonceLen: nonce.len() as CK_ULONG,
                    pAAD: aad.as_ptr().cast_mut(),
                    ulAADLen: aad.len() as CK_ULONG,
                };
                with_struct(CKM_CHACHA20_POLY1305, &parameter, work)
            }
            other => panic!("{other:?} is not of a secret key"),
        }
    }
}

fn with_struct<P, T>(kind: CK_MECHANISM_TYPE, parameter: &P, work: impl FnOnce(usize) -> T) -> T {
    with_parameter(kind, std::ptr::from_ref(parameter) as usize, size_of::<P>(), work)
}

fn with_parameter<T>(kind: CK_MECHANISM_TYPE, address: usize, length: usize, work: impl FnOnce(usize) -> T) -> T {
    let mut raw = CK_MECHANISM {
        mechanism: kind,
        pParameter: address as *mut std::ffi::c_void,
        ulParameterLen: length as CK_ULONG,
    };
    work(&raw mut raw as usize)
}
