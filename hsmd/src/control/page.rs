//! Pages of the List operations. A token says after which id the next page begins; a sum binds it to its operation, so that
//! a token that was never given out is refused. It holds no secret and needs no memory of the daemon.

use super::model::ModelError;
use hsmd_crypto::seal::sha256;
use std::fmt::Write as _;

/// ARNs in one answer.
pub(super) const PAGE: usize = 100;
const INVALID: ModelError = ModelError::Invalid("NextToken", "one that this operation gave");

/// The ARNs of a page and the token of the next, empty after the last; `all` are (id, ARN) in the order of ids.
pub(super) fn page(
    operation: &'static str,
    all: impl Iterator<Item = (String, String)>,
    token: Option<&str>,
) -> Result<(Vec<String>, String), ModelError> {
    let after = match token {
        None | Some("") => String::new(),
        Some(token) => read(operation, token)?.to_owned(),
    };
    let tail = |id: &str| id.rsplit('-').next().unwrap_or_default().to_owned();
    let mut rest = all.filter(|(id, _)| tail(id) > after);
    let page: Vec<_> = rest.by_ref().take(PAGE).collect();
    let last = page.last().filter(|_| rest.next().is_some());
    let next = last.map(|(id, _)| make(operation, &tail(id))).unwrap_or_default();
    Ok((page.into_iter().map(|(_, arn)| arn).collect(), next))
}

fn make(operation: &str, tail: &str) -> String {
    let sum = sha256(&[b"page", operation.as_bytes(), b"/", tail.as_bytes()]);
    let mut token = tail.to_owned();
    for byte in &sum[..12] {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn read<'a>(operation: &str, token: &'a str) -> Result<&'a str, ModelError> {
    let tail = token.get(..8).ok_or(INVALID)?;
    if make(operation, tail) == token {
        Ok(tail)
    } else {
        Err(INVALID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: usize) -> impl Iterator<Item = (String, String)> {
        (0..count).map(|n| (format!("hsm-{n:08x}"), format!("arn{n}")))
    }

    #[test]
    fn pages_give_everything_once() {
        let (first, next) = page("ListHsms", all(250), None).unwrap();
        let (second, after) = page("ListHsms", all(250), Some(&next)).unwrap();
        let (third, end) = page("ListHsms", all(250), Some(&after)).unwrap();
        assert_eq!(
            (first.len(), second.len(), third.len(), end.as_str()),
            (100, 100, 50, "")
        );
        let seen: Vec<_> = [first, second, third].concat();
        assert_eq!(seen, all(250).map(|(_, arn)| arn).collect::<Vec<_>>());
        assert_eq!(
            page("ListHsms", all(100), None).unwrap().1,
            "",
            "a full last page has no next one"
        );
    }

    #[test]
    fn a_token_that_was_not_given_out_is_refused() {
        let (_, next) = page("ListHsms", all(101), None).unwrap();
        for token in [
            "0",
            "00000001",
            &next[..31],
            &format!("{next}0"),
            &format!("{}{}", &next[..31], if next.ends_with('0') { "1" } else { "0" }),
        ] {
            assert!(page("ListHsms", all(101), Some(token)).is_err(), "{token}");
        }
        assert!(
            page("ListHapgs", all(101), Some(&next)).is_err(),
            "of another operation"
        );
    }
}
