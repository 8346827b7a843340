//! The messages that carry a PIN: they never show it, and wipe it when they are dropped. What the transport read on the way
//! here is not wiped; the control plane's local socket and its TLS connections belong to administrators.

use crate::admin::Pin;
use crate::backup::OfficerPin;
use std::fmt;
use zeroize::Zeroize as _;

macro_rules! silent_and_wiped {
    ($($message:ident)*) => {
        $(
            impl fmt::Debug for $message {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("Pin(..)")
                }
            }

            impl Drop for $message {
                fn drop(&mut self) {
                    self.value.zeroize();
                }
            }
        )*
    };
}

silent_and_wiped! { Pin OfficerPin }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::CreatePartitionRequest;

    #[test]
    fn a_pin_is_never_shown() {
        let pin = Some(Pin {
            value: b"1234-secret".to_vec(),
        });
        let request = CreatePartitionRequest {
            so_pin: pin,
            ..CreatePartitionRequest::default()
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("Pin(..)") && !shown.contains("49"), "{shown}");
    }
}
