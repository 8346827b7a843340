//! What a caller of the proxy is told when a request fails, and what the module's codes mean to it.

use super::super::error::ErrorName;
use super::super::wire;
use crate::module::ModuleError;
use cryptoki::error::RvError;
use http::StatusCode;

/// A refused request. The message names field and rule, is of printable ASCII, shorter than 512 characters, and never holds a
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) name: ErrorName,
    pub(crate) message: &'static str,
    /// Another status than the error's own.
    status: Option<StatusCode>,
}

impl Refusal {
    pub(crate) const fn new(name: ErrorName, message: &'static str) -> Self {
        Self {
            name,
            message,
            status: None,
        }
    }

    pub(super) const fn validation(message: &'static str) -> Self {
        Self::new(ErrorName::Validation, message)
    }

    pub(super) const fn ciphertext(message: &'static str) -> Self {
        Self::new(ErrorName::InvalidCiphertext, message)
    }

    /// Another method than POST.
    pub(super) const fn method() -> Self {
        Self {
            name: ErrorName::Validation,
            message: "requests are POST",
            status: Some(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// The status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        let own = StatusCode::from_u16(self.name.row().2).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.status.unwrap_or(own)
    }

    /// The body of the answer.
    pub(super) fn body(self) -> Vec<u8> {
        let refusal = wire::Refusal {
            error_name: self.name.row().1.into(),
            error_message: Some(self.message.into()),
        };
        // Two strings always serialise.
        serde_json::to_vec(&refusal).unwrap_or_default()
    }

    /// Whether it says that hsmd cannot be used now.
    pub(super) const fn is_outage(self) -> bool {
        matches!(self.name, ErrorName::Internal | ErrorName::DependencyTimeout)
    }
}

/// Why a call of the module failed, for the caller. Only a decryption can say that the ciphertext is bad.
pub(super) fn of_module(error: &ModuleError) -> Refusal {
    let internal = Refusal::new(ErrorName::Internal, "the HSM behind the proxy cannot be used now");
    let rv = match error {
        ModuleError::NoKey => {
            return Refusal::new(ErrorName::KeyNotFound, "there is no AES key of this label or CKA_ID");
        }
        ModuleError::Busy => return Refusal::new(ErrorName::Throttling, "too many requests wait for the HSM"),
        other => other.rv(),
    };
    match rv {
        Some(RvError::KeyFunctionNotPermitted) => Refusal::new(
            ErrorName::InvalidKeyUsage,
            "the key's usage flags do not allow this operation",
        ),
        Some(RvError::KeyTypeInconsistent | RvError::KeySizeRange | RvError::MechanismInvalid) => Refusal::new(
            ErrorName::InvalidKeyUsage,
            "the token does not do AES-GCM with this key",
        ),
        Some(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange) => Refusal::ciphertext(
            "ciphertext, vector, tag, metadata or authenticated data are not what an encryption gave",
        ),
        Some(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid) => {
            Refusal::new(ErrorName::KeyNotFound, "the key is no longer in the token")
        }
        _ => internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_name_message_and_status() {
        let refusal = Refusal::new(ErrorName::Throttling, "slow");
        assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(
            refusal.body(),
            br#"{"errorName":"ThrottlingException","errorMessage":"slow"}"#
        );
        assert_eq!(Refusal::method().status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn codes_of_the_module_are_told_apart() {
        use cryptoki::context::Function;
        use cryptoki::error::Error;
        for (rv, name) in [
            (RvError::KeyFunctionNotPermitted, ErrorName::InvalidKeyUsage),
            (RvError::EncryptedDataInvalid, ErrorName::InvalidCiphertext),
            (RvError::KeyHandleInvalid, ErrorName::KeyNotFound),
            (RvError::DeviceError, ErrorName::Internal),
            (RvError::TokenNotPresent, ErrorName::Internal),
            (RvError::PinLocked, ErrorName::Internal),
        ] {
            let error = ModuleError::Cryptoki(Error::Pkcs11(rv, Function::Decrypt));
            assert_eq!(of_module(&error).name, name, "{rv:?}");
        }
        assert_eq!(of_module(&ModuleError::Busy).name, ErrorName::Throttling);
        assert_eq!(of_module(&ModuleError::NoKey).name, ErrorName::KeyNotFound);
        assert_eq!(of_module(&ModuleError::NoToken).name, ErrorName::Internal);
    }
}
