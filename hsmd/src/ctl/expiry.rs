//! Dates of certificates, as `status` and `doctor` show them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, DecodePem as _};

/// Certificates that end sooner than this are shown.
pub(super) const SOON_DAYS: i64 = 30;

/// When a certificate ends.
pub(super) struct End {
    /// RFC 3339.
    pub(super) date: String,
    /// Whole days from now; negative when it has ended.
    pub(super) days: i64,
}

/// The end of a certificate in PEM; nothing, if it is none.
pub(super) fn end(pem: &str) -> Option<End> {
    let certificate = Certificate::from_pem(pem.trim()).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(of(end))
}

/// The end of a certificate by its seconds since 1970.
pub(super) fn of(end: Duration) -> End {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    End {
        date: date(end),
        days: (seconds(end) - seconds(now())).div_euclid(86_400),
    }
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A point in time as RFC 3339 writes it, in UTC.
pub(super) fn date(since_1970: Duration) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(since_1970.as_secs()));
    date.map_or_else(|_| "after 9999".to_owned(), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_now_and_dates_are_rfc_3339() {
        assert_eq!(of(now() + Duration::from_secs(3 * 86_400 + 60)).days, 3);
        assert_eq!(of(now() - Duration::from_secs(60)).days, -1);
        assert_eq!(date(Duration::from_secs(86_400)), "1970-01-02T00:00:00Z");
        assert!(end("no certificate").is_none());
    }
}
