//! The parameters of derivations over the wire; [`super`] has those of the other mechanisms.

use crate::ck::{MechanismType, Rv};
use crate::kbkdf::{KbkdfField, KbkdfParams, NumberFormat};
use crate::params::{HkdfParams, Pbkdf2Params};
use crate::tls::{TlsMacParams, TlsParams};
use crate::wire;

impl From<&HkdfParams> for wire::HkdfParameter {
    fn from(from: &HkdfParams) -> Self {
        Self {
            extract: from.extract,
            expand: from.expand,
            hash: from.hash.0,
            salt: from.salt.clone(),
            info: from.info.clone(),
        }
    }
}

impl From<wire::HkdfParameter> for HkdfParams {
    fn from(from: wire::HkdfParameter) -> Self {
        Self {
            extract: from.extract,
            expand: from.expand,
            hash: MechanismType(from.hash),
            salt: from.salt,
            info: from.info,
        }
    }
}

impl From<&TlsParams> for wire::TlsParameter {
    fn from(from: &TlsParams) -> Self {
        Self {
            hash: from.hash.0,
            label: from.label.clone(),
            context: from.seed.clone(),
        }
    }
}

impl From<wire::TlsParameter> for TlsParams {
    fn from(from: wire::TlsParameter) -> Self {
        Self {
            hash: MechanismType(from.hash),
            label: from.label,
            seed: from.context,
        }
    }
}

impl From<&TlsMacParams> for wire::TlsMacParameter {
    fn from(from: &TlsMacParams) -> Self {
        Self {
            hash: from.hash.0,
            length: from.length,
            server: from.server,
        }
    }
}

impl From<wire::TlsMacParameter> for TlsMacParams {
    fn from(from: wire::TlsMacParameter) -> Self {
        Self {
            hash: MechanismType(from.hash),
            length: from.length,
            server: from.server,
        }
    }
}

impl From<&Pbkdf2Params> for wire::Pbkdf2Parameter {
    fn from(from: &Pbkdf2Params) -> Self {
        Self {
            hash: from.hash.0,
            salt: from.salt.clone(),
            iterations: from.iterations,
        }
    }
}

impl From<wire::Pbkdf2Parameter> for Pbkdf2Params {
    fn from(from: wire::Pbkdf2Parameter) -> Self {
        Self {
            hash: MechanismType(from.hash),
            salt: from.salt,
            iterations: from.iterations,
        }
    }
}

impl From<&KbkdfParams> for wire::KbkdfParameter {
    fn from(from: &KbkdfParams) -> Self {
        Self {
            prf: from.prf.0,
            fields: from.fields.iter().map(field_to_wire).collect(),
            iv: from.iv.clone(),
        }
    }
}

impl TryFrom<wire::KbkdfParameter> for KbkdfParams {
    type Error = Rv;

    fn try_from(from: wire::KbkdfParameter) -> Result<Self, Rv> {
        let fields = from.fields.into_iter().map(field_from_wire).collect::<Option<_>>();
        Ok(Self {
            prf: MechanismType(from.prf),
            fields: fields.ok_or(Rv::MECHANISM_PARAM_INVALID)?,
            iv: from.iv,
        })
    }
}

fn field_to_wire(field: &KbkdfField) -> wire::KbkdfField {
    let (kind, format, context) = match field {
        KbkdfField::Iteration(None) => (0, None, Vec::new()),
        KbkdfField::Iteration(Some(format)) => (1, Some(*format), Vec::new()),
        KbkdfField::Counter(format) => (2, Some(*format), Vec::new()),
        KbkdfField::Length { segments, format } => (3 + u32::from(*segments), Some(*format), Vec::new()),
        KbkdfField::Bytes(bytes) => (5, None, bytes.clone()),
    };
    wire::KbkdfField {
        kind,
        little_endian: format.is_some_and(|format| format.little_endian),
        bits: format.map_or(0, |format| format.bits),
        context,
    }
}

fn field_from_wire(field: wire::KbkdfField) -> Option<KbkdfField> {
    let format = NumberFormat {
        little_endian: field.little_endian,
        bits: field.bits,
    };
    Some(match field.kind {
        0 => KbkdfField::Iteration(None),
        1 => KbkdfField::Iteration(Some(format)),
        2 => KbkdfField::Counter(format),
        3 | 4 => KbkdfField::Length {
            segments: field.kind == 4,
            format,
        },
        5 => KbkdfField::Bytes(field.context),
        _ => return None,
    })
}
