//! `haErrorLog.txt`: a line for each server that is lost, tried again, or back, for people and their monitoring, as Luna's client
//! writes one for its members. Nobody waits for it, and what cannot be written is not written: never to standard error (INV-9).

use crate::config::Log;
use std::fmt::{Arguments, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = "haErrorLog";

/// The file, if there is to be one.
pub(super) struct HaLog(Option<Log>);

impl HaLog {
    pub(super) const fn new(log: Option<Log>) -> Self {
        Self(log)
    }

    /// Appends a line. Several processes write to one file: each line is one write.
    pub(super) fn write(&self, words: Arguments<'_>) {
        let Some(log) = &self.0 else { return };
        let path = log.folder.join(format!("{NAME}.txt"));
        let now = Moment::now();
        if std::fs::metadata(&path).is_ok_and(|file| file.len() >= log.bytes.max(1)) {
            // Another process may be faster: then this line is the new file's second.
            let aside = log.folder.join(format!("{NAME}_{}.txt", now.digits()));
            let _ = std::fs::rename(&path, aside);
        }
        let mut line = now.text();
        // Writing to a String cannot fail.
        let _ = writeln!(line, " : [{}] {words}", std::process::id());
        let mut options = File::options();
        let options = options.append(true).create(true).mode(0o640);
        if let Ok(mut file) = options.custom_flags(libc::O_NOFOLLOW).open(path) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// A moment of UTC.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    /// Year, month, day, hour, minute, second.
    parts: [u64; 6],
}

impl Moment {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::of(since.as_secs())
    }

    /// Seconds since 1970. Days become dates by the count of years that begin in March: leap days are the last of theirs.
    fn of(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        Self {
            parts: [year, month, day, rest / 3_600, rest / 60 % 60, rest % 60],
        }
    }

    fn text(&self) -> String {
        let [year, month, day, hour, minute, second] = self.parts;
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }

    fn digits(&self) -> String {
        let [year, month, day, hour, minute, second] = self.parts;
        format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates_also_around_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC"),
            (1_795_388_619, "2026-11-22 23:03:39 UTC"),
        ] {
            assert_eq!(Moment::of(seconds).text(), text);
        }
    }

    #[test]
    fn a_file_that_is_long_is_put_aside_and_none_is_no_trouble() {
        HaLog::new(None).write(format_args!("nothing"));
        let folder = tempfile::tempdir().unwrap();
        let log = HaLog::new(Some(Log {
            folder: folder.path().to_path_buf(),
            bytes: 1,
        }));
        log.write(format_args!("server {} was lost", "a:1"));
        log.write(format_args!("server {} is back", "a:1"));
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text("haErrorLog.txt").ends_with("server a:1 is back\n"));
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(text(names[1].to_str().unwrap()).ends_with("server a:1 was lost\n"));
        let nowhere = HaLog::new(Some(Log {
            folder: folder.path().join("missing"),
            bytes: 1,
        }));
        nowhere.write(format_args!("lost"));
    }
}
