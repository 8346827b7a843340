//! The gate of the policy `fips`: while a power-on self-test has failed, nobody logs in to such a key set, uses a key of it or makes
//! one, and nothing becomes one (FIPS 140-3, IG 10.3.A: the error state). The tests themselves are in `hsmd_crypto::selftest`.

use hsmd_crypto::selftest::{self, Report};
use hsmd_proto::ck::Rv;
use hsmd_proto::policy::Policy;

use super::KeySet;
use crate::core::Core;
use crate::error::Error;

impl Core {
    /// What became of the self-tests.
    pub(crate) fn self_tests(&self) -> &Report {
        match &self.options.self_tests {
            Some(given) => given,
            None => selftest::report(),
        }
    }

    /// # Errors
    /// [`Error::SelfTests`] for `fips` while a self-test has failed.
    pub(crate) fn allows(&self, policy: Policy) -> Result<(), Error> {
        let report = self.self_tests();
        if policy == Policy::Fips && !report.passed() {
            return Err(Error::SelfTests(report.failed().join(", ")));
        }
        Ok(())
    }
}

impl KeySet {
    /// Whether the key set is in the error state that `CKF_ERROR_STATE` of CK_TOKEN_INFO shows.
    #[must_use]
    pub fn in_error_state(&self) -> bool {
        self.policy() == Policy::Fips && !self.core.self_tests().passed()
    }

    /// # Errors
    /// `CKR_GENERAL_ERROR` in the error state, as PKCS#11 3.2 says of `CKR_FIPS_SELF_TEST_FAILED` (5.1.2).
    pub(crate) fn check_self_tests(&self) -> Result<(), Rv> {
        if self.in_error_state() {
            Err(Rv::GENERAL_ERROR)
        } else {
            Ok(())
        }
    }
}
