//! Between messages and the types that the rest of the code works with. Whatever comes from the other side is checked
//! here, once.

mod derivations;

use crate::attribute::{Attribute, Template, may_be_key_value};
use crate::ck::{AttributeType, Kdf, MechanismType, Mgf, Rv};
use crate::frame::{FrameWriter, Sections};
use crate::params::{
    CcmParams, ChaChaParams, CtrParams, EcdhAesParams, EcdhParams, EddsaParams, GcmParams, Hedge, Mechanism,
    OaepParams, Params, PssParams, RsaAesParams, SignContext,
};
use crate::value::Value;
use crate::wire;
use wire::mechanism::Parameter;

/// The most attributes that a template may have.
pub const MAX_ATTRIBUTES: usize = 256;

/// Writes one attribute; values that may be key values go into the secret section.
pub fn attribute_to_wire(attribute: &Attribute, writer: &mut FrameWriter) -> wire::Attribute {
    if may_be_key_value(attribute.attribute) {
        let hidden = Some(writer.hide(&attribute.value));
        wire::Attribute {
            r#type: attribute.attribute.0,
            inline: Value::default(),
            hidden,
        }
    } else {
        wire::Attribute {
            r#type: attribute.attribute.0,
            inline: attribute.value.clone(),
            hidden: None,
        }
    }
}

/// Writes a template.
pub fn template_to_wire(template: &Template, writer: &mut FrameWriter) -> Vec<wire::Attribute> {
    template
        .0
        .iter()
        .map(|attribute| attribute_to_wire(attribute, writer))
        .collect()
}

/// Reads one attribute; its form is not checked yet.
///
/// # Errors
/// `CKR_ARGUMENTS_BAD` for a range outside the section.
pub fn attribute_from_wire(attribute: &wire::Attribute, sections: &Sections<'_>) -> Result<Attribute, Rv> {
    let value = match &attribute.hidden {
        Some(range) => sections.get(range).map_err(|_| Rv::ARGUMENTS_BAD)?,
        None => &attribute.inline,
    };
    Ok(Attribute::bytes(AttributeType(attribute.r#type), value))
}

/// Reads a template; its form is not checked yet.
///
/// # Errors
/// `CKR_ARGUMENTS_BAD` for too many attributes and for a range outside the section.
pub fn template_from_wire(attributes: &[wire::Attribute], sections: &Sections<'_>) -> Result<Template, Rv> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Rv::ARGUMENTS_BAD);
    }
    let mut template = Template(Vec::with_capacity(attributes.len()));
    for attribute in attributes {
        template.0.push(attribute_from_wire(attribute, sections)?);
    }
    Ok(template)
}

/// Writes a mechanism.
#[must_use]
pub fn mechanism_to_wire(mechanism: &Mechanism) -> wire::Mechanism {
    let parameter = match &mechanism.params {
        Params::None => None,
        Params::Iv(iv) => Some(Parameter::Iv(iv.clone())),
        Params::Ctr(ctr) => Some(Parameter::Ctr(wire::CtrParameter {
            counter_bits: ctr.counter_bits,
            counter_block: ctr.block.to_vec(),
        })),
        Params::Gcm(gcm) => Some(Parameter::Gcm(wire::GcmParameter {
            iv: gcm.iv.clone(),
            aad: gcm.aad.clone(),
            tag_bits: gcm.tag_bits,
        })),
        Params::Hkdf(hkdf) => Some(Parameter::Hkdf(hkdf.into())),
        Params::Data(data) => Some(Parameter::StringData(data.clone())),
        Params::Kbkdf(kbkdf) => Some(Parameter::Kbkdf(kbkdf.into())),
        Params::Tls(tls) => Some(Parameter::Tls(tls.into())),
        Params::TlsMac(mac) => Some(Parameter::TlsMac(mac.into())),
        Params::Pbkdf2(pbkdf2) => Some(Parameter::Pbkdf2(pbkdf2.into())),
        Params::RsaAes(wrap) => Some(Parameter::RsaAes(wire::RsaAesParameter {
            aes_bits: wrap.aes_bits,
            oaep: Some(oaep_to_wire(&wrap.oaep)),
        })),
        Params::EcdhAes(wrap) => Some(Parameter::EcdhAes(wire::EcdhAesParameter {
            aes_bits: wrap.aes_bits,
            kdf: wrap.kdf.0,
            shared_data: wrap.shared_data.clone(),
        })),
        Params::Ccm(ccm) => Some(Parameter::Ccm(wire::CcmParameter {
            data_length: ccm.data_length,
            nonce: ccm.nonce.clone(),
            aad: ccm.aad.clone(),
            mac_length: ccm.mac_length,
        })),
        Params::ChaCha(chacha) => Some(Parameter::Chacha(wire::ChaChaParameter {
            nonce: chacha.nonce.clone(),
            aad: chacha.aad.clone(),
        })),
        Params::Pss(pss) => Some(Parameter::Pss(wire::PssParameter {
            hash: pss.hash.0,
            mgf: pss.mgf.0,
            salt_length: pss.salt_length,
        })),
        Params::Oaep(oaep) => Some(Parameter::Oaep(oaep_to_wire(oaep))),
        Params::Ecdh(ecdh) => Some(Parameter::Ecdh(wire::EcdhParameter {
            kdf: ecdh.kdf.0,
            shared_data: ecdh.shared_data.clone(),
            public_point: ecdh.public_point.clone(),
        })),
        Params::Eddsa(eddsa) => Some(Parameter::Eddsa(wire::EddsaParameter {
            prehash: eddsa.prehash,
            context: eddsa.context.clone(),
        })),
        Params::SignContext(sign) => Some(Parameter::SignContext(wire::SignContext {
            hedge: sign.hedge.number(),
            context: sign.context.clone(),
            hash: sign.hash.map(|hash| hash.0),
        })),
        Params::Number(number) => Some(Parameter::Number(*number)),
    };
    wire::Mechanism {
        r#type: mechanism.kind.0,
        parameter,
    }
}

fn oaep_to_wire(oaep: &OaepParams) -> wire::OaepParameter {
    wire::OaepParameter {
        hash: oaep.hash.0,
        mgf: oaep.mgf.0,
        label: oaep.label.clone(),
    }
}

fn oaep_from_wire(oaep: wire::OaepParameter) -> OaepParams {
    OaepParams {
        hash: MechanismType(oaep.hash),
        mgf: Mgf(oaep.mgf),
        label: oaep.label,
    }
}

/// Reads a mechanism; whether its parameter fits is for [`Mechanism::check`].
///
/// # Errors
/// `CKR_ARGUMENTS_BAD` when there is none, `CKR_MECHANISM_PARAM_INVALID` for a counter block that is not a block and for
/// a number that is no CK_HEDGE_TYPE.
pub fn mechanism_from_wire(mechanism: Option<wire::Mechanism>) -> Result<Mechanism, Rv> {
    let mechanism = mechanism.ok_or(Rv::ARGUMENTS_BAD)?;
    let params = match mechanism.parameter {
        None => Params::None,
        Some(Parameter::Iv(iv)) => Params::Iv(iv),
        Some(Parameter::Ctr(ctr)) => Params::Ctr(CtrParams {
            counter_bits: ctr.counter_bits,
            block: ctr
                .counter_block
                .as_slice()
                .try_into()
                .map_err(|_| Rv::MECHANISM_PARAM_INVALID)?,
        }),
        Some(Parameter::Gcm(gcm)) => Params::Gcm(GcmParams {
            iv: gcm.iv,
            aad: gcm.aad,
            tag_bits: gcm.tag_bits,
        }),
        Some(Parameter::Hkdf(hkdf)) => Params::Hkdf(hkdf.into()),
        Some(Parameter::StringData(data)) => Params::Data(data),
        Some(Parameter::Kbkdf(kbkdf)) => Params::Kbkdf(kbkdf.try_into()?),
        Some(Parameter::Tls(tls)) => Params::Tls(tls.into()),
        Some(Parameter::TlsMac(mac)) => Params::TlsMac(mac.into()),
        Some(Parameter::Pbkdf2(pbkdf2)) => Params::Pbkdf2(pbkdf2.into()),
        Some(Parameter::RsaAes(wrap)) => Params::RsaAes(RsaAesParams {
            aes_bits: wrap.aes_bits,
            oaep: oaep_from_wire(wrap.oaep.ok_or(Rv::MECHANISM_PARAM_INVALID)?),
        }),
        Some(Parameter::EcdhAes(wrap)) => Params::EcdhAes(EcdhAesParams {
            aes_bits: wrap.aes_bits,
            kdf: Kdf(wrap.kdf),
            shared_data: wrap.shared_data,
        }),
        Some(Parameter::Ccm(ccm)) => Params::Ccm(CcmParams {
            data_length: ccm.data_length,
            nonce: ccm.nonce,
            aad: ccm.aad,
            mac_length: ccm.mac_length,
        }),
        Some(Parameter::Chacha(chacha)) => Params::ChaCha(ChaChaParams {
            nonce: chacha.nonce,
            aad: chacha.aad,
        }),
        Some(Parameter::Pss(pss)) => Params::Pss(PssParams {
            hash: MechanismType(pss.hash),
            mgf: Mgf(pss.mgf),
            salt_length: pss.salt_length,
        }),
        Some(Parameter::Oaep(oaep)) => Params::Oaep(oaep_from_wire(oaep)),
        Some(Parameter::Ecdh(ecdh)) => Params::Ecdh(EcdhParams {
            kdf: Kdf(ecdh.kdf),
            shared_data: ecdh.shared_data,
            public_point: ecdh.public_point,
        }),
        Some(Parameter::Eddsa(eddsa)) => Params::Eddsa(EddsaParams {
            prehash: eddsa.prehash,
            context: eddsa.context,
        }),
        Some(Parameter::SignContext(sign)) => Params::SignContext(SignContext {
            hedge: Hedge::new(sign.hedge).ok_or(Rv::MECHANISM_PARAM_INVALID)?,
            context: sign.context,
            hash: sign.hash.map(MechanismType),
        }),
        Some(Parameter::Number(number)) => Params::Number(number),
    };
    Ok(Mechanism {
        kind: MechanismType(mechanism.r#type),
        params,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kbkdf::{KbkdfField, KbkdfParams, NumberFormat};
    use crate::params::{HkdfParams, Pbkdf2Params};
    use crate::tls::{TlsMacParams, TlsParams};
    use proptest::prelude::*;

    fn any_field() -> impl Strategy<Value = KbkdfField> {
        let format =
            || (any::<bool>(), any::<u32>()).prop_map(|(little_endian, bits)| NumberFormat { little_endian, bits });
        prop_oneof![
            prop::option::of(format()).prop_map(KbkdfField::Iteration),
            format().prop_map(KbkdfField::Counter),
            (any::<bool>(), format()).prop_map(|(segments, format)| KbkdfField::Length { segments, format }),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(KbkdfField::Bytes),
        ]
    }

    fn derivation() -> impl Strategy<Value = Params> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (any::<bool>(), any::<bool>(), any::<u64>(), bytes(), bytes()).prop_map(
                |(extract, expand, hash, salt, info)| {
                    Params::Hkdf(HkdfParams {
                        extract,
                        expand,
                        hash: MechanismType(hash),
                        salt,
                        info,
                    })
                }
            ),
            (any::<u64>(), bytes(), bytes()).prop_map(|(hash, label, seed)| {
                Params::Tls(TlsParams {
                    hash: MechanismType(hash),
                    label,
                    seed,
                })
            }),
            (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(hash, length, server)| {
                Params::TlsMac(TlsMacParams {
                    hash: MechanismType(hash),
                    length,
                    server,
                })
            }),
            (any::<u64>(), bytes(), any::<u64>()).prop_map(|(hash, salt, iterations)| {
                Params::Pbkdf2(Pbkdf2Params {
                    hash: MechanismType(hash),
                    salt,
                    iterations,
                })
            }),
            (any::<u64>(), prop::collection::vec(any_field(), 0..5), bytes()).prop_map(|(prf, fields, iv)| {
                Params::Kbkdf(KbkdfParams {
                    prf: MechanismType(prf),
                    fields,
                    iv,
                })
            }),
        ]
    }

    fn params() -> impl Strategy<Value = Params> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            Just(Params::None),
            bytes().prop_map(Params::Iv),
            (any::<u32>(), any::<[u8; 16]>())
                .prop_map(|(counter_bits, block)| Params::Ctr(CtrParams { counter_bits, block })),
            (bytes(), bytes(), any::<u32>()).prop_map(|(iv, aad, tag_bits)| Params::Gcm(GcmParams {
                iv,
                aad,
                tag_bits
            })),
            derivation(),
            bytes().prop_map(Params::Data),
            (any::<u64>(), any::<u64>(), any::<u64>(), bytes()).prop_map(|(aes_bits, hash, mgf, label)| {
                let (hash, mgf) = (MechanismType(hash), Mgf(mgf));
                let oaep = OaepParams { hash, mgf, label };
                Params::RsaAes(RsaAesParams { aes_bits, oaep })
            }),
            (any::<u64>(), any::<u64>(), bytes()).prop_map(|(aes_bits, kdf, shared_data)| {
                Params::EcdhAes(EcdhAesParams {
                    aes_bits,
                    kdf: Kdf(kdf),
                    shared_data,
                })
            }),
            (any::<u64>(), bytes(), bytes(), any::<u64>()).prop_map(|(data_length, nonce, aad, mac_length)| {
                Params::Ccm(CcmParams {
                    data_length,
                    nonce,
                    aad,
                    mac_length,
                })
            }),
            (bytes(), bytes()).prop_map(|(nonce, aad)| Params::ChaCha(ChaChaParams { nonce, aad })),
            (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(hash, mgf, salt_length)| {
                Params::Pss(PssParams {
                    hash: MechanismType(hash),
                    mgf: Mgf(mgf),
                    salt_length,
                })
            }),
            (any::<u64>(), any::<u64>(), bytes()).prop_map(|(hash, mgf, label)| {
                Params::Oaep(OaepParams {
                    hash: MechanismType(hash),
                    mgf: Mgf(mgf),
                    label,
                })
            }),
            (any::<u64>(), bytes(), bytes()).prop_map(|(kdf, shared_data, public_point)| {
                Params::Ecdh(EcdhParams {
                    kdf: Kdf(kdf),
                    shared_data,
                    public_point,
                })
            }),
            (any::<bool>(), bytes()).prop_map(|(prehash, context)| Params::Eddsa(EddsaParams { prehash, context })),
            (0..3_u64, bytes(), any::<Option<u64>>()).prop_map(|(hedge, context, hash)| {
                Params::SignContext(SignContext {
                    hedge: Hedge::new(hedge).unwrap(),
                    context,
                    hash: hash.map(MechanismType),
                })
            }),
            any::<u64>().prop_map(Params::Number),
        ]
    }

    proptest! {
        #[test]
        fn every_mechanism_reads_back(kind: u64, params in params()) {
            let mechanism = Mechanism { kind: MechanismType(kind), params };
            prop_assert_eq!(mechanism_from_wire(Some(mechanism_to_wire(&mechanism))), Ok(mechanism));
        }
    }

    /// INV-1: a key value of a template is in the secret section, not in the message.
    #[test]
    fn key_values_travel_in_the_secret_section() {
        let mut writer = FrameWriter::new();
        let value = Attribute::bytes(AttributeType::VALUE, b"key");
        let written = attribute_to_wire(&value, &mut writer);
        assert!(written.inline.is_empty());
        assert_eq!(attribute_from_wire(&written, &Sections(b"key")), Ok(value));
    }
}
